/** SSE4.1 and SSE4.2 integer rows; the floating-point part of SSE4.1 is in sse-float.ts, string compares in sse-string.ts. */

import * as integer from '../fpu/simd-operations.ts';
import { HELPER_SIMD_INTEGER } from '../helpers.ts';
import * as S from '../state.ts';
import type { FunctionBody } from '../wasm/function.ts';
import type { Op } from '../wasm/opcodes.ts';
import { c32, c64, V128, type Val } from '../wasm/value.ts';
import { integerHelper, storeScratch } from './float.ts';
import { onXmm } from './mmx.ts';
import { insn, type Row, type RowOptions } from './row.ts';
import * as v from './vector.ts';

const SSE: RowOptions = { unit: 'sse' };

const row38 = (name: string, opcode: string, operation: (f: FunctionBody, a: Val, b: Val) => Val): Row =>
  insn(name, `66 0F 38 ${opcode} /r`, 'Vdq,Wdq', SSE, onXmm(operation));
const plain = (name: string, opcode: string, operation: Op): Row =>
  row38(name, opcode, (f, a, b) => f.op(operation, a, b));

/** PMOVSX, PMOVZX: source width, and the widening steps. */
const extension = (kind: 'S' | 'Z'): Row[] => {
  const x = kind === 'S' ? 's' : 'u';
  const steps: Record<string, Op> = {
    B: `i16x8.extend_low_i8x16_${x}`,
    W: `i32x4.extend_low_i16x8_${x}`,
    D: `i64x2.extend_low_i32x4_${x}`,
  };
  const forms = [
    ['BW', 'q', ['B']],
    ['BD', 'd', ['B', 'W']],
    ['BQ', 'w', ['B', 'W', 'D']],
    ['WD', 'q', ['W']],
    ['WQ', 'd', ['W', 'D']],
    ['DQ', 'q', ['D']],
  ] as const;
  return forms.map(([suffix, width, path], i) =>
    insn(`PMOV${kind}X${suffix}`, `66 0F 38 ${kind === 'S' ? '2' : '3'}${i} /r`, `Vdq,W${width}`, SSE, (s, d, e) => {
      const source = v.widen64(s.f, e.get());
      d.set(path.reduce((value, step) => s.f.op(steps[step], value), source));
    }),
  );
};

/** Blends whose mask is the sign of the elements of XMM0. */
const blendByXmm0 = (name: string, opcode: string, size: 8 | 32 | 64): Row =>
  insn(name, `66 0F 38 ${opcode} /r`, 'Vdq,Wdq', SSE, (s, d, e) => {
    const { f } = s;
    const b = e.get();
    const mask = f.op(v.lanes(size, 'shr_s'), v.xmm0(s, S.XMM), c32(size - 1));
    d.set(f.op('v128.bitselect', b, d.get(), mask));
  });

const blendByImmediate = (name: string, opcode: string, size: 16 | 32 | 64): Row =>
  insn(name, `66 0F 3A ${opcode} /r ib`, 'Vdq,Wdq,Ib', SSE, (s, d, e, i) => {
    const b = e.get();
    d.set(s.f.op('v128.bitselect', b, d.get(), v.immediateMask(s.f, size, i.get())));
  });

/** Extraction to a general register (upper part cleared) or to memory of the element's width. */
const extract = (name: string, opcode: string, size: 8 | 16, width: 'b' | 'w'): Row[] => [
  insn(name, `66 0F 3A ${opcode} /r ib`, 'Rd,Vdq,Ib', SSE, (s, d, e, i) =>
    d.set(v.extractElement(s.f, size, e.get(), i.get())),
  ),
  insn(name, `66 0F 3A ${opcode} /r ib`, `M${width},Vdq,Ib`, SSE, (s, d, e, i) =>
    d.set(v.extractElement(s.f, size, e.get(), i.get())),
  ),
];

export const sse41Rows = (): readonly Row[] => [
  blendByXmm0('PBLENDVB', '10', 8),
  blendByXmm0('BLENDVPS', '14', 32),
  blendByXmm0('BLENDVPD', '15', 64),
  blendByImmediate('BLENDPS', '0C', 32),
  blendByImmediate('BLENDPD', '0D', 64),
  blendByImmediate('PBLENDW', '0E', 16),
  insn('PTEST', '66 0F 38 17 /r', 'Vdq,Wdq', SSE, (s, d, e) => {
    const { f } = s;
    const b = e.get(),
      a = d.get();
    const none = (x: Val) => f.op('i32.eqz', f.op('v128.any_true', x));
    const zf = f.op('i32.mul', none(f.op('v128.and', a, b)), c32(S.ZF));
    s.writeArithmeticFlags(f.op('i32.or', zf, none(f.op('v128.andnot', b, a))));
  }),
  ...extension('S'),
  ...extension('Z'),
  row38('PMULDQ', '28', (f, a, b) => v.mulEven32(f, a, b, true)),
  plain('PCMPEQQ', '29', 'i64x2.eq'),
  insn('MOVNTDQA', '66 0F 38 2A /r', 'Vdq,Mdq', SSE, (_s, d, e) => d.set(e.get())),
  plain('PACKUSDW', '2B', 'i16x8.narrow_i32x4_u'),
  plain('PMINSB', '38', 'i8x16.min_s'),
  plain('PMINSD', '39', 'i32x4.min_s'),
  plain('PMINUW', '3A', 'i16x8.min_u'),
  plain('PMINUD', '3B', 'i32x4.min_u'),
  plain('PMAXSB', '3C', 'i8x16.max_s'),
  plain('PMAXSD', '3D', 'i32x4.max_s'),
  plain('PMAXUW', '3E', 'i16x8.max_u'),
  plain('PMAXUD', '3F', 'i32x4.max_u'),
  plain('PMULLD', '40', 'i32x4.mul'),
  insn('PHMINPOSUW', '66 0F 38 41 /r', 'Vdq,Wdq', SSE, (s, d, e) => {
    const b = e.get();
    d.set(integerHelper(s, integer.PHMINPOSUW, b, b, c32(0), V128));
  }),
  insn('MPSADBW', '66 0F 3A 42 /r ib', 'Vdq,Wdq,Ib', SSE, (s, d, e, i) => {
    const b = e.get();
    d.set(integerHelper(s, integer.MPSADBW, d.get(), b, v.imm32(s.f, i.get()), V128));
  }),
  insn('INSERTPS', '66 0F 3A 21 /r ib', 'Vdq,Udq,Ib', SSE, (s, d, e, i) => {
    const b = e.get();
    d.set(integerHelper(s, integer.INSERTPS, d.get(), b, v.imm32(s.f, i.get()), V128));
  }),
  // From memory there is one element, so the source field of the immediate is ignored.
  insn('INSERTPS', '66 0F 3A 21 /r ib', 'Vdq,Md,Ib', SSE, (s, d, e, i) => {
    const b = e.get();
    const imm = s.f.op('i32.and', v.imm32(s.f, i.get()), c32(0x3f));
    d.set(integerHelper(s, integer.INSERTPS, d.get(), v.widen64(s.f, b), imm, V128));
  }),
  ...extract('PEXTRB', '14', 8, 'b'),
  ...extract('PEXTRW', '15', 16, 'w'),
  insn('PEXTRD', '66 0F 3A 16 /r ib', 'Ey,Vdq,Ib', SSE, (s, d, e, i) => {
    d.set(v.extractElement(s.f, d.width === 64 ? 64 : 32, e.get(), i.get()));
  }),
  insn('EXTRACTPS', '66 0F 3A 17 /r ib', 'Ed,Vdq,Ib', SSE, (s, d, e, i) =>
    d.set(v.extractElement(s.f, 32, e.get(), i.get())),
  ),
  insn('PINSRB', '66 0F 3A 20 /r ib', 'Vdq,Rd,Ib', SSE, (s, d, e, i) =>
    d.set(v.insertElement(s.f, 8, d.get(), e.get(), i.get())),
  ),
  insn('PINSRB', '66 0F 3A 20 /r ib', 'Vdq,Mb,Ib', SSE, (s, d, e, i) => {
    const value = e.get();
    d.set(v.insertElement(s.f, 8, d.get(), value, i.get()));
  }),
  insn('PINSRD', '66 0F 3A 22 /r ib', 'Vdq,Ey,Ib', SSE, (s, d, e, i) => {
    const value = e.get();
    d.set(v.insertElement(s.f, e.width === 64 ? 64 : 32, d.get(), value, i.get()));
  }),
];

/** CRC32 is no SSE instruction as far as CR0 and CR4 are concerned. */
const crc = (opcode: string, operand: string): Row =>
  insn('CRC32', `F2 0F 38 ${opcode} /r`, `Gd,${operand}`, {}, (s, d, e) => {
    const value = e.get();
    storeScratch(s, S.SCRATCH, d.get());
    storeScratch(s, S.SCRATCH + 16, value);
    s.faultRecorded(s.callHelper(HELPER_SIMD_INTEGER, c32(integer.CRC32), c32(e.width / 8)));
    d.set(s.f.op('i64.and', s.state64(S.SCRATCH + 32), c64(0xffff_ffffn)));
  });

export const sse42Rows = (): readonly Row[] => [plain('PCMPGTQ', '37', 'i64x2.gt_s'), crc('F0', 'Eb'), crc('F1', 'Ev')];
