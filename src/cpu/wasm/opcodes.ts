/**
 * WebAssembly instruction table: one row per opcode the emitters use.
 *
 * A row is `name: [encoding, operand types, result type]`; encodings above 0xff carry the 0xfc/0xfd prefix in the
 * high byte and the sub-opcode in the low bits. Source: key `wasm:core` in docs/references.md.
 */

export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;
export const F64 = 0x7c;
export const V128 = 0x7b;
export type ValType = typeof I32 | typeof I64 | typeof F32 | typeof F64 | typeof V128;

type Row = readonly [code: number, params: readonly ValType[], result: ValType];

const u = (code: number, from: ValType, to: ValType): Row => [code, [from], to];
const b = (code: number, from: ValType, to: ValType = from): Row => [code, [from, from], to];
const simd = (sub: number) => 0xfd00 | sub;
/** Sub-opcodes of 0x100 and above need two LEB bytes; they are kept apart by bit 16. */
const vu = (sub: number): Row => [simd(sub), [V128], V128];
const vb = (sub: number): Row => [simd(sub), [V128, V128], V128];
const vshift = (sub: number): Row => [simd(sub), [V128, I32], V128];

export const OPS = {
  'i32.eqz': u(0x45, I32, I32), 'i32.eq': b(0x46, I32), 'i32.ne': b(0x47, I32), 'i32.lt_s': b(0x48, I32),
  'i32.lt_u': b(0x49, I32), 'i32.gt_s': b(0x4a, I32), 'i32.gt_u': b(0x4b, I32), 'i32.le_s': b(0x4c, I32),
  'i32.le_u': b(0x4d, I32), 'i32.ge_s': b(0x4e, I32), 'i32.ge_u': b(0x4f, I32),
  'i64.eqz': u(0x50, I64, I32), 'i64.eq': b(0x51, I64, I32), 'i64.ne': b(0x52, I64, I32), 'i64.lt_s': b(0x53, I64, I32),
  'i64.lt_u': b(0x54, I64, I32), 'i64.gt_s': b(0x55, I64, I32), 'i64.gt_u': b(0x56, I64, I32),
  'i64.le_s': b(0x57, I64, I32), 'i64.le_u': b(0x58, I64, I32), 'i64.ge_s': b(0x59, I64, I32), 'i64.ge_u': b(0x5a, I64, I32),
  'f32.eq': b(0x5b, F32, I32), 'f32.ne': b(0x5c, F32, I32), 'f32.lt': b(0x5d, F32, I32), 'f32.gt': b(0x5e, F32, I32),
  'f32.le': b(0x5f, F32, I32), 'f32.ge': b(0x60, F32, I32),
  'f64.eq': b(0x61, F64, I32), 'f64.ne': b(0x62, F64, I32), 'f64.lt': b(0x63, F64, I32), 'f64.gt': b(0x64, F64, I32),
  'f64.le': b(0x65, F64, I32), 'f64.ge': b(0x66, F64, I32),
  'i32.clz': u(0x67, I32, I32), 'i32.ctz': u(0x68, I32, I32), 'i32.popcnt': u(0x69, I32, I32),
  'i32.add': b(0x6a, I32), 'i32.sub': b(0x6b, I32), 'i32.mul': b(0x6c, I32), 'i32.div_s': b(0x6d, I32),
  'i32.div_u': b(0x6e, I32), 'i32.rem_s': b(0x6f, I32), 'i32.rem_u': b(0x70, I32), 'i32.and': b(0x71, I32),
  'i32.or': b(0x72, I32), 'i32.xor': b(0x73, I32), 'i32.shl': b(0x74, I32), 'i32.shr_s': b(0x75, I32),
  'i32.shr_u': b(0x76, I32), 'i32.rotl': b(0x77, I32), 'i32.rotr': b(0x78, I32),
  'i64.clz': u(0x79, I64, I64), 'i64.ctz': u(0x7a, I64, I64), 'i64.popcnt': u(0x7b, I64, I64),
  'i64.add': b(0x7c, I64), 'i64.sub': b(0x7d, I64), 'i64.mul': b(0x7e, I64), 'i64.div_s': b(0x7f, I64),
  'i64.div_u': b(0x80, I64), 'i64.rem_s': b(0x81, I64), 'i64.rem_u': b(0x82, I64), 'i64.and': b(0x83, I64),
  'i64.or': b(0x84, I64), 'i64.xor': b(0x85, I64), 'i64.shl': b(0x86, I64), 'i64.shr_s': b(0x87, I64),
  'i64.shr_u': b(0x88, I64), 'i64.rotl': b(0x89, I64), 'i64.rotr': b(0x8a, I64),
  'f32.abs': u(0x8b, F32, F32), 'f32.neg': u(0x8c, F32, F32), 'f32.nearest': u(0x90, F32, F32), 'f32.sqrt': u(0x91, F32, F32),
  'f32.add': b(0x92, F32), 'f32.sub': b(0x93, F32), 'f32.mul': b(0x94, F32), 'f32.div': b(0x95, F32),
  'f64.abs': u(0x99, F64, F64), 'f64.neg': u(0x9a, F64, F64), 'f64.trunc': u(0x9d, F64, F64), 'f64.nearest': u(0x9e, F64, F64),
  'f64.sqrt': u(0x9f, F64, F64), 'f64.add': b(0xa0, F64), 'f64.sub': b(0xa1, F64), 'f64.mul': b(0xa2, F64), 'f64.div': b(0xa3, F64),
  'i32.wrap_i64': u(0xa7, I64, I32), 'i64.extend_i32_s': u(0xac, I32, I64), 'i64.extend_i32_u': u(0xad, I32, I64),
  'f32.convert_i32_s': u(0xb2, I32, F32), 'f32.convert_i64_s': u(0xb4, I64, F32), 'f32.demote_f64': u(0xb6, F64, F32),
  'f64.convert_i32_s': u(0xb7, I32, F64), 'f64.convert_i64_s': u(0xb9, I64, F64), 'f64.promote_f32': u(0xbb, F32, F64),
  'i32.reinterpret_f32': u(0xbc, F32, I32), 'i64.reinterpret_f64': u(0xbd, F64, I64),
  'f32.reinterpret_i32': u(0xbe, I32, F32), 'f64.reinterpret_i64': u(0xbf, I64, F64),
  'i32.extend8_s': u(0xc0, I32, I32), 'i32.extend16_s': u(0xc1, I32, I32),
  'i64.extend8_s': u(0xc2, I64, I64), 'i64.extend16_s': u(0xc3, I64, I64), 'i64.extend32_s': u(0xc4, I64, I64),
  'i32.trunc_sat_f32_s': u(0xfc00, F32, I32), 'i32.trunc_sat_f64_s': u(0xfc02, F64, I32),
  'i64.trunc_sat_f32_s': u(0xfc04, F32, I64), 'i64.trunc_sat_f64_s': u(0xfc06, F64, I64),

  'i8x16.swizzle': vb(14), 'i8x16.splat': u(simd(15), I32, V128), 'i16x8.splat': u(simd(16), I32, V128),
  'i32x4.splat': u(simd(17), I32, V128), 'i64x2.splat': u(simd(18), I64, V128),
  'f32x4.splat': u(simd(19), F32, V128), 'f64x2.splat': u(simd(20), F64, V128),
  'i8x16.eq': vb(35), 'i8x16.gt_s': vb(39), 'i16x8.eq': vb(45), 'i16x8.gt_s': vb(49), 'i32x4.eq': vb(55), 'i32x4.gt_s': vb(59),
  'f32x4.eq': vb(65), 'f32x4.ne': vb(66), 'f32x4.lt': vb(67), 'f32x4.le': vb(69),
  'f64x2.eq': vb(71), 'f64x2.ne': vb(72), 'f64x2.lt': vb(73), 'f64x2.le': vb(75),
  'v128.not': vu(77), 'v128.and': vb(78), 'v128.andnot': vb(79), 'v128.or': vb(80), 'v128.xor': vb(81),
  'v128.bitselect': [simd(82), [V128, V128, V128], V128] as Row, 'v128.any_true': u(simd(83), V128, I32),
  'i8x16.abs': vu(96), 'i8x16.neg': vu(97), 'i8x16.all_true': u(simd(99), V128, I32), 'i8x16.bitmask': u(simd(100), V128, I32),
  'i8x16.narrow_i16x8_s': vb(101), 'i8x16.narrow_i16x8_u': vb(102),
  'i8x16.shl': vshift(107), 'i8x16.shr_s': vshift(108), 'i8x16.shr_u': vshift(109),
  'i8x16.add': vb(110), 'i8x16.add_sat_s': vb(111), 'i8x16.add_sat_u': vb(112),
  'i8x16.sub': vb(113), 'i8x16.sub_sat_s': vb(114), 'i8x16.sub_sat_u': vb(115),
  'i8x16.min_s': vb(118), 'i8x16.min_u': vb(119), 'i8x16.max_s': vb(120), 'i8x16.max_u': vb(121), 'i8x16.avgr_u': vb(123),
  'i16x8.extadd_pairwise_i8x16_s': vu(124), 'i16x8.extadd_pairwise_i8x16_u': vu(125),
  'i32x4.extadd_pairwise_i16x8_s': vu(126), 'i32x4.extadd_pairwise_i16x8_u': vu(127),
  'i16x8.abs': vu(128), 'i16x8.neg': vu(129), 'i16x8.q15mulr_sat_s': vb(130), 'i16x8.all_true': u(simd(131), V128, I32),
  'i16x8.bitmask': u(simd(132), V128, I32), 'i16x8.narrow_i32x4_s': vb(133), 'i16x8.narrow_i32x4_u': vb(134),
  'i16x8.extend_low_i8x16_s': vu(135), 'i16x8.extend_high_i8x16_s': vu(136),
  'i16x8.extend_low_i8x16_u': vu(137), 'i16x8.extend_high_i8x16_u': vu(138),
  'i16x8.shl': vshift(139), 'i16x8.shr_s': vshift(140), 'i16x8.shr_u': vshift(141),
  'i16x8.add': vb(142), 'i16x8.add_sat_s': vb(143), 'i16x8.add_sat_u': vb(144),
  'i16x8.sub': vb(145), 'i16x8.sub_sat_s': vb(146), 'i16x8.sub_sat_u': vb(147), 'i16x8.mul': vb(149),
  'i16x8.min_s': vb(150), 'i16x8.min_u': vb(151), 'i16x8.max_s': vb(152), 'i16x8.max_u': vb(153), 'i16x8.avgr_u': vb(155),
  'i16x8.extmul_low_i8x16_s': vb(156), 'i16x8.extmul_high_i8x16_s': vb(157),
  'i32x4.abs': vu(160), 'i32x4.neg': vu(161), 'i32x4.all_true': u(simd(163), V128, I32), 'i32x4.bitmask': u(simd(164), V128, I32),
  'i32x4.extend_low_i16x8_s': vu(167), 'i32x4.extend_high_i16x8_s': vu(168),
  'i32x4.extend_low_i16x8_u': vu(169), 'i32x4.extend_high_i16x8_u': vu(170),
  'i32x4.shl': vshift(171), 'i32x4.shr_s': vshift(172), 'i32x4.shr_u': vshift(173),
  'i32x4.add': vb(174), 'i32x4.sub': vb(177), 'i32x4.mul': vb(181),
  'i32x4.min_s': vb(182), 'i32x4.min_u': vb(183), 'i32x4.max_s': vb(184), 'i32x4.max_u': vb(185), 'i32x4.dot_i16x8_s': vb(186),
  'i32x4.extmul_low_i16x8_s': vb(188), 'i32x4.extmul_high_i16x8_s': vb(189),
  'i32x4.extmul_low_i16x8_u': vb(190), 'i32x4.extmul_high_i16x8_u': vb(191),
  'i64x2.abs': vu(192), 'i64x2.neg': vu(193), 'i64x2.all_true': u(simd(195), V128, I32), 'i64x2.bitmask': u(simd(196), V128, I32),
  'i64x2.extend_low_i32x4_s': vu(199), 'i64x2.extend_high_i32x4_s': vu(200),
  'i64x2.extend_low_i32x4_u': vu(201), 'i64x2.extend_high_i32x4_u': vu(202),
  'i64x2.shl': vshift(203), 'i64x2.shr_s': vshift(204), 'i64x2.shr_u': vshift(205),
  'i64x2.add': vb(206), 'i64x2.sub': vb(209), 'i64x2.mul': vb(213), 'i64x2.eq': vb(214), 'i64x2.gt_s': vb(217),
  'i64x2.extmul_low_i32x4_s': vb(220), 'i64x2.extmul_high_i32x4_s': vb(221),
  'i64x2.extmul_low_i32x4_u': vb(222), 'i64x2.extmul_high_i32x4_u': vb(223),
  'f32x4.abs': vu(224), 'f32x4.neg': vu(225), 'f32x4.sqrt': vu(227),
  'f32x4.add': vb(228), 'f32x4.sub': vb(229), 'f32x4.mul': vb(230), 'f32x4.div': vb(231),
  'f64x2.abs': vu(236), 'f64x2.neg': vu(237), 'f64x2.sqrt': vu(239),
  'f64x2.add': vb(240), 'f64x2.sub': vb(241), 'f64x2.mul': vb(242), 'f64x2.div': vb(243),
  'f32x4.convert_i32x4_s': vu(250), 'f64x2.convert_low_i32x4_s': vu(254),
  'f32x4.demote_f64x2_zero': vu(94), 'f64x2.promote_low_f32x4': vu(95),
} as const satisfies Record<string, Row>;

export type Op = keyof typeof OPS;

/** Loads: `name: [encoding, natural alignment (log2), result type]`. */
export const LOADS = {
  'i32.load': [0x28, 2, I32], 'i64.load': [0x29, 3, I64], 'f32.load': [0x2a, 2, F32], 'f64.load': [0x2b, 3, F64],
  'i32.load8_s': [0x2c, 0, I32], 'i32.load8_u': [0x2d, 0, I32], 'i32.load16_s': [0x2e, 1, I32], 'i32.load16_u': [0x2f, 1, I32],
  'i64.load8_s': [0x30, 0, I64], 'i64.load8_u': [0x31, 0, I64], 'i64.load16_s': [0x32, 1, I64], 'i64.load16_u': [0x33, 1, I64],
  'i64.load32_s': [0x34, 2, I64], 'i64.load32_u': [0x35, 2, I64],
  'v128.load': [0xfd00, 4, V128], 'v128.load32_zero': [0xfd5c, 2, V128], 'v128.load64_zero': [0xfd5d, 3, V128],
} as const;
export type LoadOp = keyof typeof LOADS;

/** Stores: `name: [encoding, natural alignment (log2), operand type]`. */
export const STORES = {
  'i32.store': [0x36, 2, I32], 'i64.store': [0x37, 3, I64], 'f32.store': [0x38, 2, F32], 'f64.store': [0x39, 3, F64],
  'i32.store8': [0x3a, 0, I32], 'i32.store16': [0x3b, 1, I32],
  'i64.store8': [0x3c, 0, I64], 'i64.store16': [0x3d, 1, I64], 'i64.store32': [0x3e, 2, I64], 'v128.store': [0xfd0b, 4, V128],
} as const;
export type StoreOp = keyof typeof STORES;

/** Lane accesses take one immediate byte: `name: [sub-opcode, operand types, result type]`. */
export const LANES = {
  'i8x16.extract_lane_u': [22, [V128], I32], 'i16x8.extract_lane_u': [25, [V128], I32], 'i16x8.extract_lane_s': [24, [V128], I32],
  'i32x4.extract_lane': [27, [V128], I32], 'i64x2.extract_lane': [29, [V128], I64],
  'f32x4.extract_lane': [31, [V128], F32], 'f64x2.extract_lane': [33, [V128], F64],
  'i8x16.replace_lane': [23, [V128, I32], V128], 'i16x8.replace_lane': [26, [V128, I32], V128],
  'i32x4.replace_lane': [28, [V128, I32], V128], 'i64x2.replace_lane': [30, [V128, I64], V128],
  'f32x4.replace_lane': [32, [V128, F32], V128], 'f64x2.replace_lane': [34, [V128, F64], V128],
} as const;
export type LaneOp = keyof typeof LANES;
