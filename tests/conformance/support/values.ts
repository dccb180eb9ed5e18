/** Operand values worth trying: bounds, single bits, and special floating-point numbers. */
import type { Random } from './random.ts';

const BOUNDS = [
  0n,
  1n,
  2n,
  7n,
  8n,
  0x0fn,
  0x10n,
  0x7fn,
  0x80n,
  0xffn,
  0x100n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x1_0000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
  0xffff_ffff_8000_0000n,
];

export const integer = (random: Random): bigint => {
  switch (random.below(5)) {
    case 0:
      return random.pick(BOUNDS);
    case 1:
      return 1n << BigInt(random.below(64));
    case 2:
      return BigInt.asUintN(64, BigInt(random.below(512) - 256));
    default:
      return random.u64();
  }
};

const SINGLES = [
  0, 0x8000_0000, 0x3f80_0000, 0xbf80_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc1_2345, 0x7f80_0001,
  0xff92_3456, 1, 0x8000_0001, 0x007f_ffff, 0x0080_0000, 0x7f7f_ffff, 0xff7f_ffff, 0x3f00_0000, 0x3fc0_0000,
  0x4b00_0000, 0x4b00_0001, 0x4f00_0000, 0xcf00_0000, 0x5f00_0000, 0x4000_0000, 0x3eff_ffff, 0x4020_0000,
];
const DOUBLES = [
  0n,
  1n << 63n,
  0x3ff0_0000_0000_0000n,
  0xbff0_0000_0000_0000n,
  0x7ff0_0000_0000_0000n,
  0xfff0_0000_0000_0000n,
  0x7ff8_0000_0000_0000n,
  0xfff8_1234_5678_9abcn,
  0x7ff0_0000_0000_0001n,
  0xfff4_1234_5678_9abcn,
  1n,
  0x8000_0000_0000_0001n,
  0x000f_ffff_ffff_ffffn,
  0x0010_0000_0000_0000n,
  0x7fef_ffff_ffff_ffffn,
  0x3fe0_0000_0000_0000n,
  0x3ff8_0000_0000_0000n,
  0x41df_ffff_ffc0_0000n,
  0x41e0_0000_0000_0000n,
  0xc1e0_0000_0000_0000n,
  0x43e0_0000_0000_0000n,
  0xc3e0_0000_0000_0000n,
  0x47ef_ffff_e000_0000n,
  0x47ef_ffff_f000_0000n,
  0x3690_0000_0000_0000n,
  0x3810_0000_0000_0000n,
  0x380f_ffff_ffff_ffffn,
  0x36a0_0000_0000_0000n,
  0x4004_0000_0000_0000n,
];

const single = (random: Random): number => {
  switch (random.below(4)) {
    case 0:
      return random.u32();
    case 1:
      return random.pick(SINGLES);
    case 2:
      // Exponents near one, short fractions: results that round in interesting ways.
      return (
        ((random.u8() & 0x80) << 24) |
        ((120 + random.below(20)) << 23) |
        (random.u32() & (random.once(2) ? 0x7f_ffff : 0x70_0000))
      );
    default:
      return (
        ((random.u8() & 0x80) << 24) |
        (random.pick([0, 1, 2, 103, 104, 126, 127, 150, 252, 253, 254]) << 23) |
        (random.u32() & 0x7f_ffff)
      );
  }
};

const double = (random: Random): bigint => {
  const sign = BigInt(random.below(2)) << 63n;
  const fraction = random.u64() & 0xf_ffff_ffff_ffffn;
  switch (random.below(4)) {
    case 0:
      return random.u64();
    case 1:
      return random.pick(DOUBLES);
    case 2:
      return (
        sign | (BigInt(1010 + random.below(60)) << 52n) | (random.once(2) ? fraction : fraction & 0xf_0000_0000_0000n)
      );
    default:
      return (
        sign |
        (BigInt(random.pick([0, 1, 2, 52, 53, 54, 871, 873, 896, 897, 898, 1022, 1023, 1150, 1151, 2045, 2046])) <<
          52n) |
        fraction
      );
  }
};

/** Fills 16 bytes with singles, doubles, or integers of some width. */
export const vector = (random: Random, into: Uint8Array, at: number): void => {
  const view = new DataView(into.buffer, into.byteOffset + at, 16);
  switch (random.below(4)) {
    case 0:
      for (let i = 0; i < 4; i++) view.setUint32(i * 4, single(random), true);
      break;
    case 1:
      for (let i = 0; i < 2; i++) view.setBigUint64(i * 8, double(random), true);
      break;
    case 2:
      for (let i = 0; i < 2; i++) view.setBigUint64(i * 8, integer(random), true);
      break;
    default:
      for (let i = 0; i < 16; i++) into[at + i] = random.once(3) ? random.pick([0, 1, 0x7f, 0x80, 0xff]) : random.u8();
  }
};

/** A value of the 80-bit format, ten bytes. */
export const extended = (random: Random, into: Uint8Array, at: number): void => {
  const view = new DataView(into.buffer, into.byteOffset + at, 10);
  const sign = random.below(2) << 15;
  const fraction = random.once(2) ? random.u64() | (1n << 63n) : (random.u64() & 0xffff_0000_0000_0000n) | (1n << 63n);
  let exponent = 16383 - 30 + random.below(70);
  let significand = fraction;
  switch (random.below(6)) {
    case 0:
      [exponent, significand] = random.pick([
        [0, 0n],
        [0, 1n],
        [0, 1n << 63n],
        [0x7fff, 1n << 63n],
        [0x7fff, 3n << 62n],
        [0x7fff, (1n << 63n) | 1n],
        [16383, 1n << 63n],
        [0x7ffe, (1n << 64n) - 1n],
        [1, 1n << 63n],
      ] as [number, bigint][]);
      break;
    case 1:
      exponent = random.below(0x7fff);
      break;
    default:
  }
  view.setBigUint64(0, significand, true);
  view.setUint16(8, sign | exponent, true);
};
