/** Whole-state images of the x87 and SSE registers: FXSAVE, XSAVE and XCR0 (key `sdm:1 "Managing State Using the XSAVE Feature Set"`). */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import { initialize, summarize } from '../fpu/x87-state.ts';
import { type Row, routine } from '../isa/row.ts';
import * as S from '../state.ts';
import { fault, GP, NM, UD } from './fault.ts';

const CR0_EM = 4,
  CR0_TS = 8;
const CR4_OSXSAVE = 0x4_0000;
/** Components of XCR0. */
const X87 = 1n,
  SSE = 2n,
  AVX = 4n;
/** State components the processor has. */
export const XCR0_SUPPORTED = X87 | SSE;
const LEGACY = 512,
  HEADER = 64;
export const XSAVE_SIZE = LEGACY + HEADER;

/** Address of the image, after the alignment check. */
const imageAddress = (cpu: Cpu, insn: Insn, size: number, alignment: bigint, write: boolean): bigint => {
  const at = cpu.effectiveAddress(insn, size, write);
  if ((at & (alignment - 1n)) !== 0n) throw fault(GP, 0);
  cpu.probeLinear(at, size, write);
  return at;
};

/** x87 part of the legacy region; `wide` images have 64-bit pointers. */
const saveX87 = (cpu: Cpu, at: bigint, wide: boolean): void => {
  cpu.writeLinear16(at, cpu.get16(S.FPU_CONTROL));
  cpu.writeLinear16(at + 2n, cpu.get16(S.FPU_STATUS));
  cpu.writeLinear16(at + 4n, cpu.get8(S.FPU_TAG));
  cpu.writeLinear16(at + 6n, cpu.get16(S.FPU_OPCODE) & 0x7ff);
  const pointers = [
    [8n, S.FPU_IP, S.FPU_CS],
    [16n, S.FPU_DP, S.FPU_DS],
  ] as const;
  for (const [offset, pointer, selector] of pointers) {
    if (wide) cpu.writeLinear64(at + offset, cpu.get64(pointer));
    else {
      cpu.writeLinear32(at + offset, cpu.get32(pointer));
      cpu.writeLinear32(at + offset + 4n, cpu.get16(selector));
    }
  }
  const top = (cpu.get16(S.FPU_STATUS) >> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const n = S.fpr((top + i) & 7);
    cpu.writeLinear64(at + BigInt(32 + i * 16), cpu.get64(n));
    cpu.writeLinear64(at + BigInt(40 + i * 16), BigInt(cpu.get16(n + 8)));
  }
};

const restoreX87 = (cpu: Cpu, at: bigint, wide: boolean): void => {
  cpu.set16(S.FPU_CONTROL, (cpu.readLinear16(at) & 0x1f7f) | 0x40);
  cpu.set16(S.FPU_STATUS, cpu.readLinear16(at + 2n));
  cpu.set8(S.FPU_TAG, cpu.readLinear8(at + 4n));
  cpu.set16(S.FPU_OPCODE, cpu.readLinear16(at + 6n) & 0x7ff);
  const pointers = [
    [8n, S.FPU_IP, S.FPU_CS],
    [16n, S.FPU_DP, S.FPU_DS],
  ] as const;
  for (const [offset, pointer, selector] of pointers) {
    cpu.set64(pointer, wide ? cpu.readLinear64(at + offset) : BigInt(cpu.readLinear32(at + offset)));
    cpu.set16(selector, wide ? 0 : cpu.readLinear16(at + offset + 4n));
  }
  const top = (cpu.get16(S.FPU_STATUS) >> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const n = S.fpr((top + i) & 7);
    cpu.set64(n, cpu.readLinear64(at + BigInt(32 + i * 16)));
    cpu.set16(n + 8, cpu.readLinear16(at + BigInt(40 + i * 16)));
  }
  summarize(cpu);
};

/** Outside 64-bit mode the upper eight registers do not exist. */
const xmmCount = (cpu: Cpu): number => (cpu.code64 ? 16 : 8);

const saveXmm = (cpu: Cpu, at: bigint): void => {
  for (let i = 0; i < xmmCount(cpu) * 2; i++) cpu.writeLinear64(at + BigInt(160 + i * 8), cpu.get64(S.XMM + i * 8));
};

const restoreXmm = (cpu: Cpu, at: bigint): void => {
  for (let i = 0; i < xmmCount(cpu) * 2; i++) cpu.set64(S.XMM + i * 8, cpu.readLinear64(at + BigInt(160 + i * 8)));
};

const saveMxcsr = (cpu: Cpu, at: bigint): void => {
  cpu.writeLinear32(at + 24n, cpu.get32(S.MXCSR));
  cpu.writeLinear32(at + 28n, S.MXCSR_MASK);
};

/** MXCSR of an image; reserved bits are #GP before anything is changed. */
const readMxcsr = (cpu: Cpu, at: bigint): number => {
  const value = cpu.readLinear32(at + 24n);
  if ((value & ~S.MXCSR_MASK) !== 0) throw fault(GP, 0);
  return value;
};

const legacyAvailable = (cpu: Cpu): void => {
  if ((cpu.get32(S.CR0) & (CR0_EM | CR0_TS)) !== 0) throw fault(NM);
};

const xsaveAvailable = (cpu: Cpu): void => {
  if ((cpu.get32(S.CR4) & CR4_OSXSAVE) === 0) throw fault(UD);
  if ((cpu.get32(S.CR0) & CR0_TS) !== 0) throw fault(NM);
};

const fxsave = (cpu: Cpu, insn: Insn): undefined => {
  legacyAvailable(cpu);
  const at = imageAddress(cpu, insn, LEGACY, 16n, true);
  saveX87(cpu, at, insn.operandSize === 64);
  saveMxcsr(cpu, at);
  saveXmm(cpu, at);
};

const fxrstor = (cpu: Cpu, insn: Insn): undefined => {
  legacyAvailable(cpu);
  const at = imageAddress(cpu, insn, LEGACY, 16n, false);
  const mxcsr = readMxcsr(cpu, at);
  restoreX87(cpu, at, insn.operandSize === 64);
  cpu.set32(S.MXCSR, mxcsr);
  restoreXmm(cpu, at);
};

/** Requested components: EDX:EAX and XCR0. */
const requested = (cpu: Cpu): bigint => ((cpu.gpr(S.RDX) << 32n) | (cpu.gpr(S.RAX) & 0xffff_ffffn)) & cpu.get64(S.XCR0);

const xsave = (cpu: Cpu, insn: Insn): undefined => {
  xsaveAvailable(cpu);
  const at = imageAddress(cpu, insn, XSAVE_SIZE, 64n, true);
  const mask = requested(cpu);
  const header = at + BigInt(LEGACY);
  const before = cpu.readLinear64(header);
  if ((mask & X87) !== 0n) saveX87(cpu, at, insn.operandSize === 64);
  if ((mask & (SSE | AVX)) !== 0n) saveMxcsr(cpu, at);
  if ((mask & SSE) !== 0n) saveXmm(cpu, at);
  // Every requested component counts as in use.
  cpu.writeLinear64(header, (before & ~mask) | mask);
};

const xrstor = (cpu: Cpu, insn: Insn): undefined => {
  xsaveAvailable(cpu);
  const at = imageAddress(cpu, insn, XSAVE_SIZE, 64n, false);
  const mask = requested(cpu);
  const header = at + BigInt(LEGACY);
  const present = cpu.readLinear64(header);
  if ((present & ~cpu.get64(S.XCR0)) !== 0n) throw fault(GP, 0);
  // The compacted form is not offered, and the next eight bytes are reserved.
  if (cpu.readLinear64(header + 8n) !== 0n || cpu.readLinear64(header + 16n) !== 0n) throw fault(GP, 0);
  const mxcsr = (mask & (SSE | AVX)) !== 0n ? readMxcsr(cpu, at) : undefined;
  if ((mask & X87) !== 0n) {
    if ((present & X87) !== 0n) restoreX87(cpu, at, insn.operandSize === 64);
    else {
      initialize(cpu);
      for (let i = 0; i < 16; i++) cpu.set64(S.FPU_REGISTERS + i * 8, 0n);
    }
  }
  if (mxcsr !== undefined) cpu.set32(S.MXCSR, mxcsr);
  if ((mask & SSE) !== 0n) {
    if ((present & SSE) !== 0n) restoreXmm(cpu, at);
    else for (let i = 0; i < xmmCount(cpu) * 2; i++) cpu.set64(S.XMM + i * 8, 0n);
  }
};

/** Whether a value may be in XCR0: x87 always, AVX only together with SSE, nothing that the processor lacks. */
export const validXcr0 = (value: bigint): boolean =>
  (value & X87) !== 0n && (value & ~XCR0_SUPPORTED) === 0n && ((value & AVX) === 0n || (value & SSE) !== 0n);

const xcrIndex = (cpu: Cpu): void => {
  if ((cpu.get32(S.CR4) & CR4_OSXSAVE) === 0) throw fault(UD);
};

export const fxsaveRows: readonly Row[] = [
  routine('FXSAVE', 'NP 0F AE /0m', '', {}, fxsave),
  routine('FXRSTOR', 'NP 0F AE /1m', '', {}, fxrstor),
  routine('XSAVE', 'NP 0F AE /4m', '', {}, xsave),
  routine('XRSTOR', 'NP 0F AE /5m', '', {}, xrstor),
];

export const xcrRows: readonly Row[] = [
  routine('XGETBV', 'NP 0F 01 /D0', '', {}, (cpu) => {
    xcrIndex(cpu);
    if (cpu.get32(S.gpr(S.RCX)) !== 0) throw fault(GP, 0);
    const value = cpu.get64(S.XCR0);
    cpu.setGpr(S.RAX, value & 0xffff_ffffn);
    cpu.setGpr(S.RDX, value >> 32n);
    return undefined;
  }),
  routine('XSETBV', 'NP 0F 01 /D1', '', {}, (cpu) => {
    xcrIndex(cpu);
    const value = (cpu.gpr(S.RDX) << 32n) | (cpu.gpr(S.RAX) & 0xffff_ffffn);
    if (cpu.cpl !== 0 || cpu.get32(S.gpr(S.RCX)) !== 0 || !validXcr0(value & 0xffff_ffff_ffff_ffffn))
      throw fault(GP, 0);
    cpu.set64(S.XCR0, value & 0xffff_ffff_ffff_ffffn);
    return undefined;
  }),
];
