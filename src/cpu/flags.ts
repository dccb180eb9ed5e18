/**
 * Operations whose flags follow from two 64-bit values. The interpreter computes the flags where the operation is; the
 * translator keeps the values and computes flags only where somebody looks, or where translated code is left.
 *
 * `flags` calls {@link Semantics.setFlags} once, at the operation's width. Values are zero-extended from it.
 */
import type { Semantics } from './semantics.ts';
import * as S from './state.ts';
import type { Op } from './wasm/opcodes.ts';
import { c32, c64, type Val } from './wasm/value.ts';

export interface FlagOperation {
  /** Different for each operation; 0 stands for flags that are already computed. */
  readonly number: number;
  flags(s: Semantics, a: Val, b: Val): void;
  /** CF alone: 0 or 1, i32 or i64. */
  carry(s: Semantics, a: Val, b: Val): Val;
  /** A condition code (see {@link Semantics.condition}) straight from the values; undefined: from the flags. */
  condition?(s: Semantics, code: number, a: Val, b: Val): Val | undefined;
}

/** OF at its EFLAGS position from a 64-bit value whose top bit of the operation width is the overflow. */
const overflowBit = (s: Semantics, v: Val): Val => {
  const { f, width } = s;
  const top = width === 8 ? f.op('i64.shl', v, c64(4n)) : f.op('i64.shr_u', v, c64(width - 12));
  return f.op('i32.and', f.op('i32.wrap_i64', top), c32(S.OF));
};

/** Bit `width - 1` of a value as i32. */
export const topBit = (s: Semantics, v: Val): Val =>
  s.f.op('i32.and', s.f.op('i32.wrap_i64', s.f.op('i64.shr_u', v, c64(s.width - 1))), c32(1));

const auxiliary = (s: Semantics, a: Val, b: Val, r: Val): Val => {
  const { f } = s;
  return f.op('i32.and', f.op('i32.wrap_i64', f.op('i64.xor', f.op('i64.xor', a, b), r)), c32(S.AF));
};

/** CF, AF and OF of a sum with these operands, result and carry. */
export const sumBits = (s: Semantics, a: Val, b: Val, r: Val, carry: Val): Val => {
  const { f } = s;
  const of = overflowBit(s, f.op('i64.and', f.op('i64.xor', a, r), f.op('i64.xor', b, r)));
  return f.op('i32.or', f.op('i32.or', carry, auxiliary(s, a, b, r)), of);
};

export const differenceBits = (s: Semantics, a: Val, b: Val, r: Val, borrow: Val): Val => {
  const { f } = s;
  const of = overflowBit(s, f.op('i64.and', f.op('i64.xor', a, b), f.op('i64.xor', a, r)));
  return f.op('i32.or', f.op('i32.or', borrow, auxiliary(s, a, b, r)), of);
};

/** A 32-bit operation on 64-bit values; the result is zero-extended. Compilers know that it is, so no mask is needed. */
export const narrowly = ({ f }: Semantics, name: Op, a: Val, b: Val): Val =>
  f.op('i64.extend_i32_u', f.op(name, f.op('i32.wrap_i64', a), f.op('i32.wrap_i64', b)));

/** An operation at the operation width; the result is zero-extended. */
export const arithmetic = (
  s: Semantics,
  name: 'add' | 'sub' | 'mul' | 'shl' | 'and' | 'or' | 'xor',
  a: Val,
  b: Val,
): Val => {
  const { f, width } = s;
  return width === 32 ? narrowly(s, `i32.${name}`, a, b) : s.zx(width, f.op(`i64.${name}`, a, b));
};

/** Compares at the operation width: as 32-bit numbers when it is 32 bits, else as 64-bit numbers. */
const compare = (s: Semantics, name: 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge', signed: boolean, a: Val, b: Val): Val => {
  const { f, width } = s;
  const suffix = name === 'eq' || name === 'ne' ? '' : signed ? '_s' : '_u';
  const op = (bits: 'i32' | 'i64'): Op => `${bits}.${name}${suffix}` as Op;
  if (width === 32) return f.op(op('i32'), f.op('i32.wrap_i64', a), f.op('i32.wrap_i64', b));
  if (signed && width < 32) return f.op(op('i64'), s.sx(width, a), s.sx(width, b));
  return f.op(op('i64'), a, b);
};

const ZERO = c64(0n);

/** Conditions that look at the result only. */
const resultCondition = (s: Semantics, code: number, r: Val): Val | undefined => {
  switch (code) {
    case 4:
      return compare(s, 'eq', false, r, ZERO);
    case 5:
      return compare(s, 'ne', false, r, ZERO);
    case 8:
      return compare(s, 'lt', true, r, ZERO);
    case 9:
      return compare(s, 'ge', true, r, ZERO);
    default:
      return undefined;
  }
};

const sumCarry = (s: Semantics, a: Val, b: Val, r: Val): Val => {
  const { f, width } = s;
  if (width >= 32) return compare(s, 'lt', false, r, a);
  return f.op('i32.wrap_i64', f.op('i64.shr_u', f.op('i64.add', a, b), c64(width)));
};

export const ADD: FlagOperation = {
  number: 1,
  flags(s, a, b) {
    const r = arithmetic(s, 'add', a, b);
    s.setFlags(r, sumBits(s, a, b, r, sumCarry(s, a, b, r)));
  },
  carry: (s, a, b) => sumCarry(s, a, b, arithmetic(s, 'add', a, b)),
  condition(s, code, a, b) {
    const r = arithmetic(s, 'add', a, b);
    if (code === 2) return compare(s, 'lt', false, r, a);
    if (code === 3) return compare(s, 'ge', false, r, a);
    return resultCondition(s, code, r);
  },
};

const ORDERS: Readonly<Record<number, readonly ['eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge', boolean]>> = {
  2: ['lt', false],
  3: ['ge', false],
  4: ['eq', false],
  5: ['ne', false],
  6: ['le', false],
  7: ['gt', false],
  12: ['lt', true],
  13: ['ge', true],
  14: ['le', true],
  15: ['gt', true],
};

export const SUB: FlagOperation = {
  number: 2,
  flags(s, a, b) {
    const r = arithmetic(s, 'sub', a, b);
    s.setFlags(r, differenceBits(s, a, b, r, compare(s, 'lt', false, a, b)));
  },
  carry: (s, a, b) => compare(s, 'lt', false, a, b),
  condition(s, code, a, b) {
    const order = ORDERS[code];
    if (order !== undefined) return compare(s, order[0], order[1], a, b);
    return resultCondition(s, code, arithmetic(s, 'sub', a, b));
  },
};

/** AND, OR, XOR, TEST: `a` is the result. */
export const LOGIC: FlagOperation = {
  number: 3,
  flags: (s, r) => s.setFlags(r, c32(0)),
  carry: () => c32(0),
  condition(s, code, r) {
    switch (code) {
      case 0:
      case 2:
        return c32(0);
      case 1:
      case 3:
        return c32(1);
      case 6:
      case 7:
      case 12:
      case 13:
        // Without CF and OF: ZF alone, SF alone.
        return resultCondition(s, code < 8 ? code - 2 : code - 4, r);
      case 14:
        return compare(s, 'le', true, r, ZERO);
      case 15:
        return compare(s, 'gt', true, r, ZERO);
      default:
        return resultCondition(s, code, r);
    }
  },
};

/** INC and DEC: `a` is the result, `b` the carry, which stays. */
const step = (number: number, by: 1n | -1n): FlagOperation => ({
  number,
  flags(s, r, carry) {
    const { f, width } = s;
    const half = 1n << BigInt(width - 1);
    const of = f.op('i32.shl', f.op('i64.eq', r, c64(by === 1n ? half : half - 1n)), c32(11));
    const nibble = f.op('i64.and', r, c64(15n));
    const af = f.op('i32.shl', f.op('i64.eq', nibble, c64(by === 1n ? 0n : 15n)), c32(4));
    s.setFlags(r, f.op('i32.or', f.op('i32.or', f.op('i32.wrap_i64', carry), af), of));
  },
  carry: (_, __, carry) => carry,
  condition: (s, code, r) => resultCondition(s, code, r),
});
export const INC = step(4, 1n),
  DEC = step(5, -1n);
