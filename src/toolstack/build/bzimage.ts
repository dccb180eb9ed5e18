/**
 * Linux's bzImage container: a real-mode setup part, then the protected-mode part, inside which `payload_offset` and
 * `payload_length` name the compressed ELF kernel ("The Linux/x86 Boot Protocol", fields of protocol 2.08 and later).
 */
import { BadInput } from '../bad-input.ts';
import { isElf } from './elf.ts';
import { unpackLz4 } from './lz4.ts';
import { unpackXz } from './xz.ts';

export type Compression = 'gzip' | 'zstd' | 'xz' | 'lzma' | 'bzip2' | 'lz4' | 'lzo';
/** Unpacks one format, or answers undefined when the host has no means for it. Throws when the data is damaged. */
export type Decompress = (format: Compression, data: Uint8Array) => Uint8Array | undefined;

export type BzImageProblem = 'bzimage-too-old' | 'bzimage-truncated' | 'bzimage-compression' | 'bzimage-damaged';

const SETUP_SECTS = 0x1f1;
const BOOT_FLAG = 0x1fe;
const HEADER = 0x202;
const VERSION = 0x206;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;

const MAGICS: readonly (readonly [Compression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['lzma', [0x5d, 0x00, 0x00]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['lz4', [0x02, 0x21, 0x4c, 0x18]],
  ['lzo', [0x89, 0x4c, 0x5a, 0x4f]],
];

/** Format of compressed data by its first bytes. */
export const compressionOf = (data: Uint8Array): Compression | undefined =>
  MAGICS.find(([, magic]) => magic.every((byte, i) => data[i] === byte))?.[0];

export function isBzImage(file: Uint8Array): boolean {
  return (
    file.length > PAYLOAD_LENGTH + 4 &&
    file[BOOT_FLAG] === 0x55 &&
    file[BOOT_FLAG + 1] === 0xaa &&
    String.fromCharCode(...file.subarray(HEADER, HEADER + 4)) === 'HdrS'
  );
}

/** The ELF kernel inside a bzImage. Errors in order: protocol below 2.08, payload outside the file, unsupported or damaged payload. */
export function unpackBzImage(file: Uint8Array, decompress: Decompress): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const version = view.getUint16(VERSION, true);
  if (version < 0x208) {
    throw new BadInput<BzImageProblem>(
      'bzimage-too-old',
      `bzImage of boot protocol ${version >> 8}.${version & 255}, which has no payload fields (2.8 or later is needed)`,
    );
  }
  // Zero stands for four sectors, as in the first protocol.
  const setup = ((file[SETUP_SECTS] || 4) + 1) * 512;
  const start = setup + view.getUint32(PAYLOAD_OFFSET, true);
  const length = view.getUint32(PAYLOAD_LENGTH, true);
  if (start + length > file.length) {
    throw new BadInput<BzImageProblem>(
      'bzimage-truncated',
      `bzImage is cut off: its payload ends at ${start + length}, the file has ${file.length} bytes`,
    );
  }
  const payload = file.subarray(start, start + length);
  if (isElf(payload)) return payload;
  return unpack(payload, decompress);
}

/**
 * Unpacks a kernel by its magic. Behind every format but gzip, which ends in it anyway, the kernel build appends the
 * unpacked size in four bytes.
 */
export function unpack(payload: Uint8Array, decompress: Decompress): Uint8Array {
  const format = compressionOf(payload);
  if (format === undefined) {
    throw new BadInput<BzImageProblem>('bzimage-compression', 'kernel payload is compressed in an unknown format');
  }
  const attempt = (data: Uint8Array): Uint8Array | undefined => {
    try {
      if (format === 'xz') return unpackXz(data);
      return format === 'lz4' ? unpackLz4(data) : decompress(format, data);
    } catch (error) {
      throw new BadInput<BzImageProblem>(
        'bzimage-damaged',
        `kernel payload is not valid ${format} data: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  };
  const unpacked = attempt(format === 'gzip' ? payload : payload.subarray(0, payload.length - 4));
  if (unpacked === undefined) {
    throw new BadInput<BzImageProblem>(
      'bzimage-compression',
      `kernel payload is compressed with ${format}, which is not supported here; unpack it first (scripts/extract-vmlinux of the kernel tree)`,
    );
  }
  return unpacked;
}
