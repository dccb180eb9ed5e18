/** Bit tests, bit scans, counts, and the BMI1/BMI2 bit operations. */
import type { Operand, Semantics } from '../semantics.ts';
import { c32, c64, I64, type Val } from '../wasm/value.ts';
import { setZero } from './alu.ts';
import { insn, type Meaning, type Row, type RowOptions } from './row.ts';

type BitOperation = 'test' | 'set' | 'reset' | 'complement';

/** BT BTS BTR BTC. A register index with a memory operand reaches beyond the operand: it is a signed bit offset. */
const bitOperation =
  (kind: BitOperation): Meaning =>
  (s, d, index) => {
    const { f, width } = s;
    const raw = index.get();
    if (d.isMemory && index.width === d.width && s.width !== 8) {
      const elements = f.op('i64.shr_s', s.sx(width, raw), c64(width === 16 ? 4n : width === 32 ? 5n : 6n));
      d.displace(f.op('i64.mul', elements, c64(width / 8)));
    }
    changeBit(s, kind, d, raw);
  };

/** The immediate forms: the index is taken modulo the operand size. */
const bitImmediate =
  (kind: BitOperation): Meaning =>
  (s, d, index) =>
    changeBit(s, kind, d, index.get());

const changeBit = (s: Semantics, kind: BitOperation, d: Operand, raw: Val): void => {
  const { f, width } = s;
  const at = f.op('i64.and', raw, c64(width - 1));
  const v = kind === 'test' ? d.get() : d.update();
  const mask = f.op('i64.shl', c64(1n), at);
  const old = f.op('i32.wrap_i64', f.op('i64.and', f.op('i64.shr_u', v, at), c64(1n)));
  if (kind === 'set') d.set(f.op('i64.or', v, mask));
  else if (kind === 'reset') d.set(f.op('i64.and', v, f.op('i64.xor', mask, c64(-1n))));
  else if (kind === 'complement') d.set(f.op('i64.xor', v, mask));
  s.setCarry(old);
};

/** BSF / BSR: the destination keeps its value when the source is zero, as processors do. */
const scan =
  (reverse: boolean): Meaning =>
  (s, d, src) => {
    const { f } = s;
    const v = src.get();
    const none = f.op('i64.eqz', v);
    f.if(
      none,
      () => {},
      () => d.set(reverse ? f.op('i64.sub', c64(63n), f.op('i64.clz', v)) : f.op('i64.ctz', v)),
    );
    setZero(s, none);
  };

const countZeros =
  (leading: boolean): Meaning =>
  (s, d, src) => {
    const { f, width } = s;
    const v = src.get();
    const none = f.op('i64.eqz', v);
    const count = leading
      ? f.op('i64.sub', f.op('i64.clz', v), c64(64 - width))
      : f.select(none, c64(width), f.op('i64.ctz', v));
    d.set(count);
    const zero = f.op('i32.shl', f.op('i64.eqz', count), c32(6));
    s.writeArithmeticFlags(f.op('i32.or', none, zero));
  };

const popcnt: Meaning = (s, d, src) => {
  const { f } = s;
  const v = src.get();
  d.set(f.op('i64.popcnt', v));
  s.writeArithmeticFlags(f.op('i32.shl', f.op('i64.eqz', v), c32(6)));
};

/** SF and ZF from a result, CF given, OF AF PF clear (AF and PF are undefined). */
const bmiFlags = (s: Semantics, result: Val, carry: Val): void => s.setFlags(result, carry);

const not = (s: Semantics, v: Val): Val => s.f.op('i64.xor', v, c64(-1n));

const andn: Meaning = (s, d, a, b) => {
  const r = s.f.op('i64.and', s.zx(s.width, not(s, a.get())), b.get());
  d.set(r);
  bmiFlags(s, r, c32(0));
};

/** BLSI BLSMSK BLSR: combinations of a value with its negation or predecessor. */
const lowest =
  (kind: 'isolate' | 'mask' | 'reset'): Meaning =>
  (s, d, src) => {
    const { f } = s;
    const v = src.get();
    const zero = f.op('i64.eqz', v);
    let r: Val;
    if (kind === 'isolate') r = f.op('i64.and', v, f.op('i64.sub', c64(0n), v));
    else r = s.zx(s.width, f.op(kind === 'mask' ? 'i64.xor' : 'i64.and', v, f.op('i64.sub', v, c64(1n))));
    d.set(r);
    bmiFlags(s, r, kind === 'isolate' ? f.op('i32.xor', zero, c32(1)) : zero);
  };

/** The low `count` bits of a value, for counts up to 255. */
const lowBits = (s: Semantics, v: Val, count: Val): Val => {
  const { f } = s;
  const mask = f.op('i64.sub', f.op('i64.shl', c64(1n), count), c64(1n));
  return f.select(f.op('i64.ge_u', count, c64(64n)), v, f.op('i64.and', v, mask));
};

const bextr: Meaning = (s, d, src, control) => {
  const { f } = s;
  const c = control.get();
  const start = f.op('i64.and', c, c64(0xffn));
  const count = f.op('i64.and', f.op('i64.shr_u', c, c64(8n)), c64(0xffn));
  const moved = f.select(f.op('i64.ge_u', start, c64(64n)), c64(0n), f.op('i64.shr_u', src.get(), start));
  const r = lowBits(s, moved, count);
  d.set(r);
  // Only ZF is defined besides CF = OF = 0.
  s.writeArithmeticFlags(f.op('i32.shl', f.op('i64.eqz', r), c32(6)));
};

const bzhi: Meaning = (s, d, src, control) => {
  const { f, width } = s;
  const count = f.op('i64.and', control.get(), c64(0xffn));
  const r = lowBits(s, src.get(), count);
  d.set(r);
  bmiFlags(s, r, f.op('i64.gt_u', count, c64(width - 1)));
};

/** PDEP / PEXT: one step per set bit of the mask. */
const gatherBits =
  (deposit: boolean): Meaning =>
  (s, d, src, maskOperand) => {
    const { f } = s;
    const mask = f.variable(I64),
      from = f.variable(I64),
      out = f.variable(I64),
      position = f.variable(I64);
    const v = src.get();
    f.assign(mask, maskOperand.get());
    f.assign(from, v);
    f.assign(out, c64(0n));
    f.assign(position, c64(0n));
    f.block((done) =>
      f.loop((again) => {
        f.brIf(f.op('i64.eqz', mask), done);
        const lowestBit = f.op('i64.and', mask, f.op('i64.sub', c64(0n), mask));
        if (deposit) {
          const bit = f.op('i64.and', from, c64(1n));
          f.assign(out, f.op('i64.or', out, f.op('i64.and', f.op('i64.sub', c64(0n), bit), lowestBit)));
          f.assign(from, f.op('i64.shr_u', from, c64(1n)));
        } else {
          const bit = f.op('i64.extend_i32_u', f.op('i64.ne', f.op('i64.and', from, lowestBit), c64(0n)));
          f.assign(out, f.op('i64.or', out, f.op('i64.shl', bit, position)));
          f.assign(position, f.op('i64.add', position, c64(1n)));
        }
        f.assign(mask, f.op('i64.xor', mask, lowestBit));
        f.br(again);
      }),
    );
    d.set(out);
  };

const named: readonly [string, number, BitOperation][] = [
  ['BT', 4, 'test'],
  ['BTS', 5, 'set'],
  ['BTR', 6, 'reset'],
  ['BTC', 7, 'complement'],
];
const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0');

export const bitRows: readonly Row[] = [
  ...named.flatMap(([name, digit, kind]) => {
    const options: RowOptions = kind === 'test' ? {} : { lock: true };
    return [
      insn(name, `0F ${hex(0xa3 + (digit - 4) * 8)} /r`, 'Ev,Gv', options, bitOperation(kind)),
      insn(name, `0F BA /${digit} ib`, 'Ev,Ib', options, bitImmediate(kind)),
    ];
  }),
  insn('BSF', '0F BC /r', 'Gv,Ev', {}, scan(false)),
  insn('BSR', '0F BD /r', 'Gv,Ev', {}, scan(true)),
  insn('TZCNT', 'F3 0F BC /r', 'Gv,Ev', {}, countZeros(false)),
  insn('LZCNT', 'F3 0F BD /r', 'Gv,Ev', {}, countZeros(true)),
  insn('POPCNT', 'F3 0F B8 /r', 'Gv,Ev', {}, popcnt),
  insn('ANDN', 'VEX.LZ.NP.0F38.Wy F2 /r', 'Gy,By,Ey', {}, andn),
  insn('BLSR', 'VEX.LZ.NP.0F38.Wy F3 /1', 'By,Ey', {}, lowest('reset')),
  insn('BLSMSK', 'VEX.LZ.NP.0F38.Wy F3 /2', 'By,Ey', {}, lowest('mask')),
  insn('BLSI', 'VEX.LZ.NP.0F38.Wy F3 /3', 'By,Ey', {}, lowest('isolate')),
  insn('BEXTR', 'VEX.LZ.NP.0F38.Wy F7 /r', 'Gy,Ey,By', {}, bextr),
  insn('BZHI', 'VEX.LZ.NP.0F38.Wy F5 /r', 'Gy,Ey,By', {}, bzhi),
  insn('PDEP', 'VEX.LZ.F2.0F38.Wy F5 /r', 'Gy,By,Ey', {}, gatherBits(true)),
  insn('PEXT', 'VEX.LZ.F3.0F38.Wy F5 /r', 'Gy,By,Ey', {}, gatherBits(false)),
];
