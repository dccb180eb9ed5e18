/**
 * Two processors on memories of their own with the same contents: user and kernel code in 64-, 32- and 16-bit segments, handlers that
 * put addresses back and go on behind whatever faulted.
 */
import { gfn } from '../../../src/base/int.ts';
import { Cpu } from '../../../src/cpu/cpu.ts';
import { CodeCache } from '../../../src/cpu/decode/cache.ts';
import { createInterpreter, type InterpreterModules } from '../../../src/cpu/interpret/instance.ts';
import * as S from '../../../src/cpu/state.ts';
import { GuestMemory } from '../../../src/machine/memory/guest-memory.ts';

/** Linear addresses; everything that random code uses is user memory, the kernel's page of handlers and tables is not. */
export const CODE_BASE = 0x1000_0000,
  CODE_PAGES = 3,
  DATA_BASE = 0x2000_0000,
  DATA_PAGES = 6,
  KERNEL_BASE = 0x3000_0000;
const STACK = DATA_BASE + 0x3800;
/** Offsets in the kernel's memory. */
const HANDLERS = 0,
  GDT = 0x1000,
  IDT = 0x1200,
  TSS = 0x1800,
  KERNEL_PAGES = 4;
const HANDLER_BYTES = 128;

const PML4 = 1,
  PDPT = 2,
  DIRECTORY = 3,
  CODE_TABLE = 4,
  DATA_TABLE = 5,
  KERNEL_TABLE = 6,
  CODE_FRAME = 8,
  DATA_FRAME = CODE_FRAME + CODE_PAGES,
  KERNEL_FRAME = DATA_FRAME + DATA_PAGES,
  FRAMES = KERNEL_FRAME + KERNEL_PAGES;

const PAGE = 4096;
const HAS_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);

export interface Setting {
  readonly bits: 16 | 32 | 64;
  readonly ring: 0 | 3;
  /** Base of CS, for 16- and 32-bit code. */
  readonly codeBase: number;
  /** DS has a limit, so that every access is checked. */
  readonly segmented: boolean;
  readonly hotThreshold: number;
  readonly codeBytes: number;
}

const little32 = (value: number): number[] => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];

/** Restores the registers that addresses are made of, clears TF, moves RIP on by one byte or back to the beginning of the code. */
const handler = (vector: number, start: number): number[] => {
  const tail = [
    ...[0x48, 0x89, 0x04, 0x24], // mov [rsp], rax
    ...[0x48, 0xcf], // iretq
  ];
  const back = [0xb8, ...little32(start), ...tail];
  const on = [0x48, 0x83, 0xc0, vector === 3 || vector === 1 ? 0 : 1, ...tail];
  const limit = [0x48, 0x3d, ...little32(start + CODE_PAGES * PAGE), 0x73, on.length];
  return [
    ...(HAS_ERROR_CODE.has(vector) ? [0x48, 0x83, 0xc4, 8] : []),
    ...[0xbb, ...little32(DATA_BASE + 0x40)], // mov ebx
    ...[0xbe, ...little32(DATA_BASE + 0xff8)], // mov esi
    ...[0xbf, ...little32(DATA_BASE + 0x1800)], // mov edi
    ...[0xbd, ...little32(STACK + 0x10)], // mov ebp
    ...[0x48, 0x0f, 0xba, 0x74, 0x24, 0x10, 8], // btr qword [rsp+16], 8
    ...[0x48, 0xc7, 0x44, 0x24, 0x18, ...little32(STACK)],
    ...[0x48, 0x8b, 0x04, 0x24],
    ...[0x48, 0x3d, ...little32(start), 0x72, limit.length + on.length],
    ...limit,
    ...on,
    ...back,
  ];
};

const descriptor = (base: number, limit: number, attr: number): bigint =>
  BigInt(limit & 0xffff) |
  (BigInt(base & 0xff_ffff) << 16n) |
  (BigInt(attr & 0xff) << 40n) |
  (BigInt((limit >>> 16) & 15) << 48n) |
  (BigInt((attr >>> 12) & 15) << 52n) |
  (BigInt(base >>> 24) << 56n);

/** One of the two: a processor with memory of its own. `prebuilt`: the interpreter. */
export class Side {
  readonly cpu: Cpu;
  readonly memory: GuestMemory;
  readonly code: CodeCache;
  stopped = false;

  constructor(setting: Setting, translate: boolean, prebuilt: InterpreterModules) {
    const memory = new GuestMemory({ cpuBytes: S.CPU_BLOCK, codeBytes: setting.codeBytes, frames: FRAMES });
    for (let i = 0; i < FRAMES; i++) memory.map(gfn(i), memory.allocatePage());
    this.memory = memory;
    const interpreter = createInterpreter(memory.memory, prebuilt);
    this.code = new CodeCache(memory.memory, memory.codeBase, memory.codeBytes, { forcedEmulation: false });
    if (translate) this.code.translateWith(interpreter.compiler);
    this.cpu = new Cpu(
      0,
      memory.cpuBase,
      {
        physical: memory,
        ports: { in: () => 0xffff_ffff, out: () => {} },
        interrupts: { pending: () => -1, acknowledge: () => 0 },
        traps: {
          hypercall: () => 'next',
          cpuid: (_cpu, leaf, subleaf, out) => out.set([leaf, subleaf, 1, 2]),
          rdmsr: () => undefined,
          wrmsr: () => false,
          readTsc: () => 0x1234_5678n,
          readCr8: () => 0,
          writeCr8: () => {},
          halt: () => {},
          pause: () => {},
          tripleFault: () => {
            this.stopped = true;
          },
          unknownInstruction: () => {},
        },
        model: { forcedEmulation: false, cr4Mask: 0x3f_0fffn, eferMask: 0xd01n, physicalBits: 39 },
        hotThreshold: translate ? setting.hotThreshold : 0,
      },
      this.code,
      interpreter.run,
    );
    interpreter.attach(this.cpu);
    this.code.attach(this.cpu);
  }

  private host(frame: number): number {
    return this.memory.page(frame, true);
  }

  private map(linear: number, table: number, frame: number, count: number, flags: bigint): void {
    const { u64 } = this.cpu;
    const link = (from: number, index: number, to: number) => {
      u64[(this.host(from) >>> 3) + index] = (BigInt(to) << 12n) | 7n;
    };
    link(PML4, 0, PDPT);
    link(PDPT, 0, DIRECTORY);
    link(DIRECTORY, linear >>> 21, table);
    for (let i = 0; i < count; i++)
      u64[(this.host(table) >>> 3) + ((linear >>> 12) & 511) + i] = (BigInt(frame + i) << 12n) | flags;
  }

  private put(linear: number, bytes: ArrayLike<number>): void {
    const base = linear >= KERNEL_BASE ? KERNEL_BASE : linear >= DATA_BASE ? DATA_BASE : CODE_BASE;
    const frame = base === KERNEL_BASE ? KERNEL_FRAME : base === DATA_BASE ? DATA_FRAME : CODE_FRAME;
    this.memory.writePhysical(frame * PAGE + linear - base, Uint8Array.from(bytes));
  }

  private put64(linear: number, value: bigint): void {
    this.put(linear, new Uint8Array(BigUint64Array.of(value).buffer));
  }

  /** Puts code and data in place and all registers into their first state; `registers` are the general ones. */
  begin(setting: Setting, code: Uint8Array, data: Uint8Array, registers: readonly bigint[]): void {
    const { cpu } = this;
    const { bits, ring, codeBase } = setting;
    this.map(CODE_BASE, CODE_TABLE, CODE_FRAME, CODE_PAGES, 7n);
    // The first page of code again: stores through it change code that runs at another address.
    this.map(CODE_BASE + CODE_PAGES * PAGE, CODE_TABLE, CODE_FRAME, 1, 7n);
    this.map(DATA_BASE, DATA_TABLE, DATA_FRAME, DATA_PAGES, 7n);
    this.map(KERNEL_BASE, KERNEL_TABLE, KERNEL_FRAME, KERNEL_PAGES, 3n);
    this.put(CODE_BASE, code);
    this.put(DATA_BASE, data);
    const start = CODE_BASE - codeBase;
    const rights = ring << 5;
    const codeAttr = (bits === 64 ? 0xa09b : bits === 32 ? 0xc09b : 0x809b) | rights;
    const dataAttr = 0xc093 | rights;
    const descriptors = [
      0n,
      descriptor(0, 0xf_ffff, 0xa09b),
      descriptor(0, 0xf_ffff, 0xc093),
      descriptor(codeBase, 0xf_ffff, codeAttr),
      descriptor(0, 0xf_ffff, dataAttr),
    ];
    descriptors.forEach((d, n) => {
      this.put64(KERNEL_BASE + GDT + n * 8, d);
    });
    for (let vector = 0; vector < 32; vector++) {
      const at = KERNEL_BASE + HANDLERS + vector * HANDLER_BYTES;
      this.put(at, handler(vector, start));
      const gate = (BigInt(at >>> 16) << 48n) | (0xee01n << 32n) | (8n << 16n) | BigInt(at & 0xffff);
      this.put64(KERNEL_BASE + IDT + vector * 16, gate);
    }
    this.put64(KERNEL_BASE + TSS + 0x24, BigInt(KERNEL_BASE + KERNEL_PAGES * PAGE - 64));
    cpu.set64(S.CR0, 0x8001_0033n);
    cpu.set64(S.CR3, BigInt(PML4) << 12n);
    cpu.set64(S.CR4, 0x620n);
    cpu.set64(S.EFER, 0xd01n);
    cpu.set64(S.GDTR, BigInt(KERNEL_BASE + GDT));
    cpu.set32(S.GDTR + 8, descriptors.length * 8 - 1);
    cpu.set64(S.IDTR, BigInt(KERNEL_BASE + IDT));
    cpu.set32(S.IDTR + 8, 32 * 16 - 1);
    cpu.setSegment(S.TR, 0x40, BigInt(KERNEL_BASE + TSS), 0x67, 0x8b);
    for (const n of [S.ES, S.SS, S.DS, S.FS, S.GS]) cpu.setSegment(n, 0x20 | ring, 0n, 0xffff_ffff, dataAttr);
    if (setting.segmented) cpu.setSegment(S.DS, 0x20 | ring, 0n, DATA_BASE + 0x4fff, dataAttr);
    cpu.setSegment(S.CS, 0x18 | ring, BigInt(bits === 64 ? 0 : codeBase), 0xffff_ffff, codeAttr);
    registers.forEach((value, n) => {
      cpu.set64(S.gpr(n), value);
    });
    cpu.set64(S.gpr(S.RSP), BigInt(STACK));
    cpu.set16(S.FPU_CONTROL, 0x37f);
    cpu.eflags = 2;
    cpu.rip = BigInt(start);
    cpu.updateMode(ring);
    cpu.flushTlb(true);
  }

  /** Goes on somewhere else in the code, unless a handler runs: random programs soon end in a small loop. */
  redirect(offset: number, setting: Setting): void {
    const { cpu } = this;
    if (cpu.get16(S.seg(S.CS) + S.SEG_SELECTOR) === (0x18 | setting.ring))
      cpu.rip = BigInt(CODE_BASE - setting.codeBase + offset);
  }

  /** The registers that must be equal, by name or by their place in the state block. */
  registers(): Record<string, bigint | number> {
    const { cpu } = this;
    const out: Record<string, bigint | number> = {
      rip: cpu.rip,
      eflags: cpu.eflags,
      cpl: cpu.cpl,
      cr2: cpu.get64(S.CR2),
    };
    for (let n = 0; n < 16; n++) out[`r${n}`] = cpu.gpr(n);
    for (let at = S.SEG; at < S.BOUNCE; at += 8) out[`+${at.toString(16)}`] = cpu.get64(at);
    for (let at = S.XMM; at < S.fpr(8); at += 8) out[`+${at.toString(16)}`] = cpu.get64(at);
    out['shadow'] = cpu.get32(S.SHADOW);
    out['pending debug'] = cpu.get32(S.PENDING_DEBUG);
    return out;
  }

  /** All guest frames. */
  ram(): Uint8Array {
    const first = this.host(0);
    return this.memory.bytes.subarray(first, first + FRAMES * PAGE);
  }
}
