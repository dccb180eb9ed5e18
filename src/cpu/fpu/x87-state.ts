/** x87 register stack, status word and exception reporting (key `sdm:1 "x87 FPU Exception Handling"`). */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import * as S from '../state.ts';
import { fault, MF, NM } from '../system/fault.ts';
import { DE, Environment, IE, OE, UE, ZE } from './environment.ts';
import { FINITE, type Float, INDEFINITE, make, pack80, unpack80, ZERO } from './format.ts';

/** Status word bits. SF is the stack fault flag, ES the exception summary. */
export const SF = 0x40,
  ES = 0x80,
  C0 = 0x100,
  C1 = 0x200,
  C2 = 0x400,
  C3 = 0x4000,
  BUSY = 0x8000;
export const CONDITIONS = C0 | C1 | C2 | C3;
const TOP = 0x3800;
const CR0_MP = 2,
  CR0_EM = 4,
  CR0_TS = 8,
  CR0_NE = 0x20;
const PRECISION = [24, 64, 53, 64] as const;

/** Environment of the x87 instruction in progress; {@link begin} fills it from the control word. */
export const env = new Environment();
env.x87 = true;

export const getControl = (cpu: Cpu): number => cpu.get16(S.FPU_CONTROL);
export const getStatus = (cpu: Cpu): number => cpu.get16(S.FPU_STATUS);
export const setStatus = (cpu: Cpu, value: number): void => cpu.set16(S.FPU_STATUS, value);
export const top = (cpu: Cpu): number => (getStatus(cpu) >> 11) & 7;
export const setTop = (cpu: Cpu, n: number): void => setStatus(cpu, (getStatus(cpu) & ~TOP) | ((n & 7) << 11));

/** Physical register of ST(i). */
const physical = (cpu: Cpu, i: number): number => (top(cpu) + i) & 7;

export const isEmpty = (cpu: Cpu, i: number): boolean => (cpu.get8(S.FPU_TAG) & (1 << physical(cpu, i))) === 0;

/** Value of ST(i), whatever its tag says. */
export const read = (cpu: Cpu, i: number): Float => {
  const at = S.fpr(physical(cpu, i));
  return unpack80(cpu.get64(at), cpu.get16(at + 8));
};

/** Writes ST(i) and marks it valid. */
export const write = (cpu: Cpu, i: number, value: Float): void => {
  const n = physical(cpu, i);
  const [significand, signExponent] = pack80(value);
  cpu.set64(S.fpr(n), significand);
  cpu.set16(S.fpr(n) + 8, signExponent);
  cpu.set8(S.FPU_TAG, cpu.get8(S.FPU_TAG) | (1 << n));
};

export const free = (cpu: Cpu, i: number): void => cpu.set8(S.FPU_TAG, cpu.get8(S.FPU_TAG) & ~(1 << physical(cpu, i)));

export const pop = (cpu: Cpu): void => {
  free(cpu, 0);
  setTop(cpu, top(cpu) + 1);
};

export const push = (cpu: Cpu, value: Float): void => {
  setTop(cpu, top(cpu) - 1);
  write(cpu, 0, value);
};

/** #NM by CR0.EM and TS, before anything else. */
export const available = (cpu: Cpu): void => {
  if ((cpu.get32(S.CR0) & (CR0_EM | CR0_TS)) !== 0) throw fault(NM);
};

/** A waiting instruction reports the exception of an earlier one; without CR0.NE the FERR pin would, and nobody listens. */
export const reportPending = (cpu: Cpu): void => {
  if ((getStatus(cpu) & ES) !== 0 && (cpu.get32(S.CR0) & CR0_NE) !== 0) throw fault(MF);
};

/** FWAIT has its own availability rule. */
export const wait = (cpu: Cpu): void => {
  const mask = CR0_MP | CR0_TS;
  if ((cpu.get32(S.CR0) & mask) === mask) throw fault(NM);
  reportPending(cpu);
};

/** Start of a waiting instruction: availability, pending exceptions, control word. */
export const begin = (cpu: Cpu): void => {
  available(cpu);
  reportPending(cpu);
  const control = getControl(cpu);
  env.flags = 0;
  env.rounding = (control >> 10) & 3;
  env.masks = control & 0x3f;
  env.precision = PRECISION[(control >> 8) & 3];
  env.roundedUp = false;
};

const opcodes = new WeakMap<Insn, number>();
const PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

/** The eleven opcode bits the processor remembers: low three of the first byte, then ModRM. */
const opcodeOf = (cpu: Cpu, insn: Insn): number => {
  const known = opcodes.get(insn);
  if (known !== undefined) return known;
  const bytes = new Uint8Array(insn.length);
  if (!cpu.tryReadLinear(cpu.code64 ? cpu.rip : (cpu.get64(S.CS_BASE) + cpu.rip) & 0xffff_ffffn, bytes)) return 0;
  let i = 0;
  while (i < bytes.length - 2 && (PREFIXES.has(bytes[i]) || (insn.codeSize === 64 && (bytes[i] & 0xf0) === 0x40))) i++;
  const opcode = ((bytes[i] & 7) << 8) | bytes[i + 1];
  opcodes.set(insn, opcode);
  return opcode;
};

/** Remembers the instruction (and its operand) for FSTENV and its kin; after the last memory read that may fault. */
export const remember = (cpu: Cpu, insn: Insn): void => {
  cpu.set64(S.FPU_IP, cpu.rip);
  cpu.set16(S.FPU_CS, cpu.get16(S.seg(S.CS) + S.SEG_SELECTOR));
  cpu.set16(S.FPU_OPCODE, opcodeOf(cpu, insn));
  if (insn.memory === undefined) return;
  cpu.set64(S.FPU_DP, cpu.mem.operandOffset(insn));
  cpu.set16(S.FPU_DS, cpu.get16(S.seg(insn.memory.segment) + S.SEG_SELECTOR));
};

/** Sets the summary bits from the flags and the masks. */
export const summarize = (cpu: Cpu): void => {
  const status = getStatus(cpu);
  const pending = (status & ~getControl(cpu) & 0x3f) !== 0;
  setStatus(cpu, pending ? status | ES | BUSY : status & ~(ES | BUSY));
};

/** Condition bits of the status word; C1 is given apart by most instructions. */
export const setConditions = (cpu: Cpu, value: number, mask = CONDITIONS): void =>
  setStatus(cpu, (getStatus(cpu) & ~mask) | value);

/**
 * Merges the flags of the finished computation into the status word and sets C1 to "rounded up". True when the result may be stored: no
 * unmasked invalid, denormal or divide-by-zero exception happened, nor, for a store to memory, overflow or underflow.
 */
export const finish = (cpu: Cpu, toMemory = false): boolean => {
  const before = IE | DE | ZE;
  const unmasked = env.flags & ~env.masks;
  if ((unmasked & before) !== 0) {
    // Found before anything was computed: what the computation would have raised stays unreported.
    env.flags &= before;
    env.roundedUp = false;
  }
  setStatus(cpu, (getStatus(cpu) & ~C1) | env.flags | (env.roundedUp ? C1 : 0));
  summarize(cpu);
  return (unmasked & (before | (toMemory ? OE | UE : 0))) === 0;
};

/** Stack fault: overflow when C1 says so. True when the masked response (the indefinite) is to be delivered. */
export const stackFault = (cpu: Cpu, overflow: boolean): boolean => {
  setStatus(cpu, (getStatus(cpu) & ~C1) | IE | SF | (overflow ? C1 : 0));
  summarize(cpu);
  return (env.masks & IE) !== 0;
};

/** Pushes a result, or the indefinite with a stack fault when the stack is full. */
export const pushChecked = (cpu: Cpu, value: Float): void => {
  if (isEmpty(cpu, 7)) {
    if (finish(cpu)) push(cpu, value);
  } else if (stackFault(cpu, true)) push(cpu, INDEFINITE);
};

/** A copy that is not marked denormal: instructions that do not report denormal operands. */
export const withoutDenormal = (a: Float): Float =>
  a.denormal ? make(a.kind, a.negative, a.exponent, a.significand) : a;

/** Two-bit tags as FSTENV shows them: 0 valid, 1 zero, 2 special, 3 empty. */
export const tagWord = (cpu: Cpu): number => {
  let word = 0;
  const tags = cpu.get8(S.FPU_TAG);
  for (let n = 0; n < 8; n++) {
    if ((tags & (1 << n)) === 0) {
      word |= 3 << (2 * n);
      continue;
    }
    const value = unpack80(cpu.get64(S.fpr(n)), cpu.get16(S.fpr(n) + 8));
    if (value.kind === ZERO) word |= 1 << (2 * n);
    else if (value.kind !== FINITE || value.denormal) word |= 2 << (2 * n);
  }
  return word;
};

export const setTagWord = (cpu: Cpu, word: number): void => {
  let tags = 0;
  for (let n = 0; n < 8; n++) if (((word >> (2 * n)) & 3) !== 3) tags |= 1 << n;
  cpu.set8(S.FPU_TAG, tags);
};

/** FNINIT. */
export const initialize = (cpu: Cpu): void => {
  cpu.set16(S.FPU_CONTROL, 0x37f);
  setStatus(cpu, 0);
  cpu.set8(S.FPU_TAG, 0);
  cpu.set16(S.FPU_OPCODE, 0);
  cpu.set64(S.FPU_IP, 0n);
  cpu.set64(S.FPU_DP, 0n);
  cpu.set16(S.FPU_CS, 0);
  cpu.set16(S.FPU_DS, 0);
};
