/** SSE and SSE2 floating-point arithmetic, comparison and conversion; SSE3 horizontal and SSE4.1 rounding and dot products. */
import * as op from '../fpu/simd-operations.ts';
import type { Semantics } from '../semantics.ts';
import { c32, I64, V128, type Val } from '../wasm/value.ts';
import { FloatEmitter, type Shape } from './float.ts';
import { checkX87, enterMmx } from './mmx.ts';
import { insn, type Row, type RowOptions } from './row.ts';
import { mxcsrRows } from './sse-control.ts';
import { imm32, widen64 } from './vector.ts';

const SSE: RowOptions = { unit: 'sse' };

/** Prefix, suffix and operands of the four shapes. */
const SHAPES = [
  { shape: op.SS, prefix: 'F3', suffix: 'SS', operands: 'Vd,Wd' },
  { shape: op.SD, prefix: 'F2', suffix: 'SD', operands: 'Vq,Wq' },
  { shape: op.PS, prefix: 'NP', suffix: 'PS', operands: 'Vdq,Wdq' },
  { shape: op.PD, prefix: '66', suffix: 'PD', operands: 'Vdq,Wdq' },
] as const;

type Two = (e: FloatEmitter, a: Val, b: Val) => Val;

/** Rows of all (or the single-precision) shapes for an operation on two operands. */
const family = (
  name: string,
  opcode: string,
  meaning: Two,
  shapes: readonly Shape[] = [0, 1, 2, 3],
  options: RowOptions = SSE,
): Row[] =>
  shapes.map((shape) => {
    const { prefix, suffix, operands } = SHAPES[shape];
    return insn(name + suffix, `${prefix} 0F ${opcode} /r`, operands, options, (s, d, e) => {
      const b = e.get();
      d.set(meaning(new FloatEmitter(s, shape), d.get(), b));
    });
  });

const HOT: RowOptions = { unit: 'sse', weight: 8 };
const arithmetic = (name: string, opcode: string, kind: number, options?: RowOptions): Row[] =>
  family(name, opcode, (e, a, b) => e.arithmetic(kind, kind === op.SQRT ? b : a, b), undefined, options);

const basic = (): readonly Row[] => [
  ...arithmetic('ADD', '58', op.ADD, HOT),
  ...arithmetic('MUL', '59', op.MUL, HOT),
  ...arithmetic('SUB', '5C', op.SUB, HOT),
  ...arithmetic('DIV', '5E', op.DIV),
  ...arithmetic('SQRT', '51', op.SQRT),
  ...family('MIN', '5D', (e, a, b) => e.extremum(op.MIN, a, b)),
  ...family('MAX', '5F', (e, a, b) => e.extremum(op.MAX, a, b)),
  ...family('RCP', '53', (e, _a, b) => e.slow(op.RCP, undefined, b), [op.SS, op.PS]),
  ...family('RSQRT', '52', (e, _a, b) => e.slow(op.RSQRT, undefined, b), [op.SS, op.PS]),
];

const compares = (): readonly Row[] =>
  SHAPES.flatMap(({ shape, prefix, suffix, operands }) => [
    insn(
      `CMP${suffix}`,
      `${prefix} 0F C2 /r ib`,
      `${operands},Ib`,
      { ...SSE, ref: `sdm:CMP${suffix}` },
      (s, d, e, i) => {
        const b = e.get();
        d.set(new FloatEmitter(s, shape).compare(d.get(), b, i.get()));
      },
    ),
  ]);

const orders = (): readonly Row[] =>
  (
    [
      ['UCOMI', '2E', op.UCOMI],
      ['COMI', '2F', op.COMI],
    ] as const
  ).flatMap(([name, opcode, kind]) =>
    (
      [
        ['SS', 'NP', 'Vd,Wd', op.SS],
        ['SD', '66', 'Vq,Wq', op.SD],
      ] as const
    ).map(([suffix, prefix, operands, shape]) =>
      insn(name + suffix, `${prefix} 0F ${opcode} /r`, operands, SSE, (s, d, e) => {
        const b = e.get();
        new FloatEmitter(s, shape).order(kind, d.get(), b);
      }),
    ),
  );

const signed = (s: Semantics, bits: number, value: Val): Val => (bits === 64 ? value : s.sx(32, value));

const scalarConversions = (): readonly Row[] =>
  (
    [
      ['SS', 'F3', 'd', op.SS],
      ['SD', 'F2', 'q', op.SD],
    ] as const
  ).flatMap(([suffix, prefix, width, shape]) => [
    insn(`CVTSI2${suffix}`, `${prefix} 0F 2A /r`, `V${width},Ey`, SSE, (s, d, e) => {
      const bits = e.width === 64 ? 64 : 32;
      d.set(new FloatEmitter(s, shape).fromInteger(signed(s, bits, e.get()), bits));
    }),
    insn(`CVTT${suffix}2SI`, `${prefix} 0F 2C /r`, `Gy,W${width}`, SSE, (s, d, e) => {
      d.set(new FloatEmitter(s, shape).toInteger(e.get(), d.width === 64 ? 64 : 32, true));
    }),
    insn(`CVT${suffix}2SI`, `${prefix} 0F 2D /r`, `Gy,W${width}`, SSE, (s, d, e) => {
      d.set(new FloatEmitter(s, shape).toInteger(e.get(), d.width === 64 ? 64 : 32, false));
    }),
  ]);

/** A conversion done by the exact routine: the shape is that of the floating-point elements involved. */
const converted = (name: string, encoding: string, operands: string, kind: number, shape: Shape): Row =>
  insn(name, encoding, operands, SSE, (s, d, e) => {
    const b = e.get();
    d.set(new FloatEmitter(s, shape).slow(kind, undefined, b, c32(0), V128));
  });

/** The same from or to MMX registers, two elements wide. */
const toMmx = (name: string, encoding: string, operands: string, kind: number, shape: Shape): Row =>
  insn(name, encoding, operands, SSE, (s, d, e) => {
    checkX87(s);
    const value = e.get();
    const source = value.type === V128 ? value : widen64(s.f, value);
    const result = new FloatEmitter(s, shape).slow(kind, undefined, source, c32(0), I64);
    enterMmx(s);
    d.set(result);
  });

const packedConversions = (): readonly Row[] => [
  insn('CVTSS2SD', 'F3 0F 5A /r', 'Vq,Wd', SSE, (s, d, e) => d.set(new FloatEmitter(s, op.SS).widen(e.get()))),
  insn('CVTSD2SS', 'F2 0F 5A /r', 'Vd,Wq', SSE, (s, d, e) => d.set(new FloatEmitter(s, op.SD).narrow(e.get()))),
  insn('CVTPS2PD', 'NP 0F 5A /r', 'Vdq,Wq', SSE, (s, d, e) => {
    d.set(new FloatEmitter(s, op.PS).slow(op.WIDEN, undefined, widen64(s.f, e.get()), c32(0), V128));
  }),
  converted('CVTPD2PS', '66 0F 5A /r', 'Vdq,Wdq', op.NARROW, op.PD),
  insn('CVTDQ2PD', 'F3 0F E6 /r', 'Vdq,Wq', SSE, (s, d, e) =>
    d.set(s.f.op('f64x2.convert_low_i32x4_s', widen64(s.f, e.get()))),
  ),
  converted('CVTDQ2PS', 'NP 0F 5B /r', 'Vdq,Wdq', op.FROM_I32, op.PS),
  converted('CVTPS2DQ', '66 0F 5B /r', 'Vdq,Wdq', op.TO_I32, op.PS),
  converted('CVTTPS2DQ', 'F3 0F 5B /r', 'Vdq,Wdq', op.TO_I32_TRUNCATED, op.PS),
  converted('CVTPD2DQ', 'F2 0F E6 /r', 'Vdq,Wdq', op.TO_I32, op.PD),
  converted('CVTTPD2DQ', '66 0F E6 /r', 'Vdq,Wdq', op.TO_I32_TRUNCATED, op.PD),
  toMmx('CVTPS2PI', 'NP 0F 2D /r', 'Pq,Wq', op.TO_I32, op.PS),
  toMmx('CVTTPS2PI', 'NP 0F 2C /r', 'Pq,Wq', op.TO_I32_TRUNCATED, op.PS),
  toMmx('CVTPD2PI', '66 0F 2D /r', 'Pq,Wdq', op.TO_I32, op.PD),
  toMmx('CVTTPD2PI', '66 0F 2C /r', 'Pq,Wdq', op.TO_I32_TRUNCATED, op.PD),
  insn('CVTPI2PS', 'NP 0F 2A /r', 'Vq,Qq', SSE, (s, d, e) => {
    checkX87(s);
    const result = new FloatEmitter(s, op.PS).slow(op.FROM_I32, undefined, widen64(s.f, e.get()), c32(0), I64);
    enterMmx(s);
    d.set(result);
  }),
  // From memory this one is no MMX instruction: the x87 state is left alone (key `sdm:CVTPI2PD`).
  insn('CVTPI2PD', '66 0F 2A /r', 'Vdq,Qq', SSE, (s, d, e) => {
    if (!e.isMemory) checkX87(s);
    const value = e.get();
    if (!e.isMemory) enterMmx(s);
    d.set(s.f.op('f64x2.convert_low_i32x4_s', widen64(s.f, value)));
  }),
];

export const sseFloatRows = (): readonly Row[] => [
  ...basic(),
  ...compares(),
  ...orders(),
  ...scalarConversions(),
  ...packedConversions(),
  ...mxcsrRows,
];

/** SSE3: ADDSUB, HADD, HSUB. */
export const sse3FloatRows = (): readonly Row[] =>
  (
    [
      ['ADDSUB', 'D0', op.ADDSUB],
      ['HADD', '7C', op.HADD],
      ['HSUB', '7D', op.HSUB],
    ] as const
  ).flatMap(([name, opcode, kind]) =>
    (
      [
        ['PD', '66', op.PD],
        ['PS', 'F2', op.PS],
      ] as const
    ).map(([suffix, prefix, shape]) =>
      insn(name + suffix, `${prefix} 0F ${opcode} /r`, 'Vdq,Wdq', SSE, (s, d, e) => {
        const b = e.get();
        d.set(new FloatEmitter(s, shape).slow(kind, d.get(), b));
      }),
    ),
  );

const rounding = (name: string, opcode: string, operands: string, shape: Shape): Row =>
  insn(name, `66 0F 3A ${opcode} /r ib`, operands, SSE, (s, d, e, i) => {
    const b = e.get();
    d.set(new FloatEmitter(s, shape).slow(op.ROUND, undefined, b, imm32(s.f, i.get())));
  });

const dot = (name: string, opcode: string, shape: Shape): Row =>
  insn(name, `66 0F 3A ${opcode} /r ib`, 'Vdq,Wdq,Ib', SSE, (s, d, e, i) => {
    const b = e.get();
    d.set(new FloatEmitter(s, shape).slow(op.DP, d.get(), b, imm32(s.f, i.get())));
  });

/** SSE4.1: rounding, dot products. */
export const sse41FloatRows = (): readonly Row[] => [
  rounding('ROUNDPS', '08', 'Vdq,Wdq,Ib', op.PS),
  rounding('ROUNDPD', '09', 'Vdq,Wdq,Ib', op.PD),
  rounding('ROUNDSS', '0A', 'Vd,Wd,Ib', op.SS),
  rounding('ROUNDSD', '0B', 'Vq,Wq,Ib', op.SD),
  dot('DPPS', '40', op.PS),
  dot('DPPD', '41', op.PD),
];
