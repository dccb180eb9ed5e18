/** Random bytes that are more often meaningful machine code than uniform ones. */
import type { Random } from '../../conformance/support/random.ts';

const PREFIXES = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65];
/** Registers of devices. */
const PORTS = [
  0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x80, 0xe9, 0xcf8, 0xcfc, 0xb004, 0xb000, 0xb008,
  0x400, 0x404, 0x408, 0x4d0, 0x4d1, 0x64, 0x60, 0xcf9, 0x3f8, 0x92, 0x1f48,
];
const MSRS = [
  0x10, 0x1b, 0x3a, 0x3b, 0x8b, 0xfe, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x1a0, 0x1d9, 0x200, 0x201, 0x250, 0x277,
  0x2ff, 0x6e0, 0x800, 0x808, 0x80b, 0x80f, 0x830, 0x832, 0x838, 0x83e, 0x83f, 0xc000_0080, 0xc000_0081, 0xc000_0082,
  0xc000_0084, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0103, 0x4000_0000, 0x4000_0001, 0x4000_0020, 0x4000_0073,
  0x4000_0080, 0x4000_0083, 0x4000_0090, 0x4000_00b0, 0x4000_00b1,
];
/** Addresses of devices, tables and nothing. */
export const ADDRESSES = [
  0, 0x1000, 0x7fff, 0x8000, 0xffff, 0x10_0000, 0x7f_ffff, 0x7fff_ffff, 0xfec0_0000, 0xfec0_0010, 0xfed0_0000,
  0xfed0_00f0, 0xfed0_0108, 0xfee0_0000, 0xfee0_0080, 0xfee0_00b0, 0xfee0_0300, 0xfee0_0310, 0xfee0_0320, 0xfee0_0380,
  0xfee0_03e0, 0xffff_fff0, 0xffff_ffff,
];

const little = (value: number, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) & 0xff);

/** A number that is often at an edge. */
export function interesting(random: Random): bigint {
  switch (random.below(6)) {
    case 0:
      return BigInt(random.below(16));
    case 1:
      return BigInt(random.pick(ADDRESSES)) + BigInt(random.below(16)) - 8n;
    case 2:
      return 1n << BigInt(random.below(64));
    case 3:
      return BigInt.asUintN(64, -BigInt(random.below(0x2000)));
    case 4:
      return BigInt(random.u32() & 0xf_ffff);
    default:
      return random.u64();
  }
}

const immediate = (random: Random, bytes: number): number[] =>
  little(Number(BigInt.asUintN(8 * bytes, interesting(random))), bytes);

/** mov reg, imm32 in 32- and 64-bit code (imm16 follows the same opcode in 16-bit code). */
const load = (random: Random, register: number, value: number, bits: number): number[] =>
  bits === 16 && random.once(2)
    ? [0x66, 0xb8 + register, ...little(value, 4)]
    : [0xb8 + register, ...little(value, bits === 16 ? 2 : 4)];

/** One instruction, or a few that belong together. */
function piece(random: Random, bits: number): number[] {
  switch (random.below(14)) {
    case 0:
      return Array.from({ length: 1 + random.below(15) }, () => random.u8());
    case 1:
      // Port I/O with devices.
      return [
        ...load(random, 2, random.pick(PORTS), bits),
        ...load(random, 0, random.u32(), bits),
        random.pick([0xec, 0xed, 0xee, 0xef, 0x6c, 0x6d, 0x6e, 0x6f]),
      ];
    case 2:
      // Model-specific registers.
      return [
        ...load(random, 1, random.pick(MSRS), bits),
        ...load(random, 0, Number(interesting(random) & 0xffff_ffffn), bits),
        ...load(random, 2, random.once(2) ? 0 : Number(interesting(random) & 0xffff_ffffn), bits),
        0x0f,
        random.once(3) ? 0x32 : 0x30,
      ];
    case 3:
      // Hypercalls.
      return [
        ...load(random, 0, random.once(8) ? random.u32() : random.below(56), bits),
        ...[3, 1, 2, 6, 7].flatMap((register) =>
          random.once(2) ? load(random, register, Number(interesting(random) & 0xffff_ffffn), bits) : [],
        ),
        0x0f,
        0x01,
        0xc1,
      ];
    case 4:
      // Control and debug registers, descriptor tables, invlpg, swapgs and their neighbours.
      return [
        0x0f,
        random.pick([0x20, 0x21, 0x22, 0x23, 0x00, 0x01, 0x06, 0x08, 0x09, 0x05, 0x07, 0x34, 0x35]),
        random.u8(),
        random.u8(),
      ];
    case 5:
      return [random.pick([0xfa, 0xfb, 0xf4, 0x9c, 0x9d, 0xcc, 0xce, 0xf1, 0xcf, 0xcb, 0xfc, 0xfd, 0x17, 0x1f])];
    case 6:
      return [0xcd, random.once(2) ? random.below(34) : random.u8()];
    case 7:
      // Far transfers and segment loads.
      return random.once(2)
        ? [
            random.pick([0xea, 0x9a]),
            ...immediate(random, bits === 16 ? 2 : 4),
            random.below(12) * 8 + random.below(8),
            0,
          ]
        : [...load(random, 0, random.below(16) * 8 + random.below(8), bits), 0x8e, 0xc0 | (random.below(8) << 3)];
    case 8:
      return [
        random.pick([0xf2, 0xf3]),
        random.pick([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x6c, 0x6e]),
      ];
    case 9:
      return [
        random.pick([0x0f, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf]),
        random.u8(),
        random.u8(),
        ...immediate(random, 4),
      ];
    case 10:
      return [0x0f, random.pick([0x38, 0x3a]), random.u8(), random.u8(), ...immediate(random, 4), random.u8()];
    case 11:
      return [random.pick([0x70, 0xe0, 0xeb]) + random.below(4), (random.below(64) - 32) & 0xff];
    default: {
      const prefixes = Array.from({ length: random.below(3) }, () => random.pick(PREFIXES));
      const rex = bits === 64 && random.once(2) ? [0x40 | random.below(16)] : [];
      const opcode = random.once(3) ? [0x0f, random.u8()] : [random.u8()];
      return [...prefixes, ...rex, ...opcode, random.u8(), ...immediate(random, random.pick([0, 1, 4]))];
    }
  }
}

/** At least `length` bytes of code. */
export function randomCode(random: Random, length: number, bits: number): Uint8Array {
  if (random.once(4)) return Uint8Array.from({ length }, () => random.u8());
  const code: number[] = [];
  while (code.length < length) code.push(...piece(random, bits));
  return Uint8Array.from(code);
}
