/**
 * Unpacks the .xz format, as kernels are packed with: one LZMA2 stream per block, optionally behind the x86 branch filter
 * ("The .xz File Format"; "LZMA specification"). Node has no such decoder.
 */
import { viewOf } from '../bytes.ts';
import { LzmaState } from './lzma.ts';

const HEADER_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;
/** Bytes of an integrity check by its number. Only CRC32 (1) is verified. */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const CHECK_CRC32 = 1;

const damaged = (what: string): RangeError => new RangeError(what);

class Reader {
  readonly bytes: Uint8Array;
  at: number;
  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }
  byte(): number {
    const value = this.bytes[this.at++];
    if (value === undefined) throw damaged('the data is cut off');
    return value;
  }
  /** Multibyte integer of the container: seven bits a byte, least significant first. */
  integer(): number {
    let value = 0;
    for (let shift = 0; shift < 63; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw damaged('a number is too long');
  }
}

/** Contents of the first stream of `file`; what follows it is ignored. Throws RangeError for damaged data. */
export function unpackXz(file: Uint8Array): Uint8Array {
  if (HEADER_MAGIC.some((byte, i) => file[i] !== byte) || file.length < 12) throw damaged('not an xz stream');
  const check = file[7]! & 15;
  const reader = new Reader(file, 12);
  const output = new Output();
  while (file[reader.at] !== 0) readBlock(reader, check, output);
  return output.take();
}

/** No kernel is larger; data that claims to be must not take the host's memory. */
const MAXIMUM_OUTPUT = 1 << 30;

/** What was unpacked so far; grows by doubling. */
export class Output {
  bytes = new Uint8Array(1 << 20);
  length = 0;

  reserve(more: number): void {
    if (this.length + more <= this.bytes.length) return;
    if (this.length + more > MAXIMUM_OUTPUT) throw new RangeError('the data unpacks to more than 1 GiB');
    const next = new Uint8Array(Math.max(this.bytes.length * 2, this.length + more));
    next.set(this.bytes.subarray(0, this.length));
    this.bytes = next;
  }

  take(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }
}

function readBlock(reader: Reader, check: number, output: Output): void {
  const start = reader.at;
  const headerEnd = start + (reader.byte() + 1) * 4;
  const flags = reader.byte();
  if (flags & 0x40) reader.integer();
  if (flags & 0x80) reader.integer();
  let branches = false;
  let offset = 0;
  for (let i = 0; i <= (flags & 3); i++) {
    const id = reader.integer();
    const size = reader.integer();
    if (id === FILTER_X86) {
      branches = true;
      if (size === 4) offset = viewOf(reader.bytes).getUint32(reader.at, true);
    } else if (id !== FILTER_LZMA2) throw damaged(`filter 0x${id.toString(16)} is not supported`);
    reader.at += size;
  }
  if (headerEnd > reader.bytes.length) throw damaged('the data is cut off');
  const first = output.length;
  reader.at = unpackLzma2(reader.bytes, headerEnd, output);
  // Padding brings the block to a multiple of four, counted from its start.
  reader.at += (4 - ((reader.at - start) & 3)) & 3;
  const block = output.bytes.subarray(first, output.length);
  if (branches) undoX86(block, offset);
  if (check === CHECK_CRC32) {
    if (reader.at + 4 > reader.bytes.length) throw damaged('the data is cut off');
    if (viewOf(reader.bytes).getUint32(reader.at, true) !== crc32(block)) throw damaged('the checksum is wrong');
  }
  reader.at += CHECK_SIZES[check]!;
  if (reader.at > reader.bytes.length) throw damaged('the data is cut off');
}

/** Chunks until the end marker. Returns where the next byte of the container is. */
function unpackLzma2(file: Uint8Array, start: number, output: Output): number {
  const reader = new Reader(file, start);
  const state = new LzmaState();
  let dictionary = output.length;
  for (;;) {
    const control = reader.byte();
    if (control === 0) return reader.at;
    if (control === 1 || control >= 0xe0) dictionary = output.length;
    if (control < 0x80) {
      if (control > 2) throw damaged('a chunk has an unknown type');
      const size = ((reader.byte() << 8) | reader.byte()) + 1;
      if (reader.at + size > file.length) throw damaged('the data is cut off');
      output.reserve(size);
      output.bytes.set(file.subarray(reader.at, reader.at + size), output.length);
      output.length += size;
      reader.at += size;
      continue;
    }
    const size = (((control & 0x1f) << 16) | (reader.byte() << 8) | reader.byte()) + 1;
    const packed = ((reader.byte() << 8) | reader.byte()) + 1;
    const reset = (control >> 5) & 3;
    if (reset >= 2) state.setProperties(reader.byte());
    if (reset >= 1) state.reset();
    if (reader.at + packed > file.length) throw damaged('the data is cut off');
    output.reserve(size);
    state.decode(file.subarray(reader.at, reader.at + packed), output.bytes, output.length, size, dictionary);
    output.length += size;
    reader.at += packed;
  }
}

/** Whether the last bytes with an opcode's look allow one here, and how far in the displacement the nearest of them is. */
const BRANCH_ALLOWED = [true, true, true, false, true, false, false, false];
const BRANCH_DISTANCE = [0, 1, 2, 2, 3, 3, 3, 3];
const extreme = (byte: number): boolean => byte === 0 || byte === 0xff;

/**
 * Turns the absolute targets of CALL and JMP back into relative ones, in place. The encoder changes displacements whose
 * top byte is 00 or FF; `history` has a bit for each of the last bytes that looked like an opcode, as such a byte may be part of
 * another displacement.
 */
function undoX86(code: Uint8Array, offset: number): void {
  const view = viewOf(code);
  let history = 0;
  let last = -5;
  for (let at = 0; at + 5 <= code.length; at++) {
    if ((code[at]! & 0xfe) !== 0xe8) continue;
    if (at - last > 5) history = 0;
    else for (let i = last; i < at; i++) history = (history & 0x77) << 1;
    last = at;
    const top = extreme(code[at + 4]!);
    if (!top || history >> 1 >= 16 || !BRANCH_ALLOWED[(history >> 1) & 7]) {
      history |= top ? 0x11 : 1;
      continue;
    }
    let source = view.getUint32(at + 1, true);
    let target = (source - (offset + at + 5)) >>> 0;
    while (history !== 0) {
      const bits = BRANCH_DISTANCE[history >> 1]! * 8;
      if (!extreme((target >>> (24 - bits)) & 0xff)) break;
      source = (target ^ (2 ** (32 - bits) - 1)) >>> 0;
      target = (source - (offset + at + 5)) >>> 0;
    }
    // The top byte is the sign, bit 24.
    view.setInt32(at + 1, (target << 7) >> 7, true);
    at += 4;
    history = 0;
  }
}

let table: Uint32Array | undefined;

function crc32(bytes: Uint8Array): number {
  table ??= Uint32Array.from({ length: 256 }, (_, n) => {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
    return c;
  });
  let crc = ~0;
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]!) & 255]! ^ (crc >>> 8);
  return ~crc >>> 0;
}
