/** SSE and SSE2 data movement and shuffles. */
import type { Operand, Semantics } from '../semantics.ts';
import type { FunctionBody } from '../wasm/function.ts';
import type { Val } from '../wasm/value.ts';
import { checkX87, enterMmx, onXmm } from './mmx.ts';
import { insn, type Meaning, type Row, type RowOptions } from './row.ts';
import { hintRows } from './sse-control.ts';
import * as v from './vector.ts';

const SSE: RowOptions = { unit: 'sse' };
const HOT: RowOptions = { unit: 'sse', weight: 8 };
const UNALIGNED: RowOptions = { unit: 'sse', unaligned: true };

const move: Meaning = (_s, d, e) => d.set(e.get());

/** Scalar load: memory clears the rest of the register, a register leaves it. */
const scalarLoad: Meaning = (_s, d, e) => (e.isMemory ? d.setZeroing(e.get()) : d.set(e.get()));

/** Load and store of a full register. */
const pair = (name: string, prefix: string, load: string, store: string, options: RowOptions): Row[] => [
  insn(name, `${prefix} 0F ${load} /r`, 'Vdq,Wdq', options, move),
  insn(name, `${prefix} 0F ${store} /r`, 'Wdq,Vdq', options, move),
];

const setHigh = (s: Semantics, d: Operand, high: Val): void => d.set(s.f.lane('i64x2.replace_lane', 1, d.get(), high));
const high64 = (f: FunctionBody, a: Val): Val => f.lane('i64x2.extract_lane', 1, a);

const moves = (): readonly Row[] => [
  ...pair('MOVUPS', 'NP', '10', '11', UNALIGNED),
  ...pair('MOVUPD', '66', '10', '11', UNALIGNED),
  ...pair('MOVAPS', 'NP', '28', '29', HOT),
  ...pair('MOVAPD', '66', '28', '29', HOT),
  ...pair('MOVDQA', '66', '6F', '7F', HOT),
  ...pair('MOVDQU', 'F3', '6F', '7F', { ...UNALIGNED, weight: 8 }),
  insn('MOVSS', 'F3 0F 10 /r', 'Vd,Wd', SSE, scalarLoad),
  insn('MOVSS', 'F3 0F 11 /r', 'Wd,Vd', SSE, move),
  insn('MOVSD', 'F2 0F 10 /r', 'Vq,Wq', HOT, scalarLoad),
  insn('MOVSD', 'F2 0F 11 /r', 'Wq,Vq', HOT, move),
  insn('MOVQ', 'F3 0F 7E /r', 'Vq,Wq', SSE, (_s, d, e) => d.setZeroing(e.get())),
  insn('MOVQ', '66 0F D6 /r', 'Wq,Vq', SSE, (_s, d, e) => (d.isMemory ? d.set(e.get()) : d.setZeroing(e.get()))),
  insn('MOVD', '66 0F 6E /r', 'Vq,Ey', SSE, (_s, d, e) => d.setZeroing(e.get())),
  insn('MOVD', '66 0F 7E /r', 'Ey,Vq', SSE, (s, d, e) => d.set(s.zx(d.width, e.get()))),
  insn('MOVLPS', 'NP 0F 12 /r', 'Vq,Mq', SSE, move),
  insn('MOVLPS', 'NP 0F 13 /r', 'Mq,Vq', SSE, move),
  insn('MOVLPD', '66 0F 12 /r', 'Vq,Mq', SSE, move),
  insn('MOVLPD', '66 0F 13 /r', 'Mq,Vq', SSE, move),
  insn('MOVHPS', 'NP 0F 16 /r', 'Vdq,Mq', SSE, (s, d, e) => setHigh(s, d, e.get())),
  insn('MOVHPD', '66 0F 16 /r', 'Vdq,Mq', SSE, (s, d, e) => setHigh(s, d, e.get())),
  insn('MOVHPS', 'NP 0F 17 /r', 'Mq,Vdq', SSE, (s, d, e) => d.set(high64(s.f, e.get()))),
  insn('MOVHPD', '66 0F 17 /r', 'Mq,Vdq', SSE, (s, d, e) => d.set(high64(s.f, e.get()))),
  insn('MOVHLPS', 'NP 0F 12 /r', 'Vdq,Udq', SSE, (s, d, e) =>
    d.set(s.f.lane('i64x2.replace_lane', 0, d.get(), high64(s.f, e.get()))),
  ),
  insn('MOVLHPS', 'NP 0F 16 /r', 'Vdq,Udq', SSE, (s, d, e) => setHigh(s, d, v.low64(s.f, e.get()))),
  insn('MOVDQ2Q', 'F2 0F D6 /r', 'Pq,Uq', SSE, (s, d, e) => {
    checkX87(s);
    enterMmx(s);
    d.set(e.get());
  }),
  insn('MOVQ2DQ', 'F3 0F D6 /r', 'Vq,Nq', SSE, (s, d, e) => {
    checkX87(s);
    enterMmx(s);
    d.setZeroing(e.get());
  }),
];

/** Non-temporal stores: an ordinary store as far as the guest can tell. */
const streaming = (): readonly Row[] => [
  insn('MOVNTPS', 'NP 0F 2B /r', 'Mdq,Vdq', SSE, move),
  insn('MOVNTPD', '66 0F 2B /r', 'Mdq,Vdq', SSE, move),
  insn('MOVNTDQ', '66 0F E7 /r', 'Mdq,Vdq', SSE, move),
  insn('MOVNTI', 'NP 0F C3 /r', 'My,Gy', {}, move),
];

const signBits = (
  name: string,
  encoding: string,
  operation: 'i8x16.bitmask' | 'i32x4.bitmask' | 'i64x2.bitmask',
): Row =>
  insn(name, encoding, 'Gd,Udq', SSE, (s, d, e) => d.set(s.f.op('i64.extend_i32_u', s.f.op(operation, e.get()))));

const unpack = (name: string, encoding: string, size: number, elements: readonly number[]): Row =>
  insn(
    name,
    encoding,
    'Vdq,Wdq',
    SSE,
    onXmm((f, a, b) => f.shuffle(a, b, v.bytesOf(size, elements))),
  );

const shuffles = (): readonly Row[] => [
  unpack('UNPCKLPS', 'NP 0F 14 /r', 4, [0, 4, 1, 5]),
  unpack('UNPCKHPS', 'NP 0F 15 /r', 4, [2, 6, 3, 7]),
  unpack('UNPCKLPD', '66 0F 14 /r', 8, [0, 2]),
  unpack('UNPCKHPD', '66 0F 15 /r', 8, [1, 3]),
  unpack('PUNPCKLQDQ', '66 0F 6C /r', 8, [0, 2]),
  unpack('PUNPCKHQDQ', '66 0F 6D /r', 8, [1, 3]),
  signBits('MOVMSKPS', 'NP 0F 50 /r', 'i32x4.bitmask'),
  signBits('MOVMSKPD', '66 0F 50 /r', 'i64x2.bitmask'),
  signBits('PMOVMSKB', '66 0F D7 /r', 'i8x16.bitmask'),
  insn('PSHUFD', '66 0F 70 /r ib', 'Vdq,Wdq,Ib', SSE, (s, d, e, i) => d.set(v.shuffle32(s.f, e.get(), i.get()))),
  insn('PSHUFLW', 'F2 0F 70 /r ib', 'Vdq,Wdq,Ib', SSE, (s, d, e, i) => {
    const b = e.get();
    d.set(s.f.lane('i64x2.replace_lane', 0, b, v.shuffle16(s.f, b, i.get())));
  }),
  insn('PSHUFHW', 'F3 0F 70 /r ib', 'Vdq,Wdq,Ib', SSE, (s, d, e, i) => {
    const b = e.get();
    const high = s.f.op('i64x2.splat', high64(s.f, b));
    d.set(s.f.lane('i64x2.replace_lane', 1, b, v.shuffle16(s.f, high, i.get())));
  }),
  insn('SHUFPS', 'NP 0F C6 /r ib', 'Vdq,Wdq,Ib', SSE, (s, d, e, i) => {
    const b = e.get();
    d.set(v.shuffle2x32(s.f, d.get(), b, i.get()));
  }),
  insn('SHUFPD', '66 0F C6 /r ib', 'Vdq,Wdq,Ib', SSE, (s, d, e, i) => {
    const b = e.get();
    d.set(v.shuffle2x64(s.f, d.get(), b, i.get()));
  }),
  insn('PSLLDQ', '66 0F 73 /7r ib', 'Udq,Ib', SSE, (s, d, i) => d.set(v.byteShift(s.f, d.get(), i.get(), true))),
  insn('PSRLDQ', '66 0F 73 /3r ib', 'Udq,Ib', SSE, (s, d, i) => d.set(v.byteShift(s.f, d.get(), i.get(), false))),
  insn('PINSRW', '66 0F C4 /r ib', 'Vdq,Ew,Ib', SSE, (s, d, e, i) => {
    const value = e.get();
    d.set(v.insertElement(s.f, 16, d.get(), value, i.get()));
  }),
  insn('PEXTRW', '66 0F C5 /r ib', 'Gd,Udq,Ib', SSE, (s, d, e, i) =>
    d.set(v.extractElement(s.f, 16, e.get(), i.get())),
  ),
];

const logic = (name: string, opcode: string, operation: 'v128.and' | 'v128.or' | 'v128.xor'): Row[] =>
  ['NP', '66'].map((prefix) =>
    insn(
      `${name}${prefix === 'NP' ? 'PS' : 'PD'}`,
      `${prefix} 0F ${opcode} /r`,
      'Vdq,Wdq',
      SSE,
      onXmm((f, a, b) => f.op(operation, a, b)),
    ),
  );

const logical = (): readonly Row[] => [
  ...logic('AND', '54', 'v128.and'),
  ...logic('OR', '56', 'v128.or'),
  ...logic('XOR', '57', 'v128.xor'),
  insn(
    'ANDNPS',
    'NP 0F 55 /r',
    'Vdq,Wdq',
    SSE,
    onXmm((f, a, b) => f.op('v128.andnot', b, a)),
  ),
  insn(
    'ANDNPD',
    '66 0F 55 /r',
    'Vdq,Wdq',
    SSE,
    onXmm((f, a, b) => f.op('v128.andnot', b, a)),
  ),
];

/** SSE3 moves. */
export const sse3MoveRows = (): readonly Row[] => [
  insn('LDDQU', 'F2 0F F0 /r', 'Vdq,Mdq', UNALIGNED, move),
  insn('MOVDDUP', 'F2 0F 12 /r', 'Vdq,Wq', SSE, (s, d, e) => d.set(s.f.op('i64x2.splat', e.get()))),
  insn('MOVSLDUP', 'F3 0F 12 /r', 'Vdq,Wdq', SSE, (s, d, e) => {
    const b = e.get();
    d.set(s.f.shuffle(b, b, v.bytesOf(4, [0, 0, 2, 2])));
  }),
  insn('MOVSHDUP', 'F3 0F 16 /r', 'Vdq,Wdq', SSE, (s, d, e) => {
    const b = e.get();
    d.set(s.f.shuffle(b, b, v.bytesOf(4, [1, 1, 3, 3])));
  }),
];

export const sseMoveRows = (): readonly Row[] => [...moves(), ...streaming(), ...shuffles(), ...logical(), ...hintRows];
