/**
 * MMX, and the integer operations that exist on MMX and on XMM registers alike: one list makes both rows.
 *
 * MMX registers are the significands of the x87 registers. An MMX instruction first reports a pending x87 exception, then sets TOP to 0 and
 * all tags to valid (key `sdm:1 "MMX Instructions and the x87 FPU"`); writing a register sets its sign and exponent to ones.
 */
import type { Operand, Semantics } from '../semantics.ts';
import * as S from '../state.ts';
import type { FunctionBody } from '../wasm/function.ts';
import { c32, c64, type Val } from '../wasm/value.ts';
import { insn, type Row, type RowOptions } from './row.ts';
import * as v from './vector.ts';

/** Exception summary of the x87 status word; CR0.NE. */
const ES = 0x80,
  NE = 0x20;

/** #MF for a pending x87 exception: first thing an instruction on MMX registers does. */
export const checkX87 = (s: Semantics): void => {
  const { f } = s;
  f.if(f.op('i32.and', s.state32(S.FPU_STATUS), c32(ES)), () =>
    s.faultIf(f.op('i32.and', s.state32(S.CR0), c32(NE)), 16),
  );
};

/** TOP = 0, all registers valid: behind the last access that may fault. */
export const enterMmx = (s: Semantics): void => {
  s.setState32(S.FPU_STATUS, s.f.op('i32.and', s.state32(S.FPU_STATUS), c32(0xc7ff)));
  s.setState32(S.FPU_TAG, c32(0xff));
};

const MMX: RowOptions = { unit: 'mmx' };
const SSE: RowOptions = { unit: 'sse' };

/** Combines both operands, first into the low half, so that one 128-bit operation does for pack and horizontal rows. */
type Combine = 'lanes' | 'concat';
type Binary = (f: FunctionBody, a: Val, b: Val) => Val;

const onMmx =
  (operation: Binary, combine: Combine) =>
  (s: Semantics, d: Operand, e: Operand): void => {
    const { f } = s;
    checkX87(s);
    const b = e.get(),
      a = d.get();
    enterMmx(s);
    const both = () => v.halves(f, a, b);
    const result =
      combine === 'lanes' ? operation(f, f.op('i64x2.splat', a), f.op('i64x2.splat', b)) : operation(f, both(), both());
    d.set(v.low64(f, result));
  };

export const onXmm =
  (operation: Binary) =>
  (s: Semantics, d: Operand, e: Operand): void => {
    const b = e.get();
    d.set(operation(s.f, d.get(), b));
  };

/** Both rows of an operation: NP 0F op on MMX, 66 0F op on XMM registers. */
const both = (name: string, opcode: string, operation: Binary, combine: Combine = 'lanes'): Row[] => [
  insn(name, `NP 0F ${opcode} /r`, 'Pq,Qq', MMX, onMmx(operation, combine)),
  insn(name, `66 0F ${opcode} /r`, 'Vdq,Wdq', SSE, onXmm(operation)),
];

const op =
  (name: Parameters<FunctionBody['op']>[0]): Binary =>
  (f, a, b) =>
    f.op(name, a, b);
const swapped =
  (name: Parameters<FunctionBody['op']>[0]): Binary =>
  (f, a, b) =>
    f.op(name, b, a);

/** Rows of the MMX generation: SSE2 gave all of them an XMM form. */
export const mmxIntegerRows = (): readonly Row[] => [
  ...both('PADDB', 'FC', op('i8x16.add')),
  ...both('PADDW', 'FD', op('i16x8.add')),
  ...both('PADDD', 'FE', op('i32x4.add')),
  ...both('PADDQ', 'D4', op('i64x2.add')),
  ...both('PADDSB', 'EC', op('i8x16.add_sat_s')),
  ...both('PADDSW', 'ED', op('i16x8.add_sat_s')),
  ...both('PADDUSB', 'DC', op('i8x16.add_sat_u')),
  ...both('PADDUSW', 'DD', op('i16x8.add_sat_u')),
  ...both('PSUBB', 'F8', op('i8x16.sub')),
  ...both('PSUBW', 'F9', op('i16x8.sub')),
  ...both('PSUBD', 'FA', op('i32x4.sub')),
  ...both('PSUBQ', 'FB', op('i64x2.sub')),
  ...both('PSUBSB', 'E8', op('i8x16.sub_sat_s')),
  ...both('PSUBSW', 'E9', op('i16x8.sub_sat_s')),
  ...both('PSUBUSB', 'D8', op('i8x16.sub_sat_u')),
  ...both('PSUBUSW', 'D9', op('i16x8.sub_sat_u')),
  ...both('PMULLW', 'D5', op('i16x8.mul')),
  ...both('PMULHW', 'E5', (f, a, b) => v.mulHigh16(f, a, b, true)),
  ...both('PMULHUW', 'E4', (f, a, b) => v.mulHigh16(f, a, b, false)),
  ...both('PMADDWD', 'F5', op('i32x4.dot_i16x8_s')),
  ...both('PMULUDQ', 'F4', (f, a, b) => v.mulEven32(f, a, b, false)),
  ...both('PSADBW', 'F6', v.sumDifferences),
  ...both('PAND', 'DB', op('v128.and')),
  ...both('PANDN', 'DF', swapped('v128.andnot')),
  ...both('POR', 'EB', op('v128.or')),
  ...both('PXOR', 'EF', op('v128.xor')),
  ...both('PCMPEQB', '74', op('i8x16.eq')),
  ...both('PCMPEQW', '75', op('i16x8.eq')),
  ...both('PCMPEQD', '76', op('i32x4.eq')),
  ...both('PCMPGTB', '64', op('i8x16.gt_s')),
  ...both('PCMPGTW', '65', op('i16x8.gt_s')),
  ...both('PCMPGTD', '66', op('i32x4.gt_s')),
  ...both('PMINUB', 'DA', op('i8x16.min_u')),
  ...both('PMAXUB', 'DE', op('i8x16.max_u')),
  ...both('PMINSW', 'EA', op('i16x8.min_s')),
  ...both('PMAXSW', 'EE', op('i16x8.max_s')),
  ...both('PAVGB', 'E0', op('i8x16.avgr_u')),
  ...both('PAVGW', 'E3', op('i16x8.avgr_u')),
  ...both('PACKSSWB', '63', op('i8x16.narrow_i16x8_s'), 'concat'),
  ...both('PACKUSWB', '67', op('i8x16.narrow_i16x8_u'), 'concat'),
  ...both('PACKSSDW', '6B', op('i16x8.narrow_i32x4_s'), 'concat'),
];

const unpackLanes = (size: number, high: boolean): number[] => {
  const count = 16 / size,
    start = high ? count / 2 : 0;
  return v.bytesOf(
    size,
    Array.from({ length: count }, (_, i) => start + (i >> 1) + (i & 1) * count),
  );
};

/** PUNPCKL and PUNPCKH: on MMX the low form reads only 32 bits of its source. */
const unpack = (name: string, opcode: string, size: 1 | 2 | 4, high: boolean): Row[] => [
  insn(name, `NP 0F ${opcode} /r`, high ? 'Pq,Qq' : 'Pq,Qd', MMX, (s, d, e) => {
    const { f } = s;
    checkX87(s);
    const b = e.get(),
      a = d.get();
    enterMmx(s);
    // Interleaving the low halves gives the low result below and the high result above.
    const mixed = f.shuffle(f.op('i64x2.splat', a), f.op('i64x2.splat', b), unpackLanes(size, false));
    d.set(f.lane('i64x2.extract_lane', high ? 1 : 0, mixed));
  }),
  insn(
    name,
    `66 0F ${opcode} /r`,
    'Vdq,Wdq',
    SSE,
    onXmm((f, a, b) => f.shuffle(a, b, unpackLanes(size, high))),
  ),
];

const SIZES = { W: 16, D: 32, Q: 64 } as const;
type ShiftName = 'shl' | 'shr_u' | 'shr_s';

/** Shifts by a register or memory count, and by an immediate (opcodes 71 72 73, digit of ModRM). */
const shifts = (name: string, size: 16 | 32 | 64, opcode: string, kind: ShiftName, digit: number): Row[] => {
  const group = size === 16 ? '71' : size === 32 ? '72' : '73';
  return [
    insn(name, `NP 0F ${opcode} /r`, 'Pq,Qq', MMX, (s, d, e) => {
      const { f } = s;
      checkX87(s);
      const count = e.get(),
        a = d.get();
      enterMmx(s);
      d.set(v.low64(f, v.shift(f, size, kind, f.op('i64x2.splat', a), count)));
    }),
    insn(name, `NP 0F ${group} /${digit}r ib`, 'Nq,Ib', MMX, (s, d, i) => {
      const { f } = s;
      checkX87(s);
      const a = d.get();
      enterMmx(s);
      d.set(v.low64(f, v.shift(f, size, kind, f.op('i64x2.splat', a), f.op('i64.and', i.get(), c64(0xff)))));
    }),
    insn(
      name,
      `66 0F ${opcode} /r`,
      'Vdq,Wdq',
      SSE,
      onXmm((f, a, b) => v.shift(f, size, kind, a, v.low64(f, b))),
    ),
    insn(name, `66 0F ${group} /${digit}r ib`, 'Udq,Ib', SSE, (s, d, i) => {
      d.set(v.shift(s.f, size, kind, d.get(), s.f.op('i64.and', i.get(), c64(0xff))));
    }),
  ];
};

const shiftRows = (): readonly Row[] =>
  (['W', 'D', 'Q'] as const).flatMap((letter, i) => [
    ...shifts(`PSRL${letter}`, SIZES[letter], `D${i + 1}`, 'shr_u', 2),
    ...(letter === 'Q' ? [] : shifts(`PSRA${letter}`, SIZES[letter], `E${i + 1}`, 'shr_s', 4)),
    ...shifts(`PSLL${letter}`, SIZES[letter], `F${i + 1}`, 'shl', 6),
  ]);

/** Rows on MMX registers only. */
const mmxOnly = (): readonly Row[] => [
  insn('MOVD', 'NP 0F 6E /r', 'Pq,Ey', MMX, (s, d, e) => {
    checkX87(s);
    const value = e.get();
    enterMmx(s);
    d.set(value);
  }),
  insn('MOVD', 'NP 0F 7E /r', 'Ey,Pq', MMX, (s, d, e) => {
    checkX87(s);
    d.probe();
    enterMmx(s);
    d.set(s.zx(d.width, e.get()));
  }),
  insn('MOVQ', 'NP 0F 6F /r', 'Pq,Qq', MMX, (s, d, e) => {
    checkX87(s);
    const value = e.get();
    enterMmx(s);
    d.set(value);
  }),
  insn('MOVQ', 'NP 0F 7F /r', 'Qq,Pq', MMX, (s, d, e) => {
    checkX87(s);
    d.probe();
    enterMmx(s);
    d.set(e.get());
  }),
  insn('MOVNTQ', 'NP 0F E7 /r', 'Mq,Pq', MMX, (s, d, e) => {
    checkX87(s);
    d.probe();
    enterMmx(s);
    d.set(e.get());
  }),
  insn('PSHUFW', 'NP 0F 70 /r ib', 'Pq,Qq,Ib', MMX, (s, d, e, i) => {
    checkX87(s);
    const value = e.get();
    enterMmx(s);
    d.set(v.shuffle16(s.f, s.f.op('i64x2.splat', value), i.get()));
  }),
  insn('PINSRW', 'NP 0F C4 /r ib', 'Pq,Ew,Ib', MMX, (s, d, e, i) => {
    const { f } = s;
    checkX87(s);
    const value = e.get(),
      a = d.get();
    enterMmx(s);
    d.set(v.low64(f, v.insertElement(f, 16, f.op('i64x2.splat', a), value, f.op('i64.and', i.get(), c64(3)))));
  }),
  insn('PEXTRW', 'NP 0F C5 /r ib', 'Gd,Nq,Ib', MMX, (s, d, e, i) => {
    const { f } = s;
    checkX87(s);
    enterMmx(s);
    d.set(v.extractElement(f, 16, f.op('i64x2.splat', e.get()), f.op('i64.and', i.get(), c64(3))));
  }),
  insn('PMOVMSKB', 'NP 0F D7 /r', 'Gd,Nq', MMX, (s, d, e) => {
    const { f } = s;
    checkX87(s);
    enterMmx(s);
    d.set(f.op('i64.extend_i32_u', f.op('i8x16.bitmask', v.widen64(f, e.get()))));
  }),
];

/** SSSE3 on both register files: operation and how MMX operands are combined. */
const both38 = (name: string, opcode: string, operation: Binary, combine: Combine = 'lanes'): Row[] => [
  insn(name, `NP 0F 38 ${opcode} /r`, 'Pq,Qq', MMX, onMmx(operation, combine)),
  insn(name, `66 0F 38 ${opcode} /r`, 'Vdq,Wdq', SSE, onXmm(operation)),
];

const horizontalRow = (name: string, opcode: string, size: 16 | 32, element: string): Row[] => [
  insn(
    name,
    `NP 0F 38 ${opcode} /r`,
    'Pq,Qq',
    MMX,
    onMmx((f, a) => v.horizontal(f, size, element, a, a), 'concat'),
  ),
  insn(
    name,
    `66 0F 38 ${opcode} /r`,
    'Vdq,Wdq',
    SSE,
    onXmm((f, a, b) => v.horizontal(f, size, element, a, b)),
  ),
];

const absolute = (name: string, opcode: string, element: 'i8x16.abs' | 'i16x8.abs' | 'i32x4.abs'): Row[] =>
  both38(name, opcode, (f, _a, b) => f.op(element, b));

export const ssse3Rows = (): readonly Row[] => [
  insn(
    'PSHUFB',
    'NP 0F 38 00 /r',
    'Pq,Qq',
    MMX,
    onMmx((f, a, b) => f.op('i8x16.swizzle', a, f.op('v128.and', b, f.op('i8x16.splat', c32(0x87)))), 'lanes'),
  ),
  insn('PSHUFB', '66 0F 38 00 /r', 'Vdq,Wdq', SSE, onXmm(v.shuffleBytes)),
  ...horizontalRow('PHADDW', '01', 16, 'add'),
  ...horizontalRow('PHADDD', '02', 32, 'add'),
  ...horizontalRow('PHADDSW', '03', 16, 'add_sat_s'),
  ...horizontalRow('PHSUBW', '05', 16, 'sub'),
  ...horizontalRow('PHSUBD', '06', 32, 'sub'),
  ...horizontalRow('PHSUBSW', '07', 16, 'sub_sat_s'),
  ...both38('PMADDUBSW', '04', v.multiplyAddBytes),
  ...both38('PMULHRSW', '0B', v.mulRound16),
  ...both38('PSIGNB', '08', (f, a, b) => v.applySign(f, 8, a, b)),
  ...both38('PSIGNW', '09', (f, a, b) => v.applySign(f, 16, a, b)),
  ...both38('PSIGND', '0A', (f, a, b) => v.applySign(f, 32, a, b)),
  ...absolute('PABSB', '1C', 'i8x16.abs'),
  ...absolute('PABSW', '1D', 'i16x8.abs'),
  ...absolute('PABSD', '1E', 'i32x4.abs'),
  insn('PALIGNR', 'NP 0F 3A 0F /r ib', 'Pq,Qq,Ib', MMX, (s, d, e, i) => {
    const { f } = s;
    checkX87(s);
    const b = e.get(),
      a = d.get();
    enterMmx(s);
    d.set(v.low64(f, v.byteShift(f, v.halves(f, b, a), i.get(), false)));
  }),
  insn('PALIGNR', '66 0F 3A 0F /r ib', 'Vdq,Wdq,Ib', SSE, (s, d, e, i) => {
    const b = e.get();
    d.set(v.align(s.f, d.get(), b, i.get()));
  }),
];

export const mmxRows = (): readonly Row[] => [
  ...mmxIntegerRows(),
  ...shiftRows(),
  ...mmxOnly(),
  ...unpack('PUNPCKLBW', '60', 1, false),
  ...unpack('PUNPCKLWD', '61', 2, false),
  ...unpack('PUNPCKLDQ', '62', 4, false),
  ...unpack('PUNPCKHBW', '68', 1, true),
  ...unpack('PUNPCKHWD', '69', 2, true),
  ...unpack('PUNPCKHDQ', '6A', 4, true),
];
