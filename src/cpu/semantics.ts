/**
 * The emitter that instruction meanings are written against. Two back ends implement it: the interpreter generator
 * (operands are fields of a decoded record) and the translator (operands are known constants and locals).
 *
 * Integer values are i64, zero-extended from their width. A width is 8, 16, 32 or 64 bits. Conditions are i32, 0 or 1.
 * Rules for rows: read with write intent (`update`) before computing, so that nothing can fault after the first effect.
 */
import type { FlagOperation } from './flags.ts';
import type { TransferName } from './interpret/transfers.ts';
import type { FunctionBody } from './wasm/function.ts';
import type { Val } from './wasm/value.ts';

export type Width = 8 | 16 | 32 | 64 | 128;

export interface Operand {
  /** Width in bits in this variant of the row. */
  readonly width: Width;
  /** True when this variant's operand is memory. */
  readonly isMemory: boolean;
  /** Reads: i64 zero-extended for widths up to 64, v128 for 128. Memory reads may fault. Immediates are sign-extended to the operation width, then zero-extended to 64. */
  get(): Val;
  /** Like get, but for memory also checks that the place may be written; needed before set() in read-modify-write rows. */
  update(): Val;
  /** Checks that a memory operand may be written without reading it; registers: nothing. */
  probe(): void;
  /** Writes. General registers: 32-bit writes clear the upper half. XMM with a width below 128: only the low part changes. */
  set(value: Val): void;
  /** XMM registers only: writes the low `width` bits and clears the rest. */
  setZeroing(value: Val): void;
  /** Linear address, without any check. Memory only, and only for rows that regions leave to the interpreter. */
  linear(): Val;
  /** Effective address (offset without segment base), for LEA and bit strings. Memory only. */
  address(): Val;
  /** Moves a memory operand by a byte distance (i64) before it is accessed: bit strings. Memory only. */
  displace(distance: Val): void;
}

export interface Semantics {
  /** The function being written: raw WebAssembly operations for what has no helper here. */
  readonly f: FunctionBody;
  /** Operation width: that of the row's `v`/`y` operands, else of the first operand. */
  readonly width: Width;

  // Arithmetic on the operation width; each sets the flags the manual names. Results are zero-extended.
  add(a: Val, b: Val): Val;
  adc(a: Val, b: Val): Val;
  sub(a: Val, b: Val): Val;
  sbb(a: Val, b: Val): Val;
  and(a: Val, b: Val): Val;
  or(a: Val, b: Val): Val;
  xor(a: Val, b: Val): Val;
  inc(a: Val): Val;
  dec(a: Val): Val;

  /** Cuts to a width and zero-extends. */
  zx(width: Width, a: Val): Val;
  /** Sign-extends from a width to 64 bits. */
  sx(width: Width, a: Val): Val;

  /** Sets SF ZF PF from a result of the operation width, and CF AF OF from an i32 of those EFLAGS bits. */
  setFlags(result: Val, bits: Val, width?: Width): void;
  /** Sets the flags of an operation on two values; the translator does so when somebody looks. */
  flagsOf(operation: FlagOperation, a: Val, b: Val): void;
  /** CF as i32 0/1. */
  carry(): Val;
  setCarry(bit: Val): void;
  /** Condition code 0..15 (o no b ae e ne be a s ns p np l ge le g) as i32 0/1. */
  condition(code: number): Val;
  /** All of the arithmetic flags as an i32 of EFLAGS bits / sets them from one. */
  readArithmeticFlags(): Val;
  writeArithmeticFlags(bits: Val): void;

  /** General register by number 0..15 (rAX = 0) at a width. */
  reg(index: number, width: Width): Val;
  setReg(index: number, width: Width, value: Val): void;
  /** 64-bit / 32-bit fields of the state block (state.ts offsets). */
  state64(offset: number): Val;
  state32(offset: number): Val;
  setState64(offset: number, value: Val): void;
  setState32(offset: number, value: Val): void;

  /** Instruction pointer behind this instruction, cut to the instruction-pointer width. i64. */
  nextRip(): Val;
  /** Continues at an offset in CS (checked against limit or canonicality; #GP leaves the state unchanged). */
  jump(target: Val): void;
  /** Target of a near branch relative to the next instruction, cut to the operand size. */
  relative(displacement: Operand): Val;
  /** Jumps to {@link relative}. */
  jumpRelative(displacement: Operand): void;
  /** Checks a jump target without jumping: #GP(0) beyond the CS limit or when not canonical. */
  checkTarget(target: Val): void;
  /** Pushes / pops a value of a width through the current stack. */
  push(width: Width, value: Val): void;
  pop(width: Width): Val;
  /** Reads the top of the stack without moving the stack pointer. */
  stackRead(width: Width): Val;
  /** Adds a byte distance (i64) to the stack pointer, within the stack's address width. */
  moveStack(distance: Val): void;
  /**
   * Address in linear memory (i32) behind a linear address of the guest when `bytes` there are plain memory of one page that the current level
   * may read (write); else 0. Nothing is raised and no device is asked. Only for rows that regions leave to the interpreter.
   */
  plainMemory(linear: Val, bytes: number, write: boolean): Val;
  /** Memory at a linear address; the caller has checked the segment. `stack`: a fault of the access itself is #SS. */
  memory(linear: Val, width: Width, stack?: boolean): Operand;

  /** Raises a fault and ends the instruction: vector, and error code where the vector has one. */
  fault(vector: number, code?: Val): void;
  /** Raises a fault when a condition holds. */
  faultIf(condition: Val, vector: number, code?: Val): void;
  /** Calls a TypeScript helper (a position in HELPERS of helpers.ts) with two i32; its i32 result. Wider data goes through SCRATCH. */
  callHelper(index: number, a: Val, b: Val): Val;
  /** Calls a system helper with the state block exact, RIP and BUDGET included; its result are status bits that the instruction ends with. */
  callSystem(index: number, a: Val, b: Val): void;
  /**
   * Ends the instruction with a control transfer of interpret/transfers.ts, which gets an operand (i32); where that does not do, the routine of
   * the row runs. Only for rows that regions leave to the interpreter.
   */
  transfer(name: TransferName, operand: Val): void;
  /** Ends the instruction without any effect and has the routine of its row run instead. */
  routine(): void;
  /** Ends the instruction with the fault a helper recorded in FAULT_*, when the condition holds. */
  faultRecorded(condition: Val): void;
  /** Leaves translated code after this instruction so that the outside looks at interrupts and modes. */
  leave(): void;

  /** String instructions: the instruction is executed again after this repetition; BUDGET may have been charged for more. */
  again(): void;
  /** String instructions: all repetitions are done and BUDGET was charged for them. */
  finished(): void;
  /** Repeat prefixes of this instruction as i32 conditions. */
  prefix(): { f3: () => Val; f2: () => Val };
  /** String instructions: address mask (i64), base (i64) and number (i32) of the source segment, and whether segments are checked (i32). */
  stringSource(): { mask: Val; base: Val; segment: Val; checked: Val };
  /** Segment type and limit check, when segments are not flat: #GP(0) / #SS(0). */
  segmentCheck(segment: Val | number, offset: Val, bytes: number, write: boolean): void;
}
