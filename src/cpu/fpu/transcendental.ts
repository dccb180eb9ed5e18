/**
 * Elementary functions of the x87 by series over big integers. Errors stay far below the last bit of the 80-bit format, and the
 * results are the same on every host.
 *
 * Fixed point: an integer `v` with `bits` fraction bits stands for v / 2^bits.
 */
import type { Environment } from './environment.ts';
import { bitLength, EXTENDED, type Float, finite } from './format.ts';
import { round } from './round.ts';
import { exponentOf, integerSqrt } from './softfloat.ts';

/** Working precision beyond the leading bit of the argument. */
const GUARD = 160;

const fixed = (a: Float, bits: number): bigint => {
  const shift = a.exponent + bits;
  const value = shift >= 0 ? a.significand << BigInt(shift) : a.significand >> BigInt(-shift);
  return a.negative ? -value : value;
};

const result = (env: Environment, value: bigint, bits: number): Float =>
  round(env, EXTENDED, value < 0n, value < 0n ? -value : value, -bits, true);

/** Fraction bits that keep GUARD bits of an argument however small it is. */
const bitsFor = (a: Float): number => GUARD + Math.max(0, -exponentOf(a));

const cache = new Map<string, bigint>();
const constant = (name: string, bits: number, make: (bits: number) => bigint): bigint => {
  const key = `${name}${bits}`;
  let value = cache.get(key);
  if (value === undefined) {
    // Odd precisions come from denormal arguments; only the usual ones are worth keeping.
    value = make(bits + 16) >> 16n;
    if (cache.size < 64) cache.set(key, value);
  }
  return value;
};

/** atanh(1/n) and atan(1/n). */
const inverseSeries = (n: bigint, bits: number, alternate: boolean): bigint => {
  let power = (1n << BigInt(bits)) / n,
    sum = power;
  for (let k = 3n; power !== 0n; k += 2n) {
    power /= n * n;
    const term = power / k;
    sum += alternate && (k & 2n) !== 0n ? -term : term;
  }
  return sum;
};

const ln2 = (bits: number): bigint => constant('ln2', bits, (b) => 2n * inverseSeries(3n, b, false));
const pi = (bits: number): bigint =>
  constant('pi', bits, (b) => 4n * (4n * inverseSeries(5n, b, true) - inverseSeries(239n, b, true)));
const ln10 = (bits: number): bigint => constant('ln10', bits, (b) => 3n * ln2(b) + 2n * inverseSeries(9n, b, false));

/** Constants of FLDL2T and so on, truncated to `bits` fraction bits. */
export const CONSTANTS = {
  one: (bits: number) => 1n << BigInt(bits),
  log2Of10: (bits: number) => (ln10(bits + 8) << BigInt(bits)) / ln2(bits + 8),
  log2OfE: (bits: number) => (1n << BigInt(2 * bits + 8)) / ln2(bits + 8),
  pi,
  log10Of2: (bits: number) => (ln2(bits + 8) << BigInt(bits)) / ln10(bits + 8),
  ln2,
} as const;

/** e^x - 1. */
const expm1 = (x: bigint, bits: number): bigint => {
  const b = BigInt(bits);
  let term = x,
    sum = x;
  for (let k = 2n; term !== 0n && term !== -1n; k++) {
    term = ((term * x) >> b) / k;
    sum += term;
  }
  return sum;
};

/** 2^a - 1 for -1 <= a <= 1, a not zero. */
export const exp2m1 = (env: Environment, a: Float): Float => {
  // Plus and minus one are exact.
  if (exponentOf(a) === 0) return a.negative ? finite(true, 1n, -1) : finite(false, 1n, 0);
  const bits = bitsFor(a);
  return result(env, expm1((fixed(a, bits) * ln2(bits)) >> BigInt(bits), bits), bits);
};

/** ln(1 + x) for -1/2 < x < 1 through atanh(x / (2 + x)). */
const log1p = (x: bigint, bits: number): bigint => {
  const b = BigInt(bits);
  const t = (x << b) / ((2n << b) + x);
  const square = (t * t) >> b;
  let power = t,
    sum = t;
  for (let k = 3n; power !== 0n && power !== -1n; k += 2n) {
    power = (power * square) >> b;
    sum += power / k;
  }
  return 2n * sum;
};

/** y times a fixed-point value. */
const times = (env: Environment, y: Float, value: bigint, bits: number): Float => {
  const negative = value < 0n !== y.negative;
  return round(env, EXTENDED, negative, (value < 0n ? -value : value) * y.significand, y.exponent - bits, true);
};

/** y log2(x) for positive finite x other than 1 and finite nonzero y. */
export const yLog2 = (env: Environment, y: Float, x: Float): Float => {
  let e = exponentOf(x);
  const bits = GUARD + 80;
  const b = BigInt(bits);
  let m = fixed({ ...x, negative: false, exponent: x.exponent - e }, bits);
  if (m > (3n << b) / 2n) {
    m >>= 1n;
    e++;
  }
  if (m === 1n << b) {
    // A power of two: the logarithm is an integer.
    return round(env, EXTENDED, e < 0 !== y.negative, y.significand * BigInt(Math.abs(e)), y.exponent);
  }
  const log = (log1p(m - (1n << b), bits) << b) / ln2(bits) + (BigInt(e) << b);
  return times(env, y, log, bits);
};

/** y log2(1 + x) for finite nonzero x > -1 and finite nonzero y. */
export const yLog2p1 = (env: Environment, y: Float, x: Float): Float => {
  const bits = bitsFor(x) + 80;
  const b = BigInt(bits);
  const v = fixed(x, bits);
  if (v <= -(1n << (b - 1n)) || v >= 1n << b) {
    const sum = (1n << b) + v;
    return yLog2(env, y, finite(false, sum, -bits));
  }
  return times(env, y, (log1p(v, bits) << b) / ln2(bits), bits);
};

/** Half of the 66-bit value of pi that the processor reduces arguments with (key `sdm:1 "Approximation of Pi"`): times 2^-66. */
const HALF_PI_66 = 0xc90fdaa22168c234cn >> 2n;
const HALF_PI_BITS = 65;

interface Reduced {
  readonly value: bigint;
  readonly bits: number;
  readonly quadrant: number;
}

const reduce = (a: Float): Reduced => {
  const bits = Math.max(bitsFor(a), HALF_PI_BITS + 8);
  const half = HALF_PI_66 << BigInt(bits - HALF_PI_BITS);
  const x = fixed(a, bits);
  const magnitude = x < 0n ? -x : x;
  const n = (2n * magnitude + half) / (2n * half);
  const rest = magnitude - n * half;
  const quadrant = Number(n & 3n);
  // The remainder may have lost leading bits; the exact difference has none to lose, only the working precision grows.
  const extra = Math.max(0, bits - bitLength(rest < 0n ? -rest : rest));
  return {
    value: (x < 0n ? -rest : rest) << BigInt(extra),
    bits: bits + extra,
    quadrant: x < 0n ? (4 - quadrant) & 3 : quadrant,
  };
};

const sineSeries = (x: bigint, bits: number): bigint => {
  const b = BigInt(bits);
  const square = (x * x) >> b;
  // A tiny argument: the sine is just below it in magnitude, and rounding must see that.
  if (square === 0n) return x > 0n ? x - 1n : x + 1n;
  let term = x,
    sum = x;
  for (let k = 2n; term !== 0n && term !== -1n; k += 2n) {
    term = -(((term * square) >> b) / (k * (k + 1n)));
    sum += term;
  }
  return sum;
};

const cosineSeries = (x: bigint, bits: number): bigint => {
  const b = BigInt(bits);
  const square = (x * x) >> b;
  let term = 1n << b,
    sum = term;
  for (let k = 1n; term !== 0n && term !== -1n; k += 2n) {
    term = -(((term * square) >> b) / (k * (k + 1n)));
    sum += term;
  }
  return sum;
};

const sineOf = ({ value, bits, quadrant }: Reduced): bigint => {
  const v = (quadrant & 1) === 0 ? sineSeries(value, bits) : cosineSeries(value, bits);
  return quadrant >= 2 ? -v : v;
};
const cosineOf = (r: Reduced): bigint => sineOf({ ...r, quadrant: (r.quadrant + 1) & 3 });

/** Sine, cosine and tangent of a finite nonzero argument below 2^63. */
export const sine = (env: Environment, a: Float): Float => {
  const r = reduce(a);
  return result(env, sineOf(r), r.bits);
};
export const cosine = (env: Environment, a: Float): Float => {
  const r = reduce(a);
  return result(env, cosineOf(r), r.bits);
};
export const tangent = (env: Environment, a: Float): Float => {
  const r = reduce(a);
  return result(env, (sineOf(r) << BigInt(r.bits)) / cosineOf(r), r.bits);
};

/** atan of 0 <= t <= 1, by halving the angle until the series is short. */
const arctangent = (t: bigint, bits: number): bigint => {
  const b = BigInt(bits);
  const one = 1n << b;
  let x = t,
    halvings = 0n;
  while (x > one >> 4n) {
    x = (x << b) / (one + integerSqrt((one + ((x * x) >> b)) << b));
    halvings++;
  }
  const square = (x * x) >> b;
  if (square === 0n && x > 0n) return (x << halvings) - 1n;
  let power = x,
    sum = x;
  for (let k = 3n; power !== 0n; k += 2n) {
    power = (power * square) >> b;
    sum += (k & 2n) !== 0n ? -(power / k) : power / k;
  }
  return sum << halvings;
};

/** Angle of the point (x, y), both finite and nonzero. */
export const arctangent2 = (env: Environment, y: Float, x: Float): Float => {
  const distance = exponentOf(y) - exponentOf(x);
  // Beyond this distance the quotient itself, or the axis, is all that is left in 64 bits and a sticky one.
  const bits = GUARD + 40 + Math.min(Math.abs(distance), 40000);
  const b = BigInt(bits);
  const small = distance < 0;
  const [n, d] = small ? [y, x] : [x, y];
  const shift = n.exponent - d.exponent + bits;
  const ratio = (shift >= 0 ? n.significand << BigInt(shift) : n.significand >> BigInt(-shift)) / d.significand;
  // Both operands have the same leading exponent when the distance is zero, so the ratio may be up to two.
  const one = 1n << b;
  let angle = ratio <= one ? arctangent(ratio, bits) : pi(bits) / 2n - arctangent((one << b) / ratio, bits);
  if (!small) angle = pi(bits) / 2n - angle;
  if (x.negative) angle = pi(bits) - angle;
  return result(env, y.negative ? -angle : angle, bits);
};

/** n/4 of pi with a sign: the results on the axes and diagonals. */
export const quarterTurns = (env: Environment, quarters: number, negative: boolean): Float => {
  const bits = GUARD;
  const angle = (pi(bits) * BigInt(quarters)) / 4n;
  return result(env, negative ? -angle : angle, bits);
};
