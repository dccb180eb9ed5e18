/** Multiplication and division (keys `sdm:MUL`, `sdm:IMUL`, `sdm:DIV`, `sdm:IDIV`). */
import { arithmetic, type FlagOperation } from '../flags.ts';
import type { Operand, Semantics, Width } from '../semantics.ts';
import * as S from '../state.ts';
import { c32, c64, I64, type Val } from '../wasm/value.ts';
import { insn, type Meaning, type Row } from './row.ts';

const DE = 0;

/** Upper 64 bits of an unsigned 64 by 64 bit product. */
export const multiplyHigh = (s: Semantics, a: Val, b: Val): Val => {
  const { f } = s;
  const low = (v: Val) => f.op('i64.and', v, c64(0xffff_ffffn));
  const high = (v: Val) => f.op('i64.shr_u', v, c64(32n));
  const a0 = low(a),
    a1 = high(a),
    b0 = low(b),
    b1 = high(b);
  const mid = f.op('i64.add', f.op('i64.mul', a1, b0), high(f.op('i64.mul', a0, b0)));
  const mid2 = f.op('i64.add', f.op('i64.mul', a0, b1), low(mid));
  return f.op('i64.add', f.op('i64.add', f.op('i64.mul', a1, b1), high(mid)), high(mid2));
};

const signedHigh = (s: Semantics, a: Val, b: Val): Val => {
  const { f } = s;
  const correction = (sign: Val, other: Val) => f.op('i64.and', f.op('i64.shr_s', sign, c64(63n)), other);
  return f.op('i64.sub', f.op('i64.sub', multiplyHigh(s, a, b), correction(a, b)), correction(b, a));
};

/** Low and high parts of a product at a width; both zero-extended. */
const product = (s: Semantics, a: Val, b: Val, width: Width, signed: boolean): { low: Val; high: Val; fits: Val } => {
  const { f } = s;
  if (width === 64) {
    const low = f.op('i64.mul', a, b);
    const high = signed ? signedHigh(s, a, b) : multiplyHigh(s, a, b);
    const fits = f.op('i64.eq', high, signed ? f.op('i64.shr_s', low, c64(63n)) : c64(0n));
    return { low, high, fits };
  }
  const x = signed ? f.op('i64.mul', s.sx(width, a), s.sx(width, b)) : f.op('i64.mul', a, b);
  const low = s.zx(width, x);
  const high = s.zx(width, f.op('i64.shr_u', x, c64(width)));
  const fits = f.op('i64.eq', x, signed ? s.sx(width, x) : low);
  return { low, high, fits };
};

/** CF and OF say that the product does not fit the lower half; SF follows the lower half, the rest is undefined. */
const productFlags = (s: Semantics, low: Val, fits: Val, width: Width): void => {
  const { f } = s;
  const lost = f.op('i32.xor', fits, c32(1));
  s.setFlags(low, f.op('i32.mul', lost, c32(S.CF | S.OF)), width);
};

const wide =
  (signed: boolean): Meaning =>
  (s, src) => {
    const { f } = s;
    const w = src.width;
    const { low, high, fits } = product(s, s.reg(S.RAX, w), src.get(), w, signed);
    if (w === 8) s.setReg(S.RAX, 16, f.op('i64.or', low, f.op('i64.shl', high, c64(8n))));
    else {
      s.setReg(S.RAX, w, low);
      s.setReg(S.RDX, w, high);
    }
    productFlags(s, low, fits, w);
  };

/** Flags of a signed product of `a` and `b` that is cut to the operation width. */
export const IMUL: FlagOperation = {
  number: 9,
  flags(s, a, b) {
    const { low, fits } = product(s, a, b, s.width, true);
    productFlags(s, low, fits, s.width);
  },
  carry: (s, a, b) => s.f.op('i32.eqz', product(s, a, b, s.width, true).fits),
};

const imul = (s: Semantics, d: Operand, a: Val, b: Val): void => {
  d.set(arithmetic(s, 'mul', a, b));
  s.flagsOf(IMUL, a, b);
};
const imul2: Meaning = (s, d, src) => imul(s, d, d.get(), src.get());
const imul3: Meaning = (s, d, src, by) => imul(s, d, src.get(), by.get());

const mulx: Meaning = (s, high, low, src) => {
  const p = product(s, src.get(), s.reg(S.RDX, s.width), s.width, false);
  low.set(p.low);
  high.set(p.high);
};

/** Quotient and remainder of a 128-bit dividend by restoring division; the quotient fits in 64 bits. */
const longDivision = (s: Semantics, high: Val, low: Val, divisor: Val): { quotient: Val; remainder: Val } => {
  const { f } = s;
  const rest = f.variable(I64),
    quotient = f.variable(I64),
    left = f.variable(I64);
  f.assign(rest, high);
  f.assign(quotient, low);
  f.assign(left, c64(64n));
  f.loop((again) => {
    const carried = f.op('i64.lt_s', rest, c64(0n));
    f.assign(rest, f.op('i64.or', f.op('i64.shl', rest, c64(1n)), f.op('i64.shr_u', quotient, c64(63n))));
    f.assign(quotient, f.op('i64.shl', quotient, c64(1n)));
    f.if(f.op('i32.or', carried, f.op('i64.ge_u', rest, divisor)), () => {
      f.assign(rest, f.op('i64.sub', rest, divisor));
      f.assign(quotient, f.op('i64.or', quotient, c64(1n)));
    });
    f.assign(left, f.op('i64.sub', left, c64(1n)));
    f.brIf(f.op('i32.eqz', f.op('i64.eqz', left)), again);
  });
  return { quotient, remainder: rest };
};

const dividend = (s: Semantics, w: Width): Val => {
  const { f } = s;
  if (w === 8) return s.reg(S.RAX, 16);
  return f.op('i64.or', f.op('i64.shl', s.reg(S.RDX, w), c64(w)), s.reg(S.RAX, w));
};

const store = (s: Semantics, w: Width, quotient: Val, remainder: Val): void => {
  if (w === 8) s.setReg(S.RAX, 16, s.f.op('i64.or', s.zx(8, quotient), s.f.op('i64.shl', s.zx(8, remainder), c64(8n))));
  else {
    s.setReg(S.RAX, w, s.zx(w, quotient));
    s.setReg(S.RDX, w, s.zx(w, remainder));
  }
};

const div: Meaning = (s, src) => {
  const { f } = s;
  const w = src.width;
  const divisor = src.get();
  s.faultIf(f.op('i64.eqz', divisor), DE);
  if (w < 64) {
    const x = dividend(s, w);
    const quotient = f.op('i64.div_u', x, divisor);
    s.faultIf(f.op('i64.ne', s.zx(w, quotient), quotient), DE);
    store(s, w, quotient, f.op('i64.rem_u', x, divisor));
    return;
  }
  const high = s.reg(S.RDX, 64),
    low = s.reg(S.RAX, 64);
  s.faultIf(f.op('i64.ge_u', high, divisor), DE);
  f.if(
    f.op('i64.eqz', high),
    () => store(s, 64, f.op('i64.div_u', low, divisor), f.op('i64.rem_u', low, divisor)),
    () => {
      const { quotient, remainder } = longDivision(s, high, low, divisor);
      store(s, 64, quotient, remainder);
    },
  );
};

const MIN64 = -(1n << 63n);

const idiv: Meaning = (s, src) => {
  const { f } = s;
  const w = src.width;
  const divisor = s.sx(w, src.get());
  s.faultIf(f.op('i64.eqz', divisor), DE);
  const simple = (x: Val) => {
    // The one quotient that does not fit in 64 bits.
    s.faultIf(f.op('i32.and', f.op('i64.eq', x, c64(MIN64)), f.op('i64.eq', divisor, c64(-1n))), DE);
    const quotient = f.op('i64.div_s', x, divisor);
    if (w < 64) s.faultIf(f.op('i64.ne', s.sx(w, quotient), quotient), DE);
    store(s, w, quotient, f.op('i64.rem_s', x, divisor));
  };
  if (w < 64) {
    const x = dividend(s, w);
    simple(w === 32 ? x : s.sx((w * 2) as Width, x));
    return;
  }
  const high = s.reg(S.RDX, 64),
    low = s.reg(S.RAX, 64);
  f.if(
    f.op('i64.eq', high, f.op('i64.shr_s', low, c64(63n))),
    () => simple(low),
    () => {
      const negative = f.op('i64.shr_s', high, c64(63n));
      const opposite = f.op('i64.shr_s', divisor, c64(63n));
      const magnitude = (v: Val, sign: Val) => f.op('i64.sub', f.op('i64.xor', v, sign), sign);
      const lowPart = magnitude(low, negative);
      // Negating 128 bits: the carry into the upper half happens only when the lower half is zero.
      const borrow = f.op('i64.extend_i32_u', f.op('i32.and', f.op('i64.eqz', low), f.op('i64.ne', negative, c64(0n))));
      const highPart = f.op('i64.add', f.op('i64.xor', high, negative), borrow);
      const d = magnitude(divisor, opposite);
      s.faultIf(f.op('i64.ge_u', highPart, d), DE);
      const { quotient, remainder } = longDivision(s, highPart, lowPart, d);
      const sign = f.op('i64.xor', negative, opposite);
      const limit = f.op('i64.add', c64((1n << 63n) - 1n), f.op('i64.and', sign, c64(1n)));
      s.faultIf(f.op('i64.gt_u', quotient, limit), DE);
      store(s, 64, magnitude(quotient, sign), magnitude(remainder, negative));
    },
  );
};

const one = (f: (s: Semantics, src: Operand) => void): Meaning => f;

export const multiplyRows: readonly Row[] = [
  insn('MUL', 'F6 /4', 'Eb', {}, wide(false)),
  insn('MUL', 'F7 /4', 'Ev', { weight: 4 }, wide(false)),
  insn('IMUL', 'F6 /5', 'Eb', {}, wide(true)),
  insn('IMUL', 'F7 /5', 'Ev', {}, wide(true)),
  insn('DIV', 'F6 /6', 'Eb', {}, one(div)),
  insn('DIV', 'F7 /6', 'Ev', { weight: 4 }, one(div)),
  insn('IDIV', 'F6 /7', 'Eb', {}, one(idiv)),
  insn('IDIV', 'F7 /7', 'Ev', {}, one(idiv)),
  insn('IMUL', '0F AF /r', 'Gv,Ev', { weight: 15 }, imul2),
  insn('IMUL', '69 /r iz', 'Gv,Ev,Iz', { weight: 8 }, imul3),
  insn('IMUL', '6B /r ib', 'Gv,Ev,Ib', { signed: true, weight: 8 }, imul3),
  insn('MULX', 'VEX.LZ.F2.0F38.Wy F6 /r', 'Gy,By,Ey', {}, mulx),
];
