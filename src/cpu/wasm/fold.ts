/**
 * Integer operations whose operands are known when code is written: constants are computed, and operations that change nothing are left out.
 * The translator's operands are mostly constants, so this decides how much code a region has.
 */
import type { Op } from './opcodes.ts';

const u64 = (v: bigint): bigint => BigInt.asUintN(64, v);
const bool = (v: boolean): number => (v ? 1 : 0);

type Binary64 = (a: bigint, b: bigint) => bigint | number;
const BINARY_64: Partial<Record<Op, Binary64>> = {
  'i64.add': (a, b) => a + b,
  'i64.sub': (a, b) => a - b,
  'i64.mul': (a, b) => a * b,
  'i64.and': (a, b) => a & b,
  'i64.or': (a, b) => a | b,
  'i64.xor': (a, b) => a ^ b,
  'i64.shl': (a, b) => a << (b & 63n),
  'i64.shr_u': (a, b) => u64(a) >> (b & 63n),
  'i64.shr_s': (a, b) => a >> (b & 63n),
  'i64.eq': (a, b) => bool(a === b),
  'i64.ne': (a, b) => bool(a !== b),
  'i64.lt_u': (a, b) => bool(u64(a) < u64(b)),
  'i64.le_u': (a, b) => bool(u64(a) <= u64(b)),
  'i64.gt_u': (a, b) => bool(u64(a) > u64(b)),
  'i64.ge_u': (a, b) => bool(u64(a) >= u64(b)),
  'i64.lt_s': (a, b) => bool(a < b),
  'i64.le_s': (a, b) => bool(a <= b),
  'i64.gt_s': (a, b) => bool(a > b),
  'i64.ge_s': (a, b) => bool(a >= b),
};

const BINARY_32: Partial<Record<Op, (a: number, b: number) => number>> = {
  'i32.add': (a, b) => a + b,
  'i32.sub': (a, b) => a - b,
  'i32.mul': (a, b) => Math.imul(a, b),
  'i32.and': (a, b) => a & b,
  'i32.or': (a, b) => a | b,
  'i32.xor': (a, b) => a ^ b,
  'i32.shl': (a, b) => a << b,
  'i32.shr_u': (a, b) => a >>> b,
  'i32.shr_s': (a, b) => a >> b,
  'i32.eq': (a, b) => bool(a === b),
  'i32.ne': (a, b) => bool(a !== b),
  'i32.lt_u': (a, b) => bool(a >>> 0 < b >>> 0),
};

const UNARY_64: Partial<Record<Op, (a: bigint) => bigint | number>> = {
  'i64.eqz': (a) => bool(a === 0n),
  'i32.wrap_i64': (a) => Number(BigInt.asIntN(32, a)),
  'i64.extend8_s': (a) => BigInt.asIntN(8, a),
  'i64.extend16_s': (a) => BigInt.asIntN(16, a),
  'i64.extend32_s': (a) => BigInt.asIntN(32, a),
};

const UNARY_32: Partial<Record<Op, (a: number) => bigint | number>> = {
  'i32.eqz': (a) => bool(a === 0),
  'i64.extend_i32_u': (a) => BigInt(a >>> 0),
  'i64.extend_i32_s': (a) => BigInt(a),
};

/** Value of an operation on constants; undefined when it is not one of those that are computed. */
export const fold = (name: Op, a: bigint | number, b: bigint | number | undefined): bigint | number | undefined => {
  if (b === undefined) return typeof a === 'bigint' ? UNARY_64[name]?.(a) : UNARY_32[name]?.(a);
  if (typeof a === 'bigint') return typeof b === 'bigint' ? BINARY_64[name]?.(a, b) : undefined;
  return typeof b === 'number' ? BINARY_32[name]?.(a, b) : undefined;
};

/** Operations that give their first operand back when the second is this constant. */
const NEUTRAL: Partial<Record<Op, bigint | number>> = {
  'i64.add': 0n,
  'i64.sub': 0n,
  'i64.or': 0n,
  'i64.xor': 0n,
  'i64.shl': 0n,
  'i64.shr_u': 0n,
  'i64.shr_s': 0n,
  'i64.and': -1n,
  'i32.add': 0,
  'i32.sub': 0,
  'i32.or': 0,
  'i32.xor': 0,
  'i32.shl': 0,
  'i32.shr_u': 0,
  'i32.and': -1,
};

export const isNeutral = (name: Op, b: bigint | number): boolean => NEUTRAL[name] === b;

const ABSORBING: Partial<Record<Op, bigint | number>> = { 'i64.and': 0n, 'i32.and': 0, 'i64.mul': 0n };

/** The result is the second operand whatever the first is. */
export const isAbsorbing = (name: Op, b: bigint | number): boolean => ABSORBING[name] === b;

export const COMMUTES: ReadonlySet<Op> = new Set<Op>([
  'i64.add',
  'i64.or',
  'i64.xor',
  'i64.and',
  'i32.add',
  'i32.or',
  'i32.xor',
  'i32.and',
]);
