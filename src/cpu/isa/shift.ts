/** Shifts and rotates, with the flags of each count (keys `sdm:SAL`, `sdm:RCL`, `sdm:SHLD`). */
import { type FlagOperation, narrowly } from '../flags.ts';
import type { Operand, Semantics } from '../semantics.ts';
import * as S from '../state.ts';
import { c32, c64, type Val } from '../wasm/value.ts';
import { insn, type Meaning, type Row } from './row.ts';

/** Result, CF (i32) and OF (i32) of a shift by a count that is not zero. */
interface Shifted {
  readonly result: Val;
  readonly cf: Val;
  readonly of: Val;
}
type Shift = (s: Semantics, v: Val, count: Val) => Shifted;

const bit = (s: Semantics, v: Val, index: Val): Val =>
  s.f.op('i32.and', s.f.op('i32.wrap_i64', s.f.op('i64.shr_u', v, index)), c32(1));
const top = (s: Semantics, v: Val): Val => bit(s, v, c64(s.width - 1));
const secondTop = (s: Semantics, v: Val): Val => bit(s, v, c64(s.width - 2));
const xor = (s: Semantics, a: Val, b: Val): Val => s.f.op('i32.xor', a, b);

const shl: Shift = (s, v, count) => {
  const { f, width } = s;
  const wide = f.op('i64.shl', v, count);
  const result = width === 32 ? narrowly(s, 'i32.shl', v, count) : s.zx(width, wide);
  const cf = width === 64 ? bit(s, v, f.op('i64.sub', c64(64n), count)) : bit(s, wide, c64(width));
  return { result, cf, of: xor(s, top(s, result), cf) };
};

const shr: Shift = (s, v, count) => {
  const { f, width } = s;
  const result = width === 32 ? narrowly(s, 'i32.shr_u', v, count) : f.op('i64.shr_u', v, count);
  return { result, cf: bit(s, v, f.op('i64.sub', count, c64(1n))), of: top(s, v) };
};

const sar: Shift = (s, v, count) => {
  const { f, width } = s;
  const signed = s.sx(width, v);
  const cf = f.op('i32.and', f.op('i32.wrap_i64', f.op('i64.shr_s', signed, f.op('i64.sub', count, c64(1n)))), c32(1));
  const result = width === 32 ? narrowly(s, 'i32.shr_s', v, count) : s.zx(width, f.op('i64.shr_s', signed, count));
  return { result, cf, of: c32(0) };
};

/** Rotation of `width` bits left by a count below the width. */
const rotate = (s: Semantics, v: Val, count: Val, left: boolean): Val => {
  const { f, width } = s;
  if (width === 64) return f.op(left ? 'i64.rotl' : 'i64.rotr', v, count);
  if (width === 32) {
    return narrowly(s, left ? 'i32.rotl' : 'i32.rotr', v, count);
  }
  const by = f.op('i64.and', count, c64(width - 1));
  const other = f.op('i64.sub', c64(width), by);
  const [a, b] = left ? [by, other] : [other, by];
  return s.zx(width, f.op('i64.or', f.op('i64.shl', v, a), f.op('i64.shr_u', v, b)));
};

const rol: Shift = (s, v, count) => {
  const result = rotate(s, v, count, true);
  const cf = bit(s, result, c64(0n));
  return { result, cf, of: xor(s, top(s, result), cf) };
};

const ror: Shift = (s, v, count) => {
  const result = rotate(s, v, count, false);
  return { result, cf: top(s, result), of: xor(s, top(s, result), secondTop(s, result)) };
};

/** Rotates through CF: width + 1 bits. The count is below width + 1 and not zero. */
const throughCarry =
  (left: boolean): Shift =>
  (s, v, count) => {
    const { f, width } = s;
    const carry = f.op('i64.extend_i32_u', s.carry());
    let result: Val, cf: Val;
    if (width === 64) {
      const other = f.op('i64.sub', c64(64n), count);
      if (left) {
        const low = f.op('i64.shl', carry, f.op('i64.sub', count, c64(1n)));
        const wrapped = f.op('i64.shr_u', f.op('i64.shr_u', v, c64(1n)), other);
        result = f.op('i64.or', f.op('i64.or', f.op('i64.shl', v, count), low), wrapped);
        cf = bit(s, v, other);
      } else {
        const high = f.op('i64.shl', carry, other);
        const wrapped = f.op('i64.shl', f.op('i64.shl', v, c64(1n)), other);
        result = f.op('i64.or', f.op('i64.or', f.op('i64.shr_u', v, count), high), wrapped);
        cf = bit(s, v, f.op('i64.sub', count, c64(1n)));
      }
    } else {
      const x = f.op('i64.or', v, f.op('i64.shl', carry, c64(width)));
      const other = f.op('i64.sub', c64(width + 1), count);
      const [a, b] = left ? [count, other] : [other, count];
      const turned = f.op('i64.or', f.op('i64.shl', x, a), f.op('i64.shr_u', x, b));
      result = s.zx(width, turned);
      cf = bit(s, turned, c64(width));
    }
    return { result, cf, of: left ? xor(s, top(s, result), cf) : xor(s, top(s, result), secondTop(s, result)) };
  };

const rotateFlags = (s: Semantics, { cf, of }: Shifted): void => {
  const { f } = s;
  const kept = f.op('i32.and', s.state32(S.FLAG_BITS), c32(~(S.CF | S.OF)));
  s.setState32(S.FLAG_BITS, f.op('i32.or', kept, f.op('i32.or', cf, f.op('i32.shl', of, c32(11)))));
};
const shiftFlags = (s: Semantics, { result, cf, of }: Shifted): void =>
  s.setFlags(result, s.f.op('i32.or', cf, s.f.op('i32.shl', of, c32(11))));

/** Flags of a shift of `a` by the count `b`, which is not zero. */
const shiftOperation = (number: number, make: Shift): FlagOperation => ({
  number,
  flags: (s, a, b) => shiftFlags(s, make(s, a, b)),
  carry: (s, a, b) => make(s, a, b).cf,
});
export const SHL = shiftOperation(6, shl),
  SHR = shiftOperation(7, shr),
  SAR = shiftOperation(8, sar);

const shift =
  (make: Shift, kind: FlagOperation | 'rotate' | 'carry'): Meaning =>
  (s, d: Operand, by?: Operand) => {
    const { f, width } = s;
    const raw = by === undefined ? c64(1n) : by.get();
    let count = f.op('i64.and', raw, c64(width === 64 ? 63 : 31));
    if (kind === 'carry' && width < 32) count = f.op('i64.rem_u', count, c64(width + 1));
    const v = d.update();
    const out = f.copy(v);
    f.if(f.op('i32.eqz', f.op('i64.eqz', count)), () => {
      const shifted = make(s, v, count);
      f.assign(out, shifted.result);
      if (kind === 'rotate' || kind === 'carry') rotateFlags(s, shifted);
      else s.flagsOf(kind, v, count);
    });
    d.set(out);
  };

const group: readonly [string, number, Shift, FlagOperation | 'rotate' | 'carry'][] = [
  ['ROL', 0, rol, 'rotate'],
  ['ROR', 1, ror, 'rotate'],
  ['RCL', 2, throughCarry(true), 'carry'],
  ['RCR', 3, throughCarry(false), 'carry'],
  ['SHL', 4, shl, SHL],
  ['SHR', 5, shr, SHR],
  ['SAL', 6, shl, SHL],
  ['SAR', 7, sar, SAR],
];

const double =
  (left: boolean): Meaning =>
  (s, d, src, by) => {
    const { f, width } = s;
    const count = f.op('i64.and', by.get(), c64(width === 64 ? 63 : 31));
    const fill = src.get();
    const v = d.update();
    const out = f.copy(v);
    f.if(f.op('i32.eqz', f.op('i64.eqz', count)), () => {
      let result: Val, cf: Val;
      if (width === 64) {
        const other = f.op('i64.sub', c64(64n), count);
        result = left
          ? f.op('i64.or', f.op('i64.shl', v, count), f.op('i64.shr_u', fill, other))
          : f.op('i64.or', f.op('i64.shr_u', v, count), f.op('i64.shl', fill, other));
        cf = bit(s, v, left ? other : f.op('i64.sub', count, c64(1n)));
      } else if (width === 32) {
        const both = left
          ? f.op('i64.or', f.op('i64.shl', v, c64(32n)), fill)
          : f.op('i64.or', f.op('i64.shl', fill, c64(32n)), v);
        result = left
          ? f.op('i64.shr_u', f.op('i64.shl', both, count), c64(32n))
          : s.zx(32, f.op('i64.shr_u', both, count));
        cf = bit(s, v, left ? f.op('i64.sub', c64(32n), count) : f.op('i64.sub', count, c64(1n)));
      } else {
        // Counts of 17 to 31 are undefined by the manual; bits of the destination follow those of the source, as processors do.
        const outer = left
          ? f.op('i64.or', f.op('i64.shl', v, c64(32n)), f.op('i64.shl', fill, c64(16n)))
          : f.op('i64.or', f.op('i64.shl', fill, c64(16n)), v);
        const all = f.op('i64.or', outer, left ? v : f.op('i64.shl', v, c64(32n)));
        result = s.zx(
          16,
          left ? f.op('i64.shr_u', f.op('i64.shl', all, count), c64(32n)) : f.op('i64.shr_u', all, count),
        );
        cf = bit(s, all, left ? f.op('i64.sub', c64(48n), count) : f.op('i64.sub', count, c64(1n)));
      }
      f.assign(out, result);
      shiftFlags(s, { result, cf, of: xor(s, top(s, result), top(s, v)) });
    });
    d.set(out);
  };

/** Shifts that leave the flags alone (BMI2). */
const plain =
  (op: 'i64.shl' | 'i64.shr_u' | 'i64.shr_s'): Meaning =>
  (s, d, src, by) => {
    const { f, width } = s;
    const count = f.op('i64.and', by.get(), c64(width - 1));
    const v = src.get();
    d.set(s.zx(width, f.op(op, op === 'i64.shr_s' ? s.sx(width, v) : v, count)));
  };

const rorx: Meaning = (s, d, src, by) =>
  d.set(rotate(s, src.get(), s.f.op('i64.and', by.get(), c64(s.width - 1)), false));

export const shiftRows: readonly Row[] = [
  ...group.flatMap(([name, digit, make, kind]) => {
    const mean = shift(make, kind);
    return [
      insn(name, `C0 /${digit} ib`, 'Eb,Ib', {}, mean),
      insn(name, `C1 /${digit} ib`, 'Ev,Ib', { weight: digit === 6 ? 1 : 15 }, mean),
      insn(name, `D0 /${digit}`, 'Eb,1', {}, mean),
      insn(name, `D1 /${digit}`, 'Ev,1', { weight: digit === 6 ? 1 : 8 }, mean),
      insn(name, `D2 /${digit}`, 'Eb,CL', {}, mean),
      insn(name, `D3 /${digit}`, 'Ev,CL', { weight: 3 }, mean),
    ];
  }),
  insn('SHLD', '0F A4 /r ib', 'Ev,Gv,Ib', {}, double(true)),
  insn('SHLD', '0F A5 /r', 'Ev,Gv,CL', {}, double(true)),
  insn('SHRD', '0F AC /r ib', 'Ev,Gv,Ib', {}, double(false)),
  insn('SHRD', '0F AD /r', 'Ev,Gv,CL', {}, double(false)),
  insn('SHLX', 'VEX.LZ.66.0F38.Wy F7 /r', 'Gy,Ey,By', { ref: 'sdm:SARX' }, plain('i64.shl')),
  insn('SARX', 'VEX.LZ.F3.0F38.Wy F7 /r', 'Gy,Ey,By', { ref: 'sdm:SARX' }, plain('i64.shr_s')),
  insn('SHRX', 'VEX.LZ.F2.0F38.Wy F7 /r', 'Gy,Ey,By', { ref: 'sdm:SARX' }, plain('i64.shr_u')),
  insn('RORX', 'VEX.LZ.F2.0F3A.Wy F0 /r ib', 'Gy,Ey,Ib', {}, rorx),
];
