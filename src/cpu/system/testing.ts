/** A processor on plain memory for unit tests: identity-mapped RAM, no devices, tables built by hand. */

import { Cpu } from '../cpu.ts';
import { CodeCache } from '../decode/cache.ts';
import { createInterpreter, type InterpreterModules, interpreterModules } from '../interpret/instance.ts';
import type { CpuModel, PhysicalMemory, TrapOwner, TrapSink } from '../ports.ts';
import * as S from '../state.ts';
import type { RegionCode } from '../translate/discover.ts';

/** The state block, whose size may grow, is the last. */
const FRAME_TABLE = 0x1_0000,
  CODE_BASE = 0x2_0000,
  CODE_BYTES = 0x10_0000,
  RAM_BASE = 0x20_0000,
  RAM_BYTES = 0x20_0000,
  CPU_BASE = RAM_BASE + RAM_BYTES;

/** Where the tables of {@link Bench} are. */
export const GDT = 0x1000,
  IDT = 0x2000,
  TSS = 0x3000,
  CODE = 0x8000,
  STACK0 = 0x7000,
  STACK3 = 0x6000,
  HANDLERS = 0x9000;
/** Selectors of the table that {@link Bench.protect} builds. */
export const CODE0 = 0x08,
  DATA0 = 0x10,
  CODE3 = 0x1b,
  DATA3 = 0x23,
  TSS_SELECTOR = 0x28,
  FREE = 0x38;

/** A segment descriptor as two dwords; `access` is byte 5, `flags` the upper nibble of byte 6 (G D L AVL). */
export const descriptor = (base: number, limit: number, access: number, flags: number): [number, number] => [
  (((base & 0xffff) << 16) | (limit & 0xffff)) >>> 0,
  ((base & 0xff00_0000) | (flags << 20) | (limit & 0xf_0000) | (access << 8) | ((base >>> 16) & 0xff)) >>> 0,
];

/** How the processor of a {@link Bench} is built. */
export interface Settings {
  /** Size of the code cache. */
  readonly codeBytes?: number;
  /** Arrivals before a place is translated; 0, the default, never. */
  readonly hotThreshold?: number;
  /** Told of each region that is made. */
  readonly onRegion?: (code: RegionCode) => void;
}

let prebuilt: InterpreterModules | undefined;

export class Bench {
  readonly memory = new WebAssembly.Memory({ initial: Math.ceil((CPU_BASE + S.CPU_BLOCK) / 0x1_0000) });
  readonly view = new DataView(this.memory.buffer);
  readonly cpu: Cpu;
  readonly log: string[] = [];
  /** What ports answer, by port. */
  readonly inputs = new Map<number, number>();
  pendingVector = -1;
  /** Called for each OUT. */
  onOut: (port: number) => void = () => {};

  constructor(model: Partial<CpuModel> = {}, owner?: TrapOwner, settings: Settings = {}) {
    const { memory, log } = this;
    const physical: PhysicalMemory = {
      memory,
      frameTable: FRAME_TABLE,
      frameTableLength: RAM_BYTES >>> 12,
      page: (frame) => (frame < RAM_BYTES >>> 12 ? RAM_BASE + frame * 4096 : 0),
      mmioRead: (_address, size) => (size === 4 ? 0xffff_ffff : 2 ** (size * 8) - 1),
      mmioWrite: () => {},
    };
    for (let frame = 0; frame < RAM_BYTES >>> 12; frame++)
      this.view.setUint32(FRAME_TABLE + frame * 4, (RAM_BASE >>> 12) + frame, true);
    const traps: TrapSink = {
      hypercall: () => 'next',
      cpuid: (_cpu, leaf, subleaf, out) => out.set([leaf, subleaf, 0x33, 0x44]),
      rdmsr: () => undefined,
      wrmsr: () => false,
      readTsc: () => 0x1_0000_0002n,
      readCr8: () => 5,
      writeCr8: (_cpu, value) => log.push(`cr8=${value}`),
      halt: (cpu, interruptible) => {
        log.push(`halt ${interruptible}`);
        cpu.requestExit();
      },
      pause: () => log.push('pause'),
      tripleFault: () => log.push('triple fault'),
      unknownInstruction: () => log.push('unknown'),
    };
    const code = new CodeCache(memory, CODE_BASE, settings.codeBytes ?? CODE_BYTES, { forcedEmulation: false });
    prebuilt ??= interpreterModules();
    const interpreter = createInterpreter(memory, prebuilt);
    const { compile, release } = interpreter.compiler;
    code.translateWith({
      release,
      compile: (slot, region, mode) => {
        settings.onRegion?.(region);
        return compile(slot, region, mode);
      },
    });
    this.cpu = new Cpu(
      0,
      CPU_BASE,
      {
        physical,
        traps,
        ports: {
          in: (port, size) => {
            log.push(`in ${port.toString(16)} ${size}`);
            return this.inputs.get(port) ?? 0xffff_ffff;
          },
          out: (port, size, value) => {
            log.push(`out ${port.toString(16)} ${size} ${value.toString(16)}`);
            this.onOut(port);
          },
        },
        interrupts: {
          pending: () => this.pendingVector,
          acknowledge: () => {
            const vector = this.pendingVector;
            this.pendingVector = -1;
            return vector;
          },
        },
        model: { forcedEmulation: false, cr4Mask: 0x3f_0fffn, eferMask: 0xd01n, physicalBits: 40, ...model },
        ...(owner === undefined ? {} : { owner }),
        hotThreshold: settings.hotThreshold ?? 0,
      },
      code,
      interpreter.run,
    );
    interpreter.attach(this.cpu);
    code.attach(this.cpu);
  }

  // Guest-physical memory; identity-mapped in every mode below.
  read16(address: number): number {
    return this.view.getUint16(RAM_BASE + address, true);
  }
  read32(address: number): number {
    return this.view.getUint32(RAM_BASE + address, true);
  }
  read64(address: number): bigint {
    return this.view.getBigUint64(RAM_BASE + address, true);
  }
  write16(address: number, value: number): void {
    this.view.setUint16(RAM_BASE + address, value, true);
  }
  write32(address: number, value: number): void {
    this.view.setUint32(RAM_BASE + address, value, true);
  }
  write64(address: number, value: bigint): void {
    this.view.setBigUint64(RAM_BASE + address, value, true);
  }
  bytes(address: number, bytes: readonly number[]): void {
    new Uint8Array(this.memory.buffer).set(bytes, RAM_BASE + address);
  }
  /** Reads consecutive dwords. */
  dwords(address: number, count: number): number[] {
    return Array.from({ length: count }, (_, i) => this.read32(address + 4 * i));
  }
  quads(address: number, count: number): bigint[] {
    return Array.from({ length: count }, (_, i) => this.read64(address + 8 * i));
  }

  describe(selector: number, words: readonly [number, number]): void {
    this.write32(GDT + (selector & 0xfff8), words[0]);
    this.write32(GDT + (selector & 0xfff8) + 4, words[1]);
  }

  /** A 32-bit gate; type 14 interrupt, 15 trap, 5 task. */
  gate(
    vector: number,
    options: { type?: number; dpl?: number; selector?: number; offset?: number; present?: boolean; ist?: number } = {},
  ): void {
    const { type = 14, dpl = 0, selector = CODE0, offset = HANDLERS + vector * 16, present = true, ist = 0 } = options;
    const wide = this.cpu.longMode;
    const at = IDT + vector * (wide ? 16 : 8);
    this.write32(at, ((selector << 16) | (offset & 0xffff)) >>> 0);
    this.write32(at + 4, ((offset & 0xffff_0000) | (present ? 0x8000 : 0) | (dpl << 13) | (type << 8) | ist) >>> 0);
  }

  /** Flat 32-bit protected mode at privilege level 0 or 3, code at {@link CODE}, a TSS with ring-0 stack {@link STACK0}. */
  protect(level: 0 | 3 = 0): this {
    return this.start(level, false);
  }

  /** 64-bit mode with 2 MiB identity mapping of the low 2 MiB, all of it user-accessible. */
  long(level: 0 | 3 = 0): this {
    this.write64(0x10000, 0x11007n);
    this.write64(0x11000, 0x12007n);
    this.write64(0x12000, 0x87n);
    return this.start(level, true);
  }

  private start(level: 0 | 3, long: boolean): this {
    const { cpu } = this;
    const size = long ? 0xa : 0xc;
    this.describe(CODE0, descriptor(0, 0xf_ffff, 0x9b, size));
    this.describe(DATA0, descriptor(0, 0xf_ffff, 0x93, 0xc));
    this.describe(CODE3, descriptor(0, 0xf_ffff, 0xfb, size));
    this.describe(DATA3, descriptor(0, 0xf_ffff, 0xf3, 0xc));
    this.describe(TSS_SELECTOR, descriptor(TSS, 0x67, 0x8b, 0));
    cpu.set64(S.GDTR, BigInt(GDT));
    cpu.set32(S.GDTR + 8, 0xff);
    cpu.set64(S.IDTR, BigInt(IDT));
    cpu.set32(S.IDTR + 8, 0xfff);
    cpu.setSegment(S.TR, TSS_SELECTOR, BigInt(TSS), 0x67, 0x8b);
    this.write32(TSS + 4, STACK0);
    this.write32(TSS + 8, long ? 0 : DATA0);
    this.write16(TSS + 0x66, 0x68);
    cpu.set64(S.CR0, long ? 0x8000_0011n : 0x11n);
    if (long) {
      cpu.set64(S.CR4, 0x20n);
      cpu.set64(S.CR3, 0x10000n);
      cpu.set64(S.EFER, 0x501n);
    }
    this.flat(level);
    cpu.setGpr(S.RSP, BigInt(level === 0 ? STACK0 : STACK3));
    cpu.rip = BigInt(CODE);
    cpu.flushTlb(true);
    return this;
  }

  /** Gives all segment registers the flat segments of a level. */
  flat(level: 0 | 3): void {
    const { cpu } = this;
    const rights = level << 5;
    const code = cpu.longMode ? 0xa09b : 0xc09b;
    cpu.setSegment(S.CS, level === 0 ? CODE0 : CODE3, 0n, 0xffff_ffff, code | rights);
    for (const n of [S.ES, S.SS, S.DS, S.FS, S.GS])
      cpu.setSegment(n, level === 0 ? DATA0 : DATA3, 0n, 0xffff_ffff, 0xc093 | rights);
    cpu.updateMode(level);
  }

  /** Real mode at 0000:8000, stack at 0000:7000. */
  real(): this {
    const { cpu } = this;
    cpu.setSegment(S.CS, 0, 0n, 0xffff, 0x9b);
    cpu.set32(S.IDTR + 8, 0x3ff);
    cpu.rip = BigInt(CODE);
    cpu.setGpr(S.RSP, BigInt(STACK0));
    cpu.updateMode(0);
    return this;
  }

  /** Puts code at the present CS:RIP and runs `count` instructions of it. */
  execute(bytes: readonly number[], count = 1): void {
    const { cpu } = this;
    const at = Number(cpu.get64(S.CS_BASE) + cpu.rip);
    this.bytes(at, bytes);
    cpu.code.flush();
    cpu.run(count);
  }

  selector(n: number): number {
    return this.cpu.get16(S.seg(n) + S.SEG_SELECTOR);
  }
}
