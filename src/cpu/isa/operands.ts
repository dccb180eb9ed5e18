/** Operand access of routines. */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import * as S from '../state.ts';
import type { Slot } from '../system/stack.ts';

/** Bytes of the operand size. */
export const slotOf = (insn: Insn): Slot => (insn.operandSize / 8) as Slot;

/** Offset behind the instruction. */
export const nextRip = (cpu: Cpu, insn: Insn): bigint => cpu.advance(insn.length);

/** 16-bit r/m operand. */
export const readWord = (cpu: Cpu, insn: Insn): number =>
  insn.memory === undefined ? cpu.get16(S.gpr(insn.rm)) : cpu.readLinear16(cpu.effectiveAddress(insn, 2, false));

/** Writes a selector-like value: a register takes it zero-extended to the operand size, memory takes 16 bits. */
export const writeWord = (cpu: Cpu, insn: Insn, value: bigint): void => {
  if (insn.memory === undefined) cpu.setGpr(insn.rm, value, insn.operandSize);
  else cpu.writeLinear16(cpu.effectiveAddress(insn, 2, true), Number(value & 0xffffn));
};

/** Reads the offset and selector of a far pointer in memory. */
export const readFarPointer = (cpu: Cpu, insn: Insn): { offset: bigint; selector: number } => {
  const size = slotOf(insn);
  const at = cpu.effectiveAddress(insn, size + 2, false);
  const offset = size === 8 ? cpu.readLinear64(at) : BigInt(size === 4 ? cpu.readLinear32(at) : cpu.readLinear16(at));
  return { offset, selector: cpu.readLinear16(at + BigInt(size)) };
};

/** Sets or clears ZF alone. */
export const setZero = (cpu: Cpu, zero: boolean): void => {
  const flags = cpu.eflags;
  cpu.setArithmeticFlags(zero ? flags | S.ZF : flags & ~S.ZF);
};
