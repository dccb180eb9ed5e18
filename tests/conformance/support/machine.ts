/** One processor with a page of code and a page of data, that runs one instruction from a given state. */
import { gfn } from '../../../src/base/int.ts';
import { Cpu } from '../../../src/cpu/cpu.ts';
import { CodeCache } from '../../../src/cpu/decode/cache.ts';
import { createInterpreter } from '../../../src/cpu/interpret/instance.ts';
import type { TrapSink } from '../../../src/cpu/ports.ts';
import * as S from '../../../src/cpu/state.ts';
import { GuestMemory } from '../../../src/machine/memory/guest-memory.ts';
import { CODE, type Execution, FX_MXCSR, FX_SIZE, FX_ST, FX_XMM, type Input, WINDOW, WINDOW_SIZE } from './layout.ts';

const FRAMES = 32;
const PML4 = 1,
  PDPT = 2,
  PD = 3,
  CODE_TABLE = 4,
  DATA_TABLE = 5,
  CODE_FRAME = 6,
  DATA_FRAME = 7;
const USER_PAGE = 7n;
const PAGE_FAULT = 14;
/** More repetitions of one instruction than any case asks for. */
const MOST_REPETITIONS = 300;

const noTraps: TrapSink = {
  hypercall: () => 'undefined',
  cpuid: () => {},
  rdmsr: () => undefined,
  wrmsr: () => false,
  readTsc: () => 0n,
  readCr8: () => 0,
  writeCr8: () => {},
  halt: () => {},
  pause: () => {},
  tripleFault: () => {
    throw new Error('triple fault');
  },
  unknownInstruction: () => {},
};

export class TestMachine {
  readonly cpu: Cpu;
  private readonly memory: GuestMemory;
  private readonly code: CodeCache;
  private fault = -1;
  /** Runs instructions through the translator instead of the interpreter. */
  translated = false;

  constructor() {
    const memory = new GuestMemory({ cpuBytes: S.CPU_BLOCK, codeBytes: 4 << 20, frames: FRAMES });
    for (let i = 0; i < FRAMES; i++) memory.map(gfn(i), memory.allocatePage());
    this.memory = memory;
    const interpreter = createInterpreter(memory.memory);
    this.code = new CodeCache(memory.memory, memory.codeBase, memory.codeBytes, { forcedEmulation: false });
    this.code.translateWith(interpreter.compiler);
    this.cpu = new Cpu(
      0,
      memory.cpuBase,
      {
        physical: memory,
        ports: { in: () => 0xffff_ffff, out: () => {} },
        interrupts: { pending: () => -1, acknowledge: () => 0 },
        traps: noTraps,
        model: { forcedEmulation: false, cr4Mask: 0xff_ffffn, eferMask: 0xd01n, physicalBits: 39 },
      },
      this.code,
      interpreter.run,
    );
    interpreter.attach(this.cpu);
    this.code.attach(this.cpu);
    this.tables();
    // Exceptions are what a case is asked about; nothing is delivered.
    Reflect.set(this.cpu, 'raise', (vector: number) => {
      this.fault = vector;
      this.cpu.requestExit();
    });
  }

  /** Byte address in linear memory of a guest frame. */
  private host(frame: number): number {
    return this.memory.page(frame, true);
  }

  private tables(): void {
    const entry = (table: number, index: number, frame: number) =>
      this.cpu.u64.set([(BigInt(frame) << 12n) | USER_PAGE], (this.host(table) >>> 3) + index);
    entry(PML4, 0, PDPT);
    entry(PDPT, 0, PD);
    entry(PD, Number(CODE >> 21n), CODE_TABLE);
    entry(PD, Number(WINDOW >> 21n), DATA_TABLE);
    entry(CODE_TABLE, Number((CODE >> 12n) & 511n), CODE_FRAME);
    entry(DATA_TABLE, Number((WINDOW >> 12n) & 511n), DATA_FRAME);
    this.cpu.u8.fill(0xcc, this.host(CODE_FRAME), this.host(CODE_FRAME) + 4096);
  }

  private mode(bits: 32 | 64): void {
    const { cpu } = this;
    cpu.set64(S.CR0, 0x8000_0033n);
    cpu.set64(S.CR3, BigInt(PML4) << 12n);
    cpu.set64(S.CR4, 0x620n);
    cpu.set64(S.EFER, 0xd01n);
    for (const n of [S.ES, S.SS, S.DS, S.FS, S.GS]) cpu.setSegment(n, 0x2b, 0n, 0xffff_ffff, 0xc0f3);
    cpu.setSegment(S.CS, bits === 64 ? 0x33 : 0x23, 0n, 0xffff_ffff, bits === 64 ? 0xa0fb : 0xc0fb);
    cpu.updateMode(3);
    cpu.flushTlb(true);
  }

  /** Runs one instruction where the processor stands: the vector it faulted with, else -1. */
  step(): number {
    this.fault = -1;
    this.lastBits = 0;
    this.cpu.run(1);
    return this.fault;
  }

  private lastBits = 0;

  execute(input: Input): Execution {
    const { cpu } = this;
    if (input.bits !== this.lastBits) this.mode(input.bits);
    this.lastBits = input.bits;
    const code = this.host(CODE_FRAME),
      data = this.host(DATA_FRAME);
    const codeAt = Number(CODE & 0xfffn),
      dataAt = Number(WINDOW & 0xfffn);
    cpu.u8.fill(0xcc, code + codeAt, code + codeAt + 32);
    cpu.u8.set(input.code, code + codeAt);
    this.code.written(CODE_FRAME, codeAt, 32);
    cpu.u8.set(input.memory, data + dataAt);
    input.gpr.forEach((value, n) => {
      cpu.set64(S.gpr(n), value);
    });
    cpu.eflags = input.flags;
    this.loadFx(input.fx);
    cpu.rip = CODE;
    this.fault = -1;
    if (this.translated) {
      // The page must have been looked up once before code in it can be translated.
      this.code.lookup(cpu);
      this.code.translate(cpu);
    }
    let rip = CODE;
    for (let n = 0; n < MOST_REPETITIONS && rip === CODE && this.fault < 0; n++) {
      cpu.run(1);
      rip = cpu.rip;
    }
    // Arriving where nothing is mapped is a completed jump.
    if (this.fault === PAGE_FAULT && rip !== CODE) this.fault = -1;
    return {
      vector: this.fault,
      rip,
      gpr: input.gpr.map((_, n) => cpu.gpr(n)),
      flags: cpu.eflags,
      memory: cpu.u8.slice(data + dataAt, data + dataAt + WINDOW_SIZE),
      fx: this.storeFx(),
    };
  }

  private loadFx(fx: Uint8Array): void {
    const { cpu } = this;
    const view = new DataView(fx.buffer, fx.byteOffset);
    cpu.set16(S.FPU_CONTROL, view.getUint16(0, true));
    cpu.set16(S.FPU_STATUS, view.getUint16(2, true));
    cpu.set8(S.FPU_TAG, fx[4]!);
    cpu.set32(S.MXCSR, view.getUint32(FX_MXCSR, true));
    const top = (view.getUint16(2, true) >> 11) & 7;
    for (let i = 0; i < 8; i++) {
      const at = cpu.base + S.fpr((top + i) & 7);
      cpu.u8.set(fx.subarray(FX_ST + i * 16, FX_ST + i * 16 + 10), at);
    }
    cpu.u8.set(fx.subarray(FX_XMM, FX_XMM + 256), cpu.base + S.XMM);
  }

  private storeFx(): Uint8Array {
    const { cpu } = this;
    const fx = new Uint8Array(FX_SIZE);
    const view = new DataView(fx.buffer);
    view.setUint16(0, cpu.get16(S.FPU_CONTROL), true);
    view.setUint16(2, cpu.get16(S.FPU_STATUS), true);
    fx[4] = cpu.get8(S.FPU_TAG);
    view.setUint32(FX_MXCSR, cpu.get32(S.MXCSR), true);
    const top = (cpu.get16(S.FPU_STATUS) >> 11) & 7;
    for (let i = 0; i < 8; i++) {
      const at = cpu.base + S.fpr((top + i) & 7);
      fx.set(cpu.u8.subarray(at, at + 10), FX_ST + i * 16);
    }
    fx.set(cpu.u8.subarray(cpu.base + S.XMM, cpu.base + S.XMM + 256), FX_XMM);
    return fx;
  }
}
