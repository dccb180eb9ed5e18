/** A decoded instruction as TypeScript routines, the translator and the tracer see it. */
import type { Row } from '../isa/row.ts';

/** Memory operand: registers are numbers 0..15, -1 when absent; `base` 16 is RIP (relative to the next instruction). */
export interface MemoryOperand {
  /** Segment register number (es cs ss ds fs gs), override applied. */
  readonly segment: number;
  readonly base: number;
  readonly index: number;
  /** 0..3: the index is shifted left by this. */
  readonly scale: number;
  /** Signed displacement (32-bit, or 64-bit for an absolute offset). */
  readonly displacement: bigint;
}

export interface Insn {
  readonly row: Row;
  /** Bytes, prefixes included: 1..15. */
  readonly length: number;
  /** Operand size in bits: 16, 32 or 64. */
  readonly operandSize: 16 | 32 | 64;
  readonly addressSize: 16 | 32 | 64;
  /** Code size of the mode: 16, 32 or 64. */
  readonly codeSize: 16 | 32 | 64;
  /** ModRM.reg with REX.R, ModRM.rm with REX.B (a register number when `memory` is undefined). */
  readonly reg: number;
  readonly rm: number;
  /** Any REX prefix present (registers 4-7 of 8-bit operands are then spl bpl sil dil). */
  readonly rex: boolean;
  /** VEX.vvvv register number. */
  readonly vvvv: number;
  readonly memory: MemoryOperand | undefined;
  /** First immediate (sign-extended), second immediate (ENTER, far pointers' selector). */
  readonly immediate: bigint;
  readonly immediate2: number;
  /** 0 none, 0xf2, 0xf3 (last one wins). */
  readonly repeat: 0 | 0xf2 | 0xf3;
  readonly lock: boolean;
  /** Low opcode byte's register (+r forms), with REX.B. */
  readonly opcodeRegister: number;
}

/** An instruction without operands. */
export const plainInsn = (row: Row, length: number, codeSize: 16 | 32 | 64): Insn => ({
  row,
  length,
  operandSize: 32,
  addressSize: 32,
  codeSize,
  reg: 0,
  rm: 0,
  rex: false,
  vvvv: 0,
  memory: undefined,
  immediate: 0n,
  immediate2: 0,
  repeat: 0,
  lock: false,
  opcodeRegister: 0,
});
