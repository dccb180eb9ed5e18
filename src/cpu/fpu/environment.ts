/** What rounds and what is reported: the control part of MXCSR or of the x87 control word, and the flags raised so far. */
import { type Float, INDEFINITE, isNan, isSignaling, quieted, UNSUPPORTED } from './format.ts';

/** Exception flags, in the order of MXCSR, the x87 status word and both mask fields. */
export const IE = 1,
  DE = 2,
  ZE = 4,
  OE = 8,
  UE = 0x10,
  PE = 0x20;
export const ROUND_NEAREST = 0,
  ROUND_DOWN = 1,
  ROUND_UP = 2,
  ROUND_ZERO = 3;

export class Environment {
  /** ROUND_*. */
  rounding = ROUND_NEAREST;
  /** Exceptions raised since the caller cleared it. */
  flags = 0;
  /** Set bits are masked exceptions. */
  masks = 0x3f;
  /** MXCSR.FTZ. */
  flushToZero = false;
  /** x87 rules: the NaN with the larger significand wins, unmasked over- and underflow give a scaled result. */
  x87 = false;
  /** Significand bits of x87 results (precision control): 24, 53 or 64. */
  precision = 64;
  /** The last rounding increased the magnitude (x87 C1). */
  roundedUp = false;

  raise(flags: number): void {
    this.flags |= flags;
  }

  unmasked(flag: number): boolean {
    return (this.masks & flag) === 0;
  }

  /** Invalid operation: raises IE and gives the indefinite. */
  invalid(): Float {
    this.flags |= IE;
    return INDEFINITE;
  }

  /** One operand is a NaN (or unsupported): the result, with IE for signalling ones. */
  propagate1(a: Float): Float {
    if (a.kind === UNSUPPORTED) return this.invalid();
    if (isSignaling(a)) this.flags |= IE;
    return quieted(a);
  }

  /**
   * At least one of two operands is a NaN or unsupported. Key `sdm:1 "Rules for handling NaNs"`: SSE takes the first operand when it
   * is a NaN; x87 prefers a quiet one, then the larger significand, then the positive one.
   */
  propagate(a: Float, b: Float): Float {
    if (a.kind === UNSUPPORTED || b.kind === UNSUPPORTED) return this.invalid();
    const sa = isSignaling(a),
      sb = isSignaling(b);
    if (sa || sb) this.flags |= IE;
    if (!isNan(b)) return quieted(a);
    if (!isNan(a)) return quieted(b);
    if (!this.x87) return quieted(a);
    if (sa !== sb) return quieted(sa ? b : a);
    if (a.significand !== b.significand) return quieted(a.significand > b.significand ? a : b);
    return quieted(a.negative ? b : a);
  }

  /** Raises DE for denormal operands. */
  operands(a: Float, b?: Float): void {
    if (a.denormal || b?.denormal === true) this.flags |= DE;
  }
}
