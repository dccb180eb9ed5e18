/** Emitted 128-bit integer operations that WebAssembly has no single instruction for. */
import type { Semantics } from '../semantics.ts';
import type { FunctionBody } from '../wasm/function.ts';
import type { Op } from '../wasm/opcodes.ts';
import { c32, c64, type Val } from '../wasm/value.ts';

/** Lane numbers of `count`-byte elements, for shuffles. */
export const bytesOf = (size: number, elements: readonly number[]): number[] =>
  elements.flatMap((e) => Array.from({ length: size }, (_, i) => e * size + i));

/** v128 with a 64-bit value in the low half and zeros above. */
export const widen64 = (f: FunctionBody, low: Val): Val =>
  f.lane('i64x2.replace_lane', 1, f.op('i64x2.splat', low), c64(0));
export const low64 = (f: FunctionBody, v: Val): Val => f.lane('i64x2.extract_lane', 0, v);
export const halves = (f: FunctionBody, low: Val, high: Val): Val =>
  f.lane('i64x2.replace_lane', 1, f.op('i64x2.splat', low), high);
export const zeros = (f: FunctionBody): Val => f.v128(0n, 0n);

/** An immediate as i32, and as a number when the back end knows it. */
export const imm32 = (f: FunctionBody, imm: Val): Val =>
  imm.constant === undefined ? f.op('i32.wrap_i64', imm) : c32(Number(imm.constant));

type Size = 8 | 16 | 32 | 64;
const SHAPE: Record<Size, string> = { 8: 'i8x16', 16: 'i16x8', 32: 'i32x4', 64: 'i64x2' };
export const lanes = (size: Size, name: string): Op => `${SHAPE[size]}.${name}` as Op;

/** PSLL PSRL PSRA by a 64-bit count: counts of the element size and above clear (or fill with the sign). */
export const shift = (
  f: FunctionBody,
  size: 16 | 32 | 64,
  name: 'shl' | 'shr_u' | 'shr_s',
  a: Val,
  count: Val,
): Val => {
  const over = f.op('i64.gt_u', count, c64(size - 1));
  const n = f.op('i32.wrap_i64', count);
  if (name === 'shr_s') return f.op(lanes(size, name), a, f.select(over, c32(size - 1), n));
  return f.select(over, zeros(f), f.op(lanes(size, name), a, n));
};

/** PSLLDQ, PSRLDQ: byte shifts. */
export const byteShift = (f: FunctionBody, a: Val, imm: Val, left: boolean): Val => {
  const n = f.op('i8x16.splat', f.op('i32.and', imm32(f, imm), c32(0xff)));
  const ascending = f.v128(0x0706050403020100n, 0x0f0e0d0c0b0a0908n);
  // Saturation keeps every index that left the register at 16 or above, where swizzle gives zero.
  if (left)
    return f.op('i8x16.swizzle', a, f.op('i8x16.sub', ascending, f.op('i8x16.min_u', n, f.op('i8x16.splat', c32(16)))));
  return f.op('i8x16.swizzle', a, f.op('i8x16.add_sat_u', ascending, n));
};

/** PALIGNR on 16 bytes: (high:low) >> imm*8, low 16 bytes. */
export const align = (f: FunctionBody, high: Val, low: Val, imm: Val): Val => {
  const n = f.op('i32.and', imm32(f, imm), c32(0xff));
  const down = byteShift(f, low, f.op('i64.extend_i32_u', n), false);
  const ascending = f.v128(0x0706050403020100n, 0x0f0e0d0c0b0a0908n);
  // Indices into `high` are position + n - 16; those below 0 wrap to 240 and above.
  const limited = f.select(f.op('i32.gt_u', n, c32(32)), c32(32), n);
  const index = f.op('i8x16.add', ascending, f.op('i8x16.splat', f.op('i32.sub', limited, c32(16))));
  return f.op('v128.or', down, f.op('i8x16.swizzle', high, index));
};

/** Index vector that selects 32-bit elements by four 2-bit fields. */
const selectWords32 = (f: FunctionBody, imm: Val): Val => {
  const spread = f.op(
    'i32x4.mul',
    f.op('i32x4.splat', imm32(f, imm)),
    f.v128(0x0000_0010_0000_0040n, 0x0000_0001_0000_0004n),
  );
  const field = f.op('v128.and', f.op('i32x4.shr_u', spread, c32(6)), f.op('i32x4.splat', c32(3)));
  return f.op(
    'i32x4.add',
    f.op('i32x4.mul', field, f.op('i32x4.splat', c32(0x04040404))),
    f.op('i32x4.splat', c32(0x03020100)),
  );
};

const fields = (n: number): number[] => [n & 3, (n >> 2) & 3, (n >> 4) & 3, (n >> 6) & 3];

/** PSHUFD. */
export const shuffle32 = (f: FunctionBody, a: Val, imm: Val): Val => {
  if (imm.constant !== undefined) return f.shuffle(a, a, bytesOf(4, fields(Number(imm.constant))));
  return f.op('i8x16.swizzle', a, selectWords32(f, imm));
};

/** SHUFPS: two elements of `a`, then two of `b`. */
export const shuffle2x32 = (f: FunctionBody, a: Val, b: Val, imm: Val): Val => {
  if (imm.constant !== undefined) {
    const [w, x, y, z] = fields(Number(imm.constant));
    return f.shuffle(a, b, bytesOf(4, [w, x, y + 4, z + 4]));
  }
  const index = selectWords32(f, imm);
  const x = f.op('i8x16.swizzle', a, index),
    y = f.op('i8x16.swizzle', b, index);
  return f.shuffle(x, y, bytesOf(8, [0, 3]));
};

/** SHUFPD. */
export const shuffle2x64 = (f: FunctionBody, a: Val, b: Val, imm: Val): Val => {
  const n = imm32(f, imm);
  const half = (v: Val, bit: number) =>
    f.select(f.op('i32.and', n, c32(bit)), f.lane('i64x2.extract_lane', 1, v), f.lane('i64x2.extract_lane', 0, v));
  return halves(f, half(a, 1), half(b, 2));
};

/** Four 16-bit elements in the low half chosen by 2-bit fields; PSHUFW, PSHUFLW and (on the high half) PSHUFHW. */
export const shuffle16 = (f: FunctionBody, a: Val, imm: Val): Val => {
  if (imm.constant !== undefined)
    return low64(f, f.shuffle(a, a, bytesOf(2, [...fields(Number(imm.constant)), 0, 0, 0, 0])));
  const spread = f.op(
    'i32x4.mul',
    f.op('i32x4.splat', imm32(f, imm)),
    f.v128(0x0000_0010_0000_0040n, 0x0000_0001_0000_0004n),
  );
  const field = f.op('v128.and', f.op('i32x4.shr_u', spread, c32(6)), f.op('i32x4.splat', c32(3)));
  const words = f.op('i16x8.narrow_i32x4_u', field, field);
  const index = f.op(
    'i16x8.add',
    f.op('i16x8.mul', words, f.op('i16x8.splat', c32(0x0202))),
    f.op('i16x8.splat', c32(0x0100)),
  );
  return low64(f, f.op('i8x16.swizzle', a, index));
};

/** Lane mask from the low bits of an immediate: PBLENDW (16), BLENDPS (32), BLENDPD (64). */
export const immediateMask = (f: FunctionBody, size: 16 | 32 | 64, imm: Val): Val => {
  const bits =
    size === 16
      ? f.v128(0x0008_0004_0002_0001n, 0x0080_0040_0020_0010n)
      : size === 32
        ? f.v128(0x0000_0002_0000_0001n, 0x0000_0008_0000_0004n)
        : f.v128(1n, 2n);
  const all =
    size === 64 ? f.op('i64x2.splat', f.op('i64.and', imm, c64(0xff))) : f.op(lanes(size, 'splat'), imm32(f, imm));
  return f.op(lanes(size, 'eq'), f.op('v128.and', all, bits), bits);
};

/** PINSRB/W/D/Q: replaces the element whose number is in the low bits of the immediate. */
export const insertElement = (f: FunctionBody, size: Size, a: Val, value: Val, imm: Val): Val => {
  const last = 128 / size - 1;
  const numbers: Record<Size, Val> = {
    8: f.v128(0x0706050403020100n, 0x0f0e0d0c0b0a0908n),
    16: f.v128(0x0003_0002_0001_0000n, 0x0007_0006_0005_0004n),
    32: f.v128(0x0000_0001_0000_0000n, 0x0000_0003_0000_0002n),
    64: f.v128(0n, 1n),
  };
  const number = f.op('i64.and', imm, c64(last));
  const which = size === 64 ? f.op('i64x2.splat', number) : f.op(lanes(size, 'splat'), f.op('i32.wrap_i64', number));
  const filled = size === 64 ? f.op('i64x2.splat', value) : f.op(lanes(size, 'splat'), f.op('i32.wrap_i64', value));
  return f.op('v128.bitselect', filled, a, f.op(lanes(size, 'eq'), numbers[size], which));
};

/** PEXTRB/W/D/Q: i64, zero-extended. */
export const extractElement = (f: FunctionBody, size: Size, a: Val, imm: Val): Val => {
  const last = 128 / size - 1;
  const at = f.op('i64.mul', f.op('i64.and', imm, c64(last)), c64(size));
  const half = f.select(
    f.op('i64.ge_u', at, c64(64)),
    f.lane('i64x2.extract_lane', 1, a),
    f.lane('i64x2.extract_lane', 0, a),
  );
  const value = f.op('i64.shr_u', half, at);
  return size === 64 ? value : f.op('i64.and', value, c64((1n << BigInt(size)) - 1n));
};

const HIGH_WORDS = bytesOf(2, [1, 3, 5, 7, 9, 11, 13, 15]);

/** PMULHW, PMULHUW. */
export const mulHigh16 = (f: FunctionBody, a: Val, b: Val, signed: boolean): Val => {
  const x = signed ? 's' : 'u';
  return f.shuffle(f.op(`i32x4.extmul_low_i16x8_${x}`, a, b), f.op(`i32x4.extmul_high_i16x8_${x}`, a, b), HIGH_WORDS);
};

/** PMULHRSW; WebAssembly saturates the one product that the processor lets wrap. */
export const mulRound16 = (f: FunctionBody, a: Val, b: Val): Val => {
  const minimum = f.op('i16x8.splat', c32(0x8000));
  const both = f.op('v128.and', f.op('i16x8.eq', a, minimum), f.op('i16x8.eq', b, minimum));
  return f.op('v128.xor', f.op('i16x8.q15mulr_sat_s', a, b), both);
};

/** PMADDUBSW: unsigned bytes of `a` times signed bytes of `b`, pairs added with saturation. */
export const multiplyAddBytes = (f: FunctionBody, a: Val, b: Val): Val => {
  const low = f.op('i16x8.splat', c32(0xff));
  const even = f.op('i16x8.mul', f.op('v128.and', a, low), f.op('i16x8.shr_s', f.op('i16x8.shl', b, c32(8)), c32(8)));
  const odd = f.op('i16x8.mul', f.op('i16x8.shr_u', a, c32(8)), f.op('i16x8.shr_s', b, c32(8)));
  return f.op('i16x8.add_sat_s', even, odd);
};

/** PMULUDQ, PMULDQ: even 32-bit elements. */
export const mulEven32 = (f: FunctionBody, a: Val, b: Val, signed: boolean): Val => {
  const extend = (v: Val) => f.op(signed ? 'i64x2.shr_s' : 'i64x2.shr_u', f.op('i64x2.shl', v, c32(32)), c32(32));
  return f.op('i64x2.mul', extend(a), extend(b));
};

/** PSADBW: sums of absolute differences in each half. */
export const sumDifferences = (f: FunctionBody, a: Val, b: Val): Val => {
  const d = f.op('v128.or', f.op('i8x16.sub_sat_u', a, b), f.op('i8x16.sub_sat_u', b, a));
  const words = f.op('i32x4.extadd_pairwise_i16x8_u', f.op('i16x8.extadd_pairwise_i8x16_u', d));
  const low = f.op('v128.and', words, f.v128(0xffff_ffffn, 0xffff_ffffn));
  return f.op('i64x2.add', low, f.op('i64x2.shr_u', words, c32(32)));
};

/** PSIGNB/W/D. */
export const applySign = (f: FunctionBody, size: 8 | 16 | 32, a: Val, b: Val): Val => {
  const sign = f.op(lanes(size, 'shr_s'), b, c32(size - 1));
  const changed = f.op(lanes(size, 'sub'), f.op('v128.xor', a, sign), sign);
  return f.op('v128.andnot', changed, f.op(lanes(size, 'eq'), b, zeros(f)));
};

/** PSHUFB on 16 bytes. */
export const shuffleBytes = (f: FunctionBody, a: Val, control: Val): Val =>
  f.op('i8x16.swizzle', a, f.op('v128.and', control, f.op('i8x16.splat', c32(0x8f))));

/** PHADD, PHSUB: horizontal pairs of `a` then of `b`; `name` is the element operation. */
export const horizontal = (f: FunctionBody, size: 16 | 32, name: string, a: Val, b: Val): Val => {
  const count = 256 / size;
  const pick = (odd: number) =>
    f.shuffle(
      a,
      b,
      bytesOf(
        size / 8,
        Array.from({ length: count / 2 }, (_, i) => 2 * i + odd),
      ),
    );
  return f.op(lanes(size, name), pick(0), pick(1));
};

/** XMM0 as an implicit operand. */
export const xmm0 = (s: Semantics, at: number): Val => halves(s.f, s.state64(at), s.state64(at + 8));
