/** Arithmetic with flags, for the few instructions the hypervisor performs in a guest's place. */
import * as S from '../../../cpu/state.ts';

export interface AluResult {
  readonly value: bigint;
  /** CF PF AF ZF SF OF; the rest of EFLAGS does not count. */
  readonly flags: number;
}

/** `bits` is the width; operands are unsigned. */
export type Alu = (a: bigint, b: bigint, bits: number, flags: number) => AluResult;

const parity = (value: bigint): boolean => {
  let low = Number(value & 0xffn);
  low ^= low >> 4;
  low ^= low >> 2;
  return ((low ^ (low >> 1)) & 1) === 0;
};

/** ZF, SF and PF of a result. */
const ofResult = (value: bigint, bits: number): number =>
  (value === 0n ? S.ZF : 0) | (value >> BigInt(bits - 1) !== 0n ? S.SF : 0) | (parity(value) ? S.PF : 0);

const sum = (a: bigint, b: bigint, carry: bigint, bits: number): AluResult => {
  const full = a + b + carry;
  const value = BigInt.asUintN(bits, full);
  const top = BigInt(bits - 1);
  const flags =
    (full >> BigInt(bits) !== 0n ? S.CF : 0) |
    (((a ^ value) & (b ^ value)) >> top !== 0n ? S.OF : 0) |
    (((a ^ b ^ value) & 0x10n) !== 0n ? S.AF : 0);
  return { value, flags: flags | ofResult(value, bits) };
};

const difference = (a: bigint, b: bigint, borrow: bigint, bits: number): AluResult => {
  const value = BigInt.asUintN(bits, a - b - borrow);
  const top = BigInt(bits - 1);
  const flags =
    (a < b + borrow ? S.CF : 0) |
    (((a ^ b) & (a ^ value)) >> top !== 0n ? S.OF : 0) |
    (((a ^ b ^ value) & 0x10n) !== 0n ? S.AF : 0);
  return { value, flags: flags | ofResult(value, bits) };
};

const logic =
  (operation: (a: bigint, b: bigint) => bigint): Alu =>
  (a, b, bits) => {
    const value = operation(a, b);
    return { value, flags: ofResult(value, bits) };
  };

const keepingCarry = (result: AluResult, flags: number): AluResult => ({
  value: result.value,
  flags: (result.flags & ~S.CF) | (flags & S.CF),
});

/** CF is the bit that was there; the other flags stay. */
const bitTest =
  (change: (a: bigint, mask: bigint) => bigint): Alu =>
  (a, b, bits, flags) => {
    const mask = 1n << BigInt.asUintN(Math.log2(bits), b);
    return { value: change(a, mask), flags: (flags & ~S.CF) | ((a & mask) === 0n ? 0 : S.CF) };
  };

const carryOf = (flags: number): bigint => ((flags & S.CF) === 0 ? 0n : 1n);

export const alu = {
  ADD: (a, b, bits) => sum(a, b, 0n, bits),
  ADC: (a, b, bits, flags) => sum(a, b, carryOf(flags), bits),
  SUB: (a, b, bits) => difference(a, b, 0n, bits),
  SBB: (a, b, bits, flags) => difference(a, b, carryOf(flags), bits),
  CMP: (a, b, bits) => difference(a, b, 0n, bits),
  AND: logic((a, b) => a & b),
  OR: logic((a, b) => a | b),
  XOR: logic((a, b) => a ^ b),
  INC: (a, _b, bits, flags) => keepingCarry(sum(a, 1n, 0n, bits), flags),
  DEC: (a, _b, bits, flags) => keepingCarry(difference(a, 1n, 0n, bits), flags),
  NEG: (a, _b, bits) => difference(0n, a, 0n, bits),
  NOT: (a, _b, bits, flags) => ({ value: BigInt.asUintN(bits, ~a), flags }),
  BTS: bitTest((a, mask) => a | mask),
  BTR: bitTest((a, mask) => a & ~mask),
  BTC: bitTest((a, mask) => a ^ mask),
} satisfies Record<string, Alu>;
