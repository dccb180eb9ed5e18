/**
 * SSE floating point as emitted code. The ordinary case (everything masked, round to nearest, no FTZ or DAZ, neither NaN, infinity,
 * denormal, overflow nor underflow) is the host's own arithmetic with an exact test for the inexact flag; the rest calls
 * fpu/simd-float.ts. Hot; measured by the `sse` workload of the benchmark guest.
 *
 * Values are "raw": i64 for the scalar shapes (zero-extended bits), v128 for the packed ones.
 */

import * as op from '../fpu/simd-operations.ts';
import { HELPER_SIMD_FLOAT, HELPER_SIMD_INTEGER } from '../helpers.ts';
import type { Semantics } from '../semantics.ts';
import * as S from '../state.ts';
import type { Op } from '../wasm/opcodes.ts';
import { c32, c64, I32, I64, V128, type Val, type ValType } from '../wasm/value.ts';

export type Shape = typeof op.SS | typeof op.SD | typeof op.PS | typeof op.PD;

const PREFIX = ['f32', 'f64', 'f32x4', 'f64x2'] as const;
const RAW: readonly ValType[] = [I64, I64, V128, V128];
const PE = 0x20;
/** MXCSR without its flags: all masked, nearest, no FTZ, no DAZ. */
const CONTROL = 0xffc0,
  ORDINARY = 0x1f80;

const packed = (shape: Shape): boolean => shape >= op.PS;
const single = (shape: Shape): boolean => shape === op.SS || shape === op.PS;

/** Limits as bit patterns of one element: smallest normal, just above it, 2^emax, infinity. */
const LIMITS = {
  single: { tiny: 0x0080_0000n, low: 0x0100_0000n, high: 0x7f00_0000n, infinity: 0x7f80_0000n },
  double: { tiny: 0x0010n << 48n, low: 0x0020n << 48n, high: 0x7fe0n << 48n, infinity: 0x7ff0n << 48n },
} as const;

export class FloatEmitter {
  private readonly s: Semantics;
  private readonly shape: Shape;
  private readonly limits: (typeof LIMITS)['single' | 'double'];

  constructor(s: Semantics, shape: Shape) {
    this.s = s;
    this.shape = shape;
    this.limits = single(shape) ? LIMITS.single : LIMITS.double;
  }

  private f(name: string, a: Val, b?: Val): Val {
    return this.s.f.op(`${PREFIX[this.shape]}.${name}` as Op, a, b);
  }

  private value(raw: Val): Val {
    const { f } = this.s;
    if (this.shape === op.SD) return f.op('f64.reinterpret_i64', raw);
    return this.shape === op.SS ? f.op('f32.reinterpret_i32', f.op('i32.wrap_i64', raw)) : raw;
  }

  private raw(value: Val): Val {
    const { f } = this.s;
    if (this.shape === op.SD) return f.op('i64.reinterpret_f64', value);
    return this.shape === op.SS ? f.op('i64.extend_i32_u', f.op('i32.reinterpret_f32', value)) : value;
  }

  private splat(bits: bigint): Val {
    const half = single(this.shape) ? bits | (bits << 32n) : bits;
    return this.s.f.v128(half, half);
  }

  private or(a: Val, b: Val): Val {
    return this.s.f.op(a.type === V128 ? 'v128.or' : 'i32.or', a, b);
  }

  private and(a: Val, b: Val): Val {
    return this.s.f.op(a.type === V128 ? 'v128.and' : 'i32.and', a, b);
  }

  /** Scalar: raw bits without the sign, one up, so that unsigned compares order magnitudes. */
  private doubled(raw: Val): Val {
    const { f } = this.s;
    const x = f.op('i64.shl', raw, c64(1));
    return single(this.shape) ? f.op('i64.and', x, c64(0xffff_ffffn)) : x;
  }

  /** Condition (i32 or lane mask): a nonzero denormal. */
  private denormal(raw: Val): Val {
    const { f } = this.s;
    const { tiny } = this.limits;
    if (!packed(this.shape)) return f.op('i64.lt_u', f.op('i64.sub', this.doubled(raw), c64(1)), c64(tiny * 2n - 1n));
    return f.op('v128.and', this.f('lt', this.f('abs', raw), this.splat(tiny)), this.f('ne', raw, this.splat(0n)));
  }

  /** NaN, infinity, or a number whose magnitude is 2^emax or above. */
  private large(raw: Val): Val {
    const { f } = this.s;
    const { high } = this.limits;
    if (!packed(this.shape)) return f.op('i64.ge_u', this.doubled(raw), c64(high * 2n));
    return f.op('v128.not', this.f('lt', this.f('abs', raw), this.splat(high)));
  }

  private nan(raw: Val): Val {
    const { f } = this.s;
    if (!packed(this.shape)) return f.op('i64.gt_u', this.doubled(raw), c64(this.limits.infinity * 2n));
    return this.f('ne', raw, raw);
  }

  private infiniteOrNan(raw: Val): Val {
    const { f } = this.s;
    const { infinity } = this.limits;
    if (!packed(this.shape)) return f.op('i64.ge_u', this.doubled(raw), c64(infinity * 2n));
    return f.op('v128.not', this.f('lt', this.f('abs', raw), this.splat(infinity)));
  }

  private isZero(raw: Val): Val {
    return packed(this.shape) ? this.f('eq', raw, this.splat(0n)) : this.s.f.op('i64.eqz', this.doubled(raw));
  }

  /** Below the normal range with a margin of one binade. */
  private small(raw: Val): Val {
    const { f } = this.s;
    const { low } = this.limits;
    if (!packed(this.shape)) return f.op('i64.lt_u', this.doubled(raw), c64(low * 2n));
    return this.f('lt', this.f('abs', raw), this.splat(low));
  }

  private any(condition: Val): Val {
    return condition.type === V128 ? this.s.f.op('v128.any_true', condition) : condition;
  }

  private mxcsr(): Val {
    return this.s.state32(S.MXCSR);
  }

  /** MXCSR is not ordinary; with `sticky` it must also have PE set already. */
  private unusual(mxcsr: Val, sticky: boolean): Val {
    const { f } = this.s;
    const mask = sticky ? CONTROL | PE : CONTROL;
    return f.op('i32.ne', f.op('i32.and', mxcsr, c32(mask)), c32(sticky ? ORDINARY | PE : ORDINARY));
  }

  /** The exact operation. `a` is left out by operations with one source. */
  slow(kind: number, a: Val | undefined, b: Val, imm: Val = c32(0), resultType: ValType = RAW[this.shape]): Val {
    const { s } = this;
    storeScratch(s, S.SCRATCH + 16, b);
    if (a !== undefined) storeScratch(s, S.SCRATCH, a);
    s.faultRecorded(s.callHelper(HELPER_SIMD_FLOAT, c32(kind | (this.shape << 8)), imm));
    const result = loadResult(s, resultType);
    // The upper half of a scalar single's result is left over from before.
    return this.shape === op.SS && kind < op.TO_I32 ? s.f.op('i64.and', result, c64(0xffff_ffffn)) : result;
  }

  private setInexact(mxcsr: Val, inexact: () => Val): void {
    const { f } = this.s;
    f.ifRarely(f.op('i32.eqz', f.op('i32.and', mxcsr, c32(PE))), () => {
      f.if(inexact(), () => this.s.setState32(S.MXCSR, f.op('i32.or', mxcsr, c32(PE))));
    });
  }

  /** Rounding error of a sum (Knuth's two-sum) is nonzero. */
  private sumInexact(a: Val, b: Val, r: Val): Val {
    const part = this.f('sub', r, a);
    const error = this.f('add', this.f('sub', a, this.f('sub', r, part)), this.f('sub', b, part));
    const zero = packed(this.shape) ? this.splat(0n) : this.value(c64(0));
    return this.any(this.f('ne', error, zero));
  }

  /**
   * A double product with significands of 2^52 to 2^53 is exact if and only if at most 53 bits lie between its first and last
   * one bit; the last one's place is the sum of the factors' trailing zeros. `x` times `y` is near `product`, all normal.
   */
  private productInexact(x: Val, y: Val, product: Val): Val {
    const { f } = this.s;
    const zeros = (v: Val) => f.op('i64.ctz', f.op('i64.or', v, c64(1n << 52n)));
    const exponent = (v: Val) => f.op('i64.and', f.op('i64.shr_u', v, c64(52)), c64(0x7ff));
    const carry = f.op(
      'i64.add',
      f.op('i64.sub', f.op('i64.sub', exponent(product), exponent(x)), exponent(y)),
      c64(1023 + 52),
    );
    return f.op('i64.lt_s', f.op('i64.add', zeros(x), zeros(y)), carry);
  }

  private lanes(raw: Val): readonly Val[] {
    return packed(this.shape) ? [0, 1].map((i) => this.s.f.lane('i64x2.extract_lane', i, raw)) : [raw];
  }

  /** Scalar single: checks in double precision, where products of singles are exact. */
  private promote(raw: Val): Val {
    return this.s.f.op('f64.promote_f32', this.value(raw));
  }

  private inexact(kind: number, a: Val, b: Val, r: Val): Val {
    const { f } = this.s;
    const nonzero = (v: Val) => f.op('i64.ne', f.op('i64.shl', v, c64(1)), c64(0));
    switch (kind) {
      case op.ADD:
        return this.sumInexact(this.value(a), this.value(b), this.value(r));
      case op.SUB:
        return this.sumInexact(this.value(a), this.f('neg', this.value(b)), this.value(r));
      case op.MUL: {
        if (this.shape === op.SS)
          return f.op('f64.ne', this.promote(r), f.op('f64.mul', this.promote(a), this.promote(b)));
        const [x, y, z] = [this.lanes(a), this.lanes(b), this.lanes(r)];
        return x
          .map((v, i) => f.op('i32.and', nonzero(z[i]), this.productInexact(v, y[i], z[i])))
          .reduce((p, q) => f.op('i32.or', p, q));
      }
      default: {
        // A quotient (or root) is exact when multiplying back gives the dividend exactly.
        const root = kind === op.SQRT;
        if (this.shape === op.SS) {
          const back = f.op('f64.mul', this.promote(r), this.promote(root ? r : b));
          return f.op('f64.ne', back, this.promote(root ? b : a));
        }
        const [x, y, z] = [this.lanes(root ? b : a), this.lanes(root ? r : b), this.lanes(r)];
        const d = (v: Val) => f.op('f64.reinterpret_i64', v);
        return z
          .map((v, i) => {
            const differs = f.op('f64.ne', f.op('f64.mul', d(v), d(y[i])), d(x[i]));
            return f.op('i32.or', differs, f.op('i32.and', nonzero(v), this.productInexact(v, y[i], x[i])));
          })
          .reduce((p, q) => f.op('i32.or', p, q));
      }
    }
  }

  /** ADD SUB MUL DIV SQRT (of `b`). */
  arithmetic(kind: number, a: Val, b: Val): Val {
    const { f } = this.s;
    const m = this.mxcsr();
    const x = this.value(a),
      y = this.value(b);
    const root = kind === op.SQRT;
    const result = this.raw(root ? this.f('sqrt', y) : this.f(['add', 'sub', 'mul', 'div'][kind], x, y));
    let bad = this.denormal(b);
    if (root) {
      const negative = packed(this.shape) ? this.f('lt', b, this.splat(0n)) : this.f('lt', y, this.value(c64(0)));
      bad = this.or(this.or(bad, negative), this.infiniteOrNan(b));
    } else {
      bad = this.or(this.or(bad, this.denormal(a)), this.large(result));
      if (kind === op.MUL || kind === op.DIV) {
        const zero = kind === op.MUL ? this.or(this.isZero(a), this.isZero(b)) : this.isZero(a);
        const small = this.small(result);
        const not = zero.type === V128 ? f.op('v128.not', zero) : f.op('i32.eqz', zero);
        bad = this.or(bad, this.and(small, not));
      }
    }
    // Four inexactness tests of products cost more code than they are worth: packed singles wait for the sticky flag.
    const sticky = this.shape === op.PS && kind > op.SUB;
    const leave = f.op('i32.or', this.any(bad), this.unusual(m, sticky));
    return f.eitherRarely(
      leave,
      () => this.slow(kind, a, b),
      () => {
        if (!sticky) this.setInexact(m, () => this.inexact(kind, a, b, result));
        return result;
      },
      RAW[this.shape],
    );
  }

  /** MIN MAX. */
  extremum(kind: number, a: Val, b: Val): Val {
    const { f } = this.s;
    const bad = this.or(this.or(this.nan(a), this.nan(b)), this.or(this.denormal(a), this.denormal(b)));
    const leave = f.op('i32.or', this.any(bad), this.unusual(this.mxcsr(), false));
    return f.eitherRarely(
      leave,
      () => this.slow(kind, a, b),
      () => {
        const x = this.value(a),
          y = this.value(b);
        const less = kind === op.MIN ? this.f('lt', x, y) : this.f('lt', y, x);
        return packed(this.shape) ? f.op('v128.bitselect', a, b, less) : f.select(less, a, b);
      },
      RAW[this.shape],
    );
  }

  /** CMPccPD and so on: masks; `imm` an i64 whose low three bits are the predicate. */
  compare(a: Val, b: Val, imm: Val): Val {
    const { f } = this.s;
    const code = f.op('i32.and', f.op('i32.wrap_i64', imm), c32(7));
    const bad = this.or(this.or(this.nan(a), this.nan(b)), this.or(this.denormal(a), this.denormal(b)));
    const leave = f.op('i32.or', this.any(bad), this.unusual(this.mxcsr(), false));
    return f.eitherRarely(
      leave,
      () => this.slow(op.CMP, a, b, code),
      () => {
        const x = this.value(a),
          y = this.value(b);
        // Bit 0 and 1 of the predicate's low part ask for "less", "equal": EQ 0, LT 1, LE 2, UNORD 3 (false here).
        const base = f.op('i32.and', code, c32(3));
        const invert = f.op('i32.shr_u', code, c32(2));
        const wantsEqual = f.op('i32.eqz', f.op('i32.and', base, c32(1)));
        const wantsLess = f.op('i32.or', f.op('i32.eq', base, c32(1)), f.op('i32.eq', base, c32(2)));
        const equal = this.f('eq', x, y),
          less = this.f('lt', x, y);
        if (packed(this.shape)) {
          const all = (bit: Val) => f.op('i32x4.splat', f.op('i32.sub', c32(0), bit));
          const holds = f.op(
            'v128.or',
            f.op('v128.and', equal, all(wantsEqual)),
            f.op('v128.and', less, all(wantsLess)),
          );
          return f.op('v128.xor', holds, all(invert));
        }
        const holds = f.op('i32.or', f.op('i32.and', equal, wantsEqual), f.op('i32.and', less, wantsLess));
        const mask = f.op('i64.sub', c64(0), f.op('i64.extend_i32_u', f.op('i32.xor', holds, invert)));
        return this.shape === op.SS ? f.op('i64.and', mask, c64(0xffff_ffffn)) : mask;
      },
      RAW[this.shape],
    );
  }

  /** (U)COMISS, (U)COMISD: sets the flags. */
  order(kind: number, a: Val, b: Val): void {
    const { f } = this.s;
    const bad = this.or(this.or(this.nan(a), this.nan(b)), this.or(this.denormal(a), this.denormal(b)));
    const flags = f.eitherRarely(
      bad,
      () => f.op('i32.wrap_i64', this.slow(kind, a, b, c32(0), I64)),
      () => {
        const x = this.value(a),
          y = this.value(b);
        return f.select(this.f('lt', x, y), c32(S.CF), f.select(this.f('eq', x, y), c32(S.ZF), c32(0)));
      },
      I32,
    );
    this.s.writeArithmeticFlags(f.op('i32.and', flags, c32(S.ZF | S.PF | S.CF)));
  }

  /** CVT(T)SS2SI, CVT(T)SD2SI of the scalar `b` to `bits`; result zero-extended i64. */
  toInteger(b: Val, bits: 32 | 64, truncate: boolean): Val {
    const { f } = this.s;
    const m = this.mxcsr();
    const x = single(this.shape) ? this.promote(b) : this.value(b);
    const whole = f.op(truncate ? 'f64.trunc' : 'f64.nearest', x);
    const limit = f.op('f64.reinterpret_i64', c64(bits === 32 ? 0x41dfffffff800000n : 0x43e0000000000000n));
    const fits = f.op('f64.lt', f.op('f64.abs', x), limit);
    const leave = f.op('i32.or', f.op('i32.or', f.op('i32.eqz', fits), this.denormal(b)), this.unusual(m, false));
    const kind =
      bits === 32 ? (truncate ? op.TO_I32_TRUNCATED : op.TO_I32) : truncate ? op.TO_I64_TRUNCATED : op.TO_I64;
    return f.eitherRarely(
      leave,
      () => {
        const wide = this.slow(kind, undefined, b, c32(0), I64);
        return this.s.zx(bits, wide);
      },
      () => {
        this.setInexact(m, () => f.op('f64.ne', whole, x));
        return this.s.zx(bits, f.op('i64.trunc_sat_f64_s', whole));
      },
      I64,
    );
  }

  /** CVTSI2SS, CVTSI2SD from an i64 that is already sign-extended. */
  fromInteger(n: Val, bits: 32 | 64): Val {
    const { f } = this.s;
    const convert = () => this.raw(this.f('convert_i64_s', n));
    if (bits === 32 && this.shape === op.SD) return convert();
    const exact = single(this.shape) ? 1n << 24n : 1n << 53n;
    const fits = f.op('i64.le_u', f.op('i64.add', n, c64(exact)), c64(exact * 2n));
    return f.either(fits, convert, () => this.slow(bits === 32 ? op.FROM_I32 : op.FROM_I64, undefined, n), I64);
  }

  /** CVTSS2SD (this emitter has the source's shape). */
  widen(b: Val): Val {
    const { f } = this.s;
    return f.either(
      f.op('i32.or', this.nan(b), this.denormal(b)),
      () => this.slow(op.WIDEN, undefined, b, c32(0), I64),
      () => f.op('i64.reinterpret_f64', this.promote(b)),
      I64,
    );
  }

  /** CVTSD2SS. */
  narrow(b: Val): Val {
    const { f } = this.s;
    const m = this.mxcsr();
    const x = this.value(b);
    const size = f.op('f64.abs', x);
    const d = (bits: bigint) => f.op('f64.reinterpret_i64', c64(bits));
    // From 2^-125 up to 2^127, or zero.
    const ordinary = f.op(
      'i32.and',
      f.op('f64.ge', size, d(0x3820000000000000n)),
      f.op('f64.lt', size, d(0x47e0000000000000n)),
    );
    const usual = f.op('i32.or', ordinary, this.isZero(b));
    return f.either(
      f.op('i32.or', f.op('i32.eqz', usual), this.unusual(m, false)),
      () => f.op('i64.and', this.slow(op.NARROW, undefined, b, c32(0), I64), c64(0xffff_ffffn)),
      () => {
        const y = f.op('f32.demote_f64', x);
        this.setInexact(m, () => f.op('f64.ne', f.op('f64.promote_f32', y), x));
        return f.op('i64.extend_i32_u', f.op('i32.reinterpret_f32', y));
      },
      I64,
    );
  }
}

/** Stages a raw value for a helper. */
export const storeScratch = (s: Semantics, at: number, v: Val): void => {
  if (v.type !== V128) s.setState64(at, v);
  else for (const i of [0, 1]) s.setState64(at + 8 * i, s.f.lane('i64x2.extract_lane', i, v));
};

/** The helper's result from SCRATCH+32. */
export const loadResult = (s: Semantics, type: ValType): Val => {
  const low = s.state64(S.SCRATCH + 32);
  if (type !== V128) return low;
  return s.f.lane('i64x2.replace_lane', 1, s.f.op('i64x2.splat', low), s.state64(S.SCRATCH + 40));
};

/** An operation of fpu/simd-integer.ts. */
export const integerHelper = (s: Semantics, operation: number, a: Val, b: Val, imm: Val, type: ValType): Val => {
  storeScratch(s, S.SCRATCH, a);
  storeScratch(s, S.SCRATCH + 16, b);
  s.faultRecorded(s.callHelper(HELPER_SIMD_INTEGER, c32(operation), imm));
  return loadResult(s, type);
};
