/**
 * Exact binary floating-point arithmetic with the flags and special cases of the processor; SSE and x87 share it and differ by
 * their {@link Environment}. Slow by design: translated code does the ordinary cases with the host's own arithmetic.
 */
import { DE, type Environment, IE, PE, ROUND_DOWN, ZE } from './environment.ts';
import {
  bitLength,
  EXTENDED,
  FINITE,
  type Float,
  type Format,
  finite,
  INFINITY,
  infinity,
  isNan,
  isSignaling,
  negate,
  ZERO,
  zero,
} from './format.ts';
import { round, roundToInteger } from './round.ts';

const special = (a: Float): boolean => a.kind > INFINITY;

/** a + b, or a - b with `subtract` (a NaN keeps its sign). */
export const add = (env: Environment, f: Format, a: Float, b: Float, subtract = false): Float => {
  env.roundedUp = false;
  if (special(a) || special(b)) return env.propagate(a, b);
  const y = subtract ? negate(b) : b;
  if (a.kind === INFINITY || y.kind === INFINITY) {
    if (a.kind === INFINITY && y.kind === INFINITY && a.negative !== y.negative) return env.invalid();
    env.operands(a, b);
    return infinity(a.kind === INFINITY ? a.negative : y.negative);
  }
  env.operands(a, b);
  if (a.kind === ZERO && y.kind === ZERO) {
    return zero(a.negative === y.negative ? a.negative : env.rounding === ROUND_DOWN);
  }
  if (a.kind === ZERO) return round(env, f, y.negative, y.significand, y.exponent);
  if (y.kind === ZERO) return round(env, f, a.negative, a.significand, a.exponent);
  const [hi, lo] = a.exponent + bitLength(a.significand) >= y.exponent + bitLength(y.significand) ? [a, y] : [y, a];
  let { significand, exponent } = lo;
  // An operand far below the other only matters as "something": keep the distance bounded.
  const floor = hi.exponent + Math.min(bitLength(hi.significand), 1) - 140;
  if (exponent + bitLength(significand) < floor) {
    significand = 1n;
    exponent = floor;
  }
  const base = Math.min(hi.exponent, exponent);
  const x = hi.significand << BigInt(hi.exponent - base);
  const z = significand << BigInt(exponent - base);
  const sum = hi.negative === lo.negative ? x + z : x - z;
  if (sum === 0n) return zero(env.rounding === ROUND_DOWN);
  return round(env, f, sum < 0n ? !hi.negative : hi.negative, sum < 0n ? -sum : sum, base);
};

export const mul = (env: Environment, f: Format, a: Float, b: Float): Float => {
  env.roundedUp = false;
  if (special(a) || special(b)) return env.propagate(a, b);
  const negative = a.negative !== b.negative;
  if (a.kind === INFINITY || b.kind === INFINITY) {
    if (a.kind === ZERO || b.kind === ZERO) return env.invalid();
    env.operands(a, b);
    return infinity(negative);
  }
  env.operands(a, b);
  if (a.kind === ZERO || b.kind === ZERO) return zero(negative);
  return round(env, f, negative, a.significand * b.significand, a.exponent + b.exponent);
};

export const div = (env: Environment, f: Format, a: Float, b: Float): Float => {
  env.roundedUp = false;
  if (special(a) || special(b)) return env.propagate(a, b);
  const negative = a.negative !== b.negative;
  if (a.kind === INFINITY) {
    if (b.kind === INFINITY) return env.invalid();
    env.operands(a, b);
    return infinity(negative);
  }
  if (b.kind === ZERO) {
    if (a.kind === ZERO) return env.invalid();
    // x87 reports a denormal dividend to those who asked for it; SSE does not.
    env.raise(env.x87 && a.denormal && env.unmasked(DE) ? DE : ZE);
    return infinity(negative);
  }
  env.operands(a, b);
  if (b.kind === INFINITY || a.kind === ZERO) return zero(negative);
  const shift = Math.max(0, f.precision + 3 + bitLength(b.significand) - bitLength(a.significand));
  const n = a.significand << BigInt(shift);
  const q = n / b.significand;
  return round(env, f, negative, q, a.exponent - b.exponent - shift, q * b.significand !== n);
};

/** Largest integer whose square is at most n. */
export const integerSqrt = (n: bigint): bigint => {
  if (n < 1n << 52n) return BigInt(Math.floor(Math.sqrt(Number(n))));
  let x = 1n << BigInt((bitLength(n) + 1) >> 1);
  for (;;) {
    const y = (x + n / x) >> 1n;
    if (y >= x) return x;
    x = y;
  }
};

export const sqrt = (env: Environment, f: Format, a: Float): Float => {
  env.roundedUp = false;
  if (special(a)) return env.propagate1(a);
  if (a.kind === ZERO) return a;
  if (a.negative) return env.invalid();
  if (a.kind === INFINITY) return a;
  env.operands(a);
  let shift = Math.max(0, 2 * f.precision + 4 - bitLength(a.significand));
  if (((a.exponent - shift) & 1) !== 0) shift++;
  const n = a.significand << BigInt(shift);
  const root = integerSqrt(n);
  return round(env, f, false, root, (a.exponent - shift) / 2, root * root !== n);
};

/** Result of a comparison. */
export const LESS = -1,
  EQUAL = 0,
  GREATER = 1,
  UNORDERED = 2;

const magnitude = (a: Float, b: Float): number => {
  const top = a.exponent + bitLength(a.significand) - (b.exponent + bitLength(b.significand));
  if (top !== 0) return top;
  const base = Math.min(a.exponent, b.exponent);
  const x = a.significand << BigInt(a.exponent - base),
    y = b.significand << BigInt(b.exponent - base);
  return x < y ? -1 : x > y ? 1 : 0;
};

/** Compares; a NaN raises IE when it signals, or always unless `quiet`. */
export const compare = (env: Environment, a: Float, b: Float, quiet: boolean): number => {
  if (special(a) || special(b)) {
    if (!quiet || isSignaling(a) || isSignaling(b) || !(isNan(a) || isNan(b)) || a.kind > 3 || b.kind > 3)
      env.raise(IE);
    return UNORDERED;
  }
  env.operands(a, b);
  if (a.kind === ZERO && b.kind === ZERO) return EQUAL;
  if (a.kind === ZERO) return b.negative ? GREATER : LESS;
  if (b.kind === ZERO) return a.negative ? LESS : GREATER;
  if (a.negative !== b.negative) return a.negative ? LESS : GREATER;
  const sign = a.negative ? -1 : 1;
  if (a.kind === INFINITY || b.kind === INFINITY) return a.kind === b.kind ? EQUAL : a.kind === INFINITY ? sign : -sign;
  const m = magnitude(a, b);
  return m === 0 ? EQUAL : m < 0 ? -sign : sign;
};

/** Converts to another format (also: loads into and stores from x87 registers). */
export const convert = (env: Environment, f: Format, a: Float, store = false): Float => {
  env.roundedUp = false;
  if (special(a)) return env.propagate1(a);
  env.operands(a);
  if (a.kind !== FINITE) return a;
  return round(env, f, a.negative, a.significand, a.exponent, false, store);
};

/** Rounds to an integral value in the same format. `exact` suppresses PE. SSE (`daz` done by the caller) and FRNDINT. */
export const roundToIntegral = (env: Environment, a: Float, rounding: number, exact = false): Float => {
  env.roundedUp = false;
  if (special(a)) return env.propagate1(a);
  if (a.kind !== FINITE) return a;
  if (a.exponent >= 0) return a;
  const r = roundToInteger(a.significand, a.exponent, rounding, a.negative);
  if (r.inexact && !exact) env.raise(PE);
  env.roundedUp = r.increased;
  return finite(a.negative, r.value, 0);
};

/** To a signed integer of `bits`; undefined (and IE alone) when it is no number or does not fit. */
export const toInteger = (env: Environment, a: Float, bits: number, rounding: number): bigint | undefined => {
  env.roundedUp = false;
  if (a.kind === ZERO) return 0n;
  if (a.kind !== FINITE || a.exponent + bitLength(a.significand) > 64) {
    env.raise(IE);
    return undefined;
  }
  const r = roundToInteger(a.significand, a.exponent, rounding, a.negative);
  const value = a.negative ? -r.value : r.value;
  if (BigInt.asIntN(bits, value) !== value) {
    env.raise(IE);
    return undefined;
  }
  if (r.inexact) env.raise(PE);
  env.roundedUp = r.increased;
  return value;
};

export const fromInteger = (env: Environment, f: Format, value: bigint): Float => {
  env.roundedUp = false;
  if (value === 0n) return zero(false);
  return round(env, f, value < 0n, value < 0n ? -value : value, 0);
};

/** a x 2^n, rounded (FSCALE). */
export const scale = (env: Environment, f: Format, a: Float, n: number): Float =>
  round(env, f, a.negative, a.significand, a.exponent + n);

/** Exponent of a finite value: floor(log2 |a|). */
export const exponentOf = (a: Float): number => a.exponent + bitLength(a.significand) - 1;

export interface Remainder {
  readonly value: Float;
  /** Low bits of the quotient (C0 C3 C1), meaningful when complete. */
  readonly quotient: number;
  readonly complete: boolean;
}

/** FPREM (`nearest` false: quotient truncated) and FPREM1 (rounded to nearest even); reduces the exponent by at most 63 at a time. */
export const remainder = (env: Environment, a: Float, b: Float, nearest: boolean): Remainder => {
  // The dividend itself: a denormal one is still a tiny result.
  const same = () => round(env, EXTENDED, a.negative, a.significand, a.exponent);
  const done = (value: Float): Remainder => ({ value, quotient: 0, complete: true });
  env.roundedUp = false;
  if (special(a) || special(b)) return done(env.propagate(a, b));
  if (a.kind === INFINITY || b.kind === ZERO) return done(env.invalid());
  env.operands(a, b);
  if (a.kind === ZERO || b.kind === INFINITY) return done(a.kind === ZERO ? a : same());
  const distance = exponentOf(a) - exponentOf(b);
  if (distance >= 64) {
    // Key `sdm:FPREM`: subtract a multiple of 2^(D-N) with N between 32 and 63, leaving C2 set.
    const n = 32 + (distance % 32);
    const step = distance - n;
    const shift = b.exponent + step;
    const base = Math.min(a.exponent, shift);
    const x = a.significand << BigInt(a.exponent - base),
      y = b.significand << BigInt(shift - base);
    const rest = x % y;
    return { value: rest === 0n ? zero(a.negative) : finite(a.negative, rest, base), quotient: 0, complete: false };
  }
  if (distance < -1) return done(same());
  const base = Math.min(a.exponent, b.exponent);
  const x = a.significand << BigInt(a.exponent - base),
    y = b.significand << BigInt(b.exponent - base);
  let q = x / y,
    rest = x % y;
  let negative = a.negative;
  if (nearest && (rest * 2n > y || (rest * 2n === y && (q & 1n) === 1n))) {
    q++;
    rest = y - rest;
    negative = !negative;
  }
  const value = rest === 0n ? zero(a.negative) : round(env, EXTENDED, negative, rest, base);
  return { value, quotient: Number(q & 7n), complete: true };
};
