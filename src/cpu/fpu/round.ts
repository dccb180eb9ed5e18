/** Rounding of exact results to a format, with the overflow, underflow and precision responses of the processor. */
import { type Environment, OE, PE, ROUND_DOWN, ROUND_NEAREST, ROUND_UP, UE } from './environment.ts';
import { bitLength, type Float, type Format, finite, infinity, zero } from './format.ts';

/** Exponent adjustment of unmasked x87 over- and underflow (key `sdm:1 "Numeric Overflow Exception (#O)"`). */
const WRAP = 24576;

let inexact = false;
let increased = false;

/** Divides by 2^`shift` and rounds to an integer; leaves what happened in `inexact` and `increased`. */
const roundShift = (significand: bigint, shift: number, rounding: number, negative: boolean): bigint => {
  inexact = false;
  increased = false;
  if (shift <= 0) return significand << BigInt(-shift);
  const s = BigInt(shift);
  const low = significand >> s;
  const rest = significand - (low << s);
  if (rest === 0n) return low;
  inexact = true;
  if (rounding === ROUND_NEAREST) {
    const half = 1n << (s - 1n);
    increased = rest > half || (rest === half && (low & 1n) === 1n);
  } else increased = rounding === (negative ? ROUND_DOWN : ROUND_UP);
  return increased ? low + 1n : low;
};

/** Rounds an exact value to an integer with a rounding mode; `inexact` tells whether anything was lost. */
export const roundToInteger = (
  significand: bigint,
  exponent: number,
  rounding: number,
  negative: boolean,
): { value: bigint; inexact: boolean; increased: boolean } => {
  // Far below one half the exact distance no longer matters.
  const gap = -exponent - bitLength(significand);
  const value =
    gap > 2 ? roundShift(1n, 2, rounding, negative) : roundShift(significand, -exponent, rounding, negative);
  return { value, inexact, increased };
};

const largest = (negative: boolean, f: Format, precision: number): Float =>
  finite(negative, (1n << BigInt(precision)) - 1n, f.emax - precision + 1);

/**
 * Rounds significand x 2^exponent, both exact but for `sticky` (something nonzero below the last bit), to a format.
 * `store` is a store to memory: x87 then has no scaled response. Tininess is detected after rounding.
 */
export const round = (
  env: Environment,
  f: Format,
  negative: boolean,
  significand: bigint,
  exponent: number,
  sticky = false,
  store = false,
): Float => {
  env.roundedUp = false;
  let sig = significand,
    exp = exponent;
  if (sticky) {
    sig = (sig << 1n) | 1n;
    exp--;
    // A single sticky bit must stay below the rounding position.
    const missing = f.precision + 3 - bitLength(sig);
    if (missing > 0) {
      sig = ((sig - 1n) << BigInt(missing)) | 1n;
      exp -= missing;
    }
  }
  if (sig === 0n) return zero(negative);
  const precision = env.x87 && f.precision === 64 ? env.precision : f.precision;
  const top = exp + bitLength(sig) - 1;
  let q = roundShift(sig, top - precision + 1 - exp, env.rounding, negative);
  let e = top - precision + 1;
  const finalTop = e + bitLength(q) - 1;
  if (finalTop > f.emax) {
    env.raise(OE);
    if (env.unmasked(OE)) {
      if (inexact && !store) env.raise(PE);
      if (!env.x87 || store) return zero(negative);
      env.roundedUp = increased;
      if (finalTop - WRAP <= f.emax) return finite(negative, q, e - WRAP);
      // Massive overflow (FSCALE): even the scaled result does not fit.
      env.raise(PE);
      env.roundedUp = true;
      return infinity(negative);
    }
    env.raise(PE);
    const away = env.rounding === ROUND_NEAREST || env.rounding === (negative ? ROUND_DOWN : ROUND_UP);
    env.roundedUp = away;
    return away ? infinity(negative) : largest(negative, f, precision);
  }
  if (finalTop < f.emin) {
    if (env.unmasked(UE)) {
      env.raise(UE);
      if (inexact && !store) env.raise(PE);
      if (!env.x87 || store) return zero(negative);
      env.roundedUp = increased;
      if (finalTop + WRAP >= f.emin) return finite(negative, q, e + WRAP);
      env.raise(PE);
      env.roundedUp = false;
      return zero(negative);
    }
    if (env.flushToZero) {
      env.raise(UE | PE);
      return zero(negative);
    }
    e = f.emin - precision + 1;
    q = roundShift(sig, e - exp, env.rounding, negative);
    if (inexact) env.raise(UE);
  } else if (top < f.emin) {
    // Rounded up to the smallest normal with an unbounded exponent: not tiny, but the delivered digits are those of the denormal grid.
    e = f.emin - precision + 1;
    q = roundShift(sig, e - exp, env.rounding, negative);
  }
  if (inexact) env.raise(PE);
  env.roundedUp = increased;
  return finite(negative, q, e);
};
