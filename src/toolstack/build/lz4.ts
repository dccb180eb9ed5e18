/**
 * Unpacks the legacy LZ4 frame, as kernels are packed with: a magic number, then blocks that each begin with their packed
 * size and hold up to 8 MiB ("LZ4 Frame Format", legacy frame; "LZ4 Block Format"). Node has no such decoder.
 */
import { viewOf } from '../bytes.ts';

const MAGIC = 0x184c_2102;
const BLOCK = 8 << 20;
/** Blocks of a kernel: 1 GiB unpacked. */
const MAXIMUM_BLOCKS = 128;
const SHORTEST_MATCH = 4;

const damaged = (what: string): RangeError => new RangeError(what);

/** Contents of a legacy frame that ends where `file` ends. Throws RangeError for damaged data. */
export function unpackLz4(file: Uint8Array): Uint8Array {
  const view = viewOf(file);
  if (file.length < 4 || view.getUint32(0, true) !== MAGIC) throw damaged('not a legacy LZ4 frame');
  const blocks: Uint8Array[] = [];
  for (let at = 4; at + 4 <= file.length; ) {
    const size = view.getUint32(at, true);
    at += 4;
    // Frames may follow one another.
    if (size === MAGIC) continue;
    if (at + size > file.length) throw damaged('the data is cut off');
    if (blocks.length >= MAXIMUM_BLOCKS) throw damaged('the data unpacks to more than 1 GiB');
    blocks.push(file.subarray(at, at + size));
    at += size;
  }
  // What is not needed of it is never touched.
  const whole = new Uint8Array(blocks.length * BLOCK);
  let end = 0;
  for (const block of blocks) end += unpackBlock(block, whole.subarray(end, end + BLOCK));
  return whole.subarray(0, end);
}

/** One block: sequences of literals and a match in what was unpacked before; the last has literals only. Bytes written. */
function unpackBlock(block: Uint8Array, output: Uint8Array): number {
  let from = 0;
  let to = 0;
  /** A length of 15 is continued in bytes that are added up to the first below 255. */
  const length = (nibble: number): number => {
    let sum = nibble;
    if (nibble < 15) return sum;
    for (;;) {
      const byte = block[from++];
      if (byte === undefined) throw damaged('the data is cut off');
      sum += byte;
      if (byte < 255) return sum;
    }
  };
  while (from < block.length) {
    const token = block[from++]!;
    const literals = length(token >> 4);
    if (from + literals > block.length) throw damaged('the data is cut off');
    if (to + literals > BLOCK) throw damaged('a block is too long');
    // Most runs are so short that a loop beats a copy of the engine.
    if (literals > 32) output.set(block.subarray(from, from + literals), to);
    else for (let i = 0; i < literals; i++) output[to + i] = block[from + i]!;
    from += literals;
    to += literals;
    if (from === block.length) break;
    if (from + 2 > block.length) throw damaged('the data is cut off');
    const distance = block[from]! | (block[from + 1]! << 8);
    from += 2;
    const match = length(token & 15) + SHORTEST_MATCH;
    if (distance === 0 || distance > to) throw damaged('a match reaches before the beginning');
    if (to + match > BLOCK) throw damaged('a block is too long');
    if (distance >= match && match > 32) output.copyWithin(to, to - distance, to - distance + match);
    // Also right when the match repeats what it is just writing.
    else for (let i = 0; i < match; i++) output[to + i] = output[to + i - distance]!;
    to += match;
  }
  return to;
}
