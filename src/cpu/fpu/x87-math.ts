/** Special cases of the x87's transcendental and scaling instructions around the series of transcendental.ts. */
import { DE, type Environment, PE, ZE } from './environment.ts';
import { EXTENDED, FINITE, type Float, finite, INFINITY, infinity, make, NAN, ONE, ZERO, zero } from './format.ts';
import { roundToInteger } from './round.ts';
import { compare, EQUAL, exponentOf, fromInteger, GREATER, LESS, scale } from './softfloat.ts';
import * as series from './transcendental.ts';

const special = (a: Float): boolean => a.kind > INFINITY;

/** Runs a computation at full precision: precision control does not apply to these instructions. */
const full = (env: Environment, compute: () => Float): Float => {
  const { precision } = env;
  env.precision = 64;
  const value = compute();
  env.precision = precision;
  return value;
};

/** F2XM1. */
export const exp2m1 = (env: Environment, a: Float): Float => {
  if (special(a)) return env.propagate1(a);
  if (a.kind === INFINITY) return a.negative ? make(FINITE, true, 0, 1n) : a;
  env.operands(a);
  if (a.kind === ZERO) return a;
  // Outside -1..1 the result is undefined by the manual; the operand stays.
  if (exponentOf(a) > 0 || (exponentOf(a) === 0 && compareMagnitudeToOne(a) !== EQUAL)) {
    env.raise(PE);
    return make(FINITE, a.negative, a.exponent, a.significand);
  }
  return full(env, () => series.exp2m1(env, a));
};

const quietCompare = (env: Environment, a: Float, b: Float): number => {
  const { flags } = env;
  const order = compare(env, a, b, true);
  env.flags = flags;
  return order;
};

const compareMagnitudeToOne = (a: Float): number => {
  const e = exponentOf(a);
  if (e !== 0) return e < 0 ? LESS : GREATER;
  return a.significand === 1n << BigInt(-a.exponent) ? EQUAL : GREATER;
};

/** y times a logarithm whose own sign (-1, 0, 1) is known, when y is zero or infinite or the logarithm is. */
const degenerate = (env: Environment, y: Float, sign: number, infinite: boolean): Float | undefined => {
  if (y.kind === INFINITY) return sign === 0 ? env.invalid() : infinity(y.negative !== sign < 0);
  if (infinite) return y.kind === ZERO ? env.invalid() : infinity(y.negative !== sign < 0);
  if (y.kind === ZERO || sign === 0) return zero(y.negative !== sign < 0);
  return undefined;
};

/** FYL2X: y log2 x. */
export const yLog2 = (env: Environment, y: Float, x: Float): Float => {
  if (special(x) || special(y)) return env.propagate(x, y);
  if (x.kind !== ZERO && x.negative) return env.invalid();
  if (x.kind === ZERO) {
    if (y.kind === ZERO) return env.invalid();
    if (y.kind === INFINITY) return infinity(!y.negative);
    env.raise(ZE);
    return infinity(!y.negative);
  }
  const infinite = x.kind === INFINITY;
  const order = infinite ? GREATER : quietCompare(env, x, ONE);
  const sign = order === EQUAL ? 0 : order === LESS ? -1 : 1;
  const result = degenerate(env, y, sign, infinite);
  if (result?.kind !== NAN) env.operands(x, y);
  return result ?? full(env, () => series.yLog2(env, y, x));
};

/** FYL2XP1: y log2 (x + 1). */
export const yLog2p1 = (env: Environment, y: Float, x: Float): Float => {
  if (special(x) || special(y)) return env.propagate(x, y);
  if (
    x.kind !== ZERO &&
    x.negative &&
    (x.kind === INFINITY || quietCompare(env, x, make(FINITE, true, 0, 1n)) !== GREATER)
  ) {
    return env.invalid();
  }
  if (x.kind === ZERO) {
    if (y.kind === INFINITY) return env.invalid();
    env.operands(y);
    return zero(x.negative !== y.negative);
  }
  const sign = x.negative ? -1 : 1;
  const result = degenerate(env, y, sign, x.kind === INFINITY);
  if (result?.kind !== NAN) env.operands(x, y);
  return result ?? full(env, () => series.yLog2p1(env, y, x));
};

/** FPATAN: angle of (x, y). */
export const arctangent2 = (env: Environment, y: Float, x: Float): Float => {
  if (special(x) || special(y)) return env.propagate(x, y);
  env.operands(x, y);
  const turns = (n: number) => full(env, () => series.quarterTurns(env, n, y.negative));
  if (y.kind === INFINITY) return turns(x.kind === INFINITY ? (x.negative ? 3 : 1) : 2);
  if (x.kind === INFINITY || y.kind === ZERO) return x.negative ? turns(4) : zero(y.negative);
  if (x.kind === ZERO) return turns(2);
  return full(env, () => series.arctangent2(env, y, x));
};

export type Trigonometric = (env: Environment, a: Float) => Float;

/** FSIN and so on: undefined when the argument is out of range (C2), `atZero` gives the value at zero. */
export const trigonometric = (
  env: Environment,
  a: Float,
  compute: Trigonometric,
  atZero: (a: Float) => Float,
): Float | undefined => {
  if (special(a)) return env.propagate1(a);
  if (a.kind === INFINITY) return env.invalid();
  if (a.kind === ZERO) return atZero(a);
  if (exponentOf(a) >= 63) return undefined;
  if (a.denormal) env.raise(DE);
  return full(env, () => compute(env, a));
};

/** FSCALE: a x 2^trunc(b). */
export const scaleBy = (env: Environment, a: Float, b: Float): Float => {
  if (special(a) || special(b)) return env.propagate(a, b);
  if (b.kind === INFINITY) {
    if (a.kind === (b.negative ? INFINITY : ZERO)) return env.invalid();
    env.operands(a, b);
    return b.negative ? zero(a.negative) : infinity(a.negative);
  }
  env.operands(a, b);
  if (a.kind !== FINITE) return a;
  if (b.kind === ZERO) return full(env, () => scale(env, EXTENDED, a, 0));
  const limit = 0x1_0000;
  const magnitude = exponentOf(b) > 16 ? limit : Number(roundToInteger(b.significand, b.exponent, 3, false).value);
  return full(env, () => scale(env, EXTENDED, a, b.negative ? -magnitude : magnitude));
};

/** FXTRACT: exponent and significand. */
export const extract = (env: Environment, a: Float): [exponent: Float, significand: Float] => {
  if (special(a)) {
    const nan = env.propagate1(a);
    return [nan, nan];
  }
  if (a.kind === INFINITY) return [infinity(false), a];
  if (a.kind === ZERO) {
    env.raise(ZE);
    return [infinity(true), a];
  }
  env.operands(a);
  const e = exponentOf(a);
  return [full(env, () => fromInteger(env, EXTENDED, BigInt(e))), finite(a.negative, a.significand, a.exponent - e)];
};
