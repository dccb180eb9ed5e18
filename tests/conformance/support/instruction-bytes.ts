/** Random instruction bytes: partly uniform, mostly built like instructions so that every opcode map and prefix rule is met often. */
import type { Random } from './random.ts';

const PREFIXES = [0x66, 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

const prefixes = (random: Random, out: number[], codeSize: number): void => {
  while (out.length < 14 && random.once(out.length === 0 ? 2 : 3)) out.push(random.pick(PREFIXES));
  // Runs of prefixes up to and beyond the length limit.
  if (random.once(200)) for (let n = random.below(15); n > 0; n--) out.push(random.pick(PREFIXES));
  if (random.once(codeSize === 64 ? 3 : 12)) out.push(0x40 | random.below(16));
  if (random.once(40)) out.push(random.pick(PREFIXES));
};

const opcode = (random: Random, out: number[]): void => {
  switch (random.below(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
      out.push(random.u8());
      break;
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
      out.push(0x0f, random.u8());
      break;
    case 9:
    case 10:
      out.push(0x0f, 0x38, random.u8());
      break;
    case 11:
      out.push(0x0f, 0x3a, random.u8());
      break;
    case 12:
      out.push(0xc5, random.u8(), random.u8());
      break;
    case 13:
      out.push(
        0xc4,
        (random.u8() & 0xe0) | (random.once(8) ? random.below(32) : 1 + random.below(3)),
        random.u8(),
        random.u8(),
      );
      break;
    case 14:
      // BMI, where VEX is valid.
      out.push(
        0xc4,
        (random.u8() & 0xe0) | 2 | random.below(2),
        random.u8() & (random.once(8) ? 0xff : 0xfb),
        random.pick([0xf0, 0xf2, 0xf3, 0xf5, 0xf6, 0xf7]),
      );
      break;
    default:
      // Groups whose meaning depends on the whole ModRM byte.
      if (random.once(2))
        out.push(
          0x0f,
          random.pick([0x00, 0x01, 0x18, 0x71, 0x72, 0x73, 0xae, 0xb9, 0xba, 0xc7, 0x20, 0x21, 0x22, 0x23]),
        );
      else
        out.push(
          random.pick([
            0x8f, 0x8c, 0x8e, 0xc6, 0xc7, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xf6, 0xf7, 0xfe, 0xff, 0x62,
          ]),
        );
  }
};

/** Fills `size` bytes at `at`. */
export const randomInstruction = (
  random: Random,
  codeSize: number,
  into: Uint8Array,
  at: number,
  size: number,
): void => {
  const out: number[] = [];
  if (!random.once(8)) {
    prefixes(random, out, codeSize);
    opcode(random, out);
  }
  for (let i = 0; i < size; i++) into[at + i] = i < out.length ? out[i]! : random.u8();
};
