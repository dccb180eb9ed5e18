/** Floating-point values taken apart: the three formats and the one form that all arithmetic works on. */

export interface Format {
  /** Bits of significand, integer bit included. */
  readonly precision: number;
  /** Exponent of the smallest normal and the largest finite value. */
  readonly emin: number;
  readonly emax: number;
}

export const BINARY32: Format = { precision: 24, emin: -126, emax: 127 };
export const BINARY64: Format = { precision: 53, emin: -1022, emax: 1023 };
export const EXTENDED: Format = { precision: 64, emin: -16382, emax: 16383 };

export const ZERO = 0,
  FINITE = 1,
  INFINITY = 2,
  NAN = 3;
/** Encodings of the 80-bit format that the processor refuses (key `sdm:1 "Unsupported Double Extended-Precision"`). */
export const UNSUPPORTED = 4;

/**
 * One value. FINITE: `significand` times 2^`exponent`, significand positive and not normalised. NAN: `significand` is the 64-bit
 * significand of the 80-bit format (integer bit set, bit 62 clear when signalling), so widening keeps payloads.
 */
export interface Float {
  readonly kind: number;
  readonly negative: boolean;
  readonly exponent: number;
  readonly significand: bigint;
  /** The encoding was a denormal (or pseudo-denormal) one. */
  readonly denormal: boolean;
}

export const QUIET = 1n << 62n;
const INTEGER = 1n << 63n;

export const make = (kind: number, negative: boolean, exponent = 0, significand = 0n, denormal = false): Float => ({
  kind,
  negative,
  exponent,
  significand,
  denormal,
});
export const zero = (negative: boolean): Float => make(ZERO, negative);
export const infinity = (negative: boolean): Float => make(INFINITY, negative);
export const finite = (negative: boolean, significand: bigint, exponent: number): Float =>
  significand === 0n ? zero(negative) : make(FINITE, negative, exponent, significand);

/** QNaN floating-point indefinite. */
export const INDEFINITE: Float = make(NAN, true, 0, INTEGER | QUIET);
export const ONE: Float = make(FINITE, false, 0, 1n);

export const isNan = (a: Float): boolean => a.kind === NAN;
export const isSignaling = (a: Float): boolean => a.kind === NAN && (a.significand & QUIET) === 0n;
export const negate = (a: Float): Float => ({ ...a, negative: !a.negative });
export const quieted = (a: Float): Float => make(NAN, a.negative, 0, a.significand | QUIET);

const scratch = new DataView(new ArrayBuffer(8));
const wide = new BigUint64Array(1);
const numbers = new Float64Array(wide.buffer);

/** Number of significant bits. */
export const bitLength = (n: bigint): number => {
  if (n < 1n << 64n) {
    scratch.setBigUint64(0, n);
    const high = scratch.getUint32(0);
    return high !== 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(scratch.getUint32(4));
  }
  let length = 0,
    rest = n;
  // Halving steps would be quadratic for very long numbers; hexadecimal digits are linear.
  if (n >= 1n << 1024n) return (n.toString(16).length - 1) * 4 + bitLength(BigInt(`0x${n.toString(16)[0]}`));
  while (rest >= 1n << 64n) {
    rest >>= 64n;
    length += 64;
  }
  return length + bitLength(rest);
};

const unpackIeee = (bits: bigint, fraction: number, exponents: number, emin: number): Float => {
  const f = bits & ((1n << BigInt(fraction)) - 1n);
  const e = Number(bits >> BigInt(fraction)) & exponents;
  const negative = (Number(bits >> BigInt(fraction)) & (exponents + 1)) !== 0;
  if (e === exponents)
    return f === 0n ? infinity(negative) : make(NAN, negative, 0, INTEGER | (f << BigInt(63 - fraction)));
  if (e === 0) return f === 0n ? zero(negative) : make(FINITE, negative, emin - fraction, f, true);
  return make(FINITE, negative, e - 1 + emin - fraction, f | (1n << BigInt(fraction)));
};

export const unpack32 = (bits: number): Float => unpackIeee(BigInt(bits >>> 0), 23, 0xff, -126);
export const unpack64 = (bits: bigint): Float => unpackIeee(bits, 52, 0x7ff, -1022);

/** `signExponent` is the 16-bit upper part of the 80-bit format. */
export const unpack80 = (significand: bigint, signExponent: number): Float => {
  const negative = (signExponent & 0x8000) !== 0;
  const e = signExponent & 0x7fff;
  const integer = significand >= INTEGER;
  if (e === 0) return significand === 0n ? zero(negative) : make(FINITE, negative, -16445, significand, true);
  if (!integer) return make(UNSUPPORTED, negative, e, significand);
  if (e === 0x7fff) return significand === INTEGER ? infinity(negative) : make(NAN, negative, 0, significand);
  return make(FINITE, negative, e - 16383 - 63, significand);
};

/** Sign-and-exponent halfword and significand of a value already rounded to `f` (or, for 80 bits, to anything smaller). */
const parts = (a: Float, f: Format): [field: number, significand: bigint] => {
  const top = f.emax * 2 + 1;
  switch (a.kind) {
    case ZERO:
      return [0, 0n];
    case INFINITY:
      return [top, 1n << BigInt(f.precision - 1)];
    case FINITE: {
      const n = bitLength(a.significand);
      const e = Math.max(a.exponent + n - 1, f.emin);
      const shift = a.exponent - (e - f.precision + 1);
      const significand = shift >= 0 ? a.significand << BigInt(shift) : a.significand >> BigInt(-shift);
      return [significand >> BigInt(f.precision - 1) === 0n ? 0 : e - f.emin + 1, significand];
    }
    default:
      return [top, a.significand >> BigInt(64 - f.precision)];
  }
};

const packIeee = (a: Float, f: Format): bigint => {
  const [field, significand] = parts(a, f);
  const fraction = significand & ((1n << BigInt(f.precision - 1)) - 1n);
  const sign = a.negative ? BigInt(f.emax * 2 + 2) : 0n;
  return ((sign | BigInt(field)) << BigInt(f.precision - 1)) | fraction;
};

export const pack32 = (a: Float): number => Number(packIeee(a, BINARY32));
export const pack64 = (a: Float): bigint => packIeee(a, BINARY64);
export const pack80 = (a: Float): [significand: bigint, signExponent: number] => {
  if (a.kind === UNSUPPORTED) return [a.significand, a.exponent | (a.negative ? 0x8000 : 0)];
  const [field, significand] = parts(a, EXTENDED);
  return [significand, field | (a.negative ? 0x8000 : 0)];
};

/** Value of a host double, for tables and tests. */
export const fromNumber = (n: number): Float => {
  numbers[0] = n;
  return unpack64(wide[0]);
};
