/**
 * Reader of ELF images, both classes, x86 only (System V ABI, chapters 4 and 5; "ELF-64 Object File Format").
 *
 * Addresses and sizes of program headers are checked here once, so that everything behind {@link readElf} may take
 * slices of the file without looking again.
 */
import { BadInput } from '../bad-input.ts';
import { type ElfSection, readSections } from './elf-sections.ts';

export const EM_386 = 3;
export const EM_X86_64 = 62;
export const ET_EXEC = 2;
export const ET_DYN = 3;
export const PT_LOAD = 1;
export const PT_NOTE = 4;

/** Why a file is not an image that can be loaded, in the order checked. */
export type ElfProblem =
  | 'not-elf'
  | 'truncated-header'
  | 'wrong-class'
  | 'wrong-byte-order'
  | 'wrong-type'
  | 'wrong-machine'
  | 'truncated-program-headers'
  | 'truncated-segment'
  | 'oversized-segment'
  | 'no-loadable-segment'
  | 'overlapping-segments';

export interface ElfSegment {
  readonly type: number;
  readonly flags: number;
  /** Virtual address, 64-bit. */
  readonly vaddr: bigint;
  /** Physical address in bytes, below 2^52. */
  readonly paddr: number;
  /** Bytes in memory; those behind {@link data} are zero. */
  readonly memorySize: number;
  /** Bytes in the file: a view, not a copy. */
  readonly data: Uint8Array;
}

export interface ElfImage {
  readonly bits: 32 | 64;
  readonly machine: number;
  /** e_entry, 64-bit. */
  readonly entry: bigint;
  readonly segments: readonly ElfSegment[];
  /** PT_LOAD segments that occupy memory, in file order. */
  readonly loadable: readonly ElfSegment[];
  /** Lowest physical address loaded and the first one behind the image. */
  readonly start: number;
  readonly end: number;
  /** Sections in order; none when their table is damaged. */
  sections(): readonly ElfSection[];
  /** The ELF header as it is in the file. */
  readonly header: Uint8Array;
}

const PHYSICAL_LIMIT = 2 ** 52;
const fail = (problem: ElfProblem, message: string): never => {
  throw new BadInput<ElfProblem>(problem, message);
};

export const isElf = (file: Uint8Array): boolean =>
  file.length >= 4 && file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;

interface Fields {
  readonly headerSize: number;
  readonly entry: number;
  readonly programHeaders: number;
  readonly sectionHeaders: number;
  readonly phentsize: number;
  readonly shentsize: number;
  readonly phMinimum: number;
}

const FIELDS_32: Fields = {
  headerSize: 52,
  entry: 24,
  programHeaders: 28,
  sectionHeaders: 32,
  phentsize: 42,
  shentsize: 46,
  phMinimum: 32,
};
const FIELDS_64: Fields = {
  headerSize: 64,
  entry: 24,
  programHeaders: 32,
  sectionHeaders: 40,
  phentsize: 54,
  shentsize: 58,
  phMinimum: 56,
};

/** A program header as found, before any check. */
interface RawSegment {
  readonly type: number;
  readonly flags: number;
  readonly offset: bigint;
  readonly vaddr: bigint;
  readonly paddr: bigint;
  readonly fileSize: bigint;
  readonly memorySize: bigint;
}

/** Reads and checks an image. Throws {@link BadInput} with an {@link ElfProblem}; checks are in that order. */
export function readElf(file: Uint8Array): ElfImage {
  if (!isElf(file)) fail('not-elf', 'not an ELF image');
  if (file.length < 16) fail('truncated-header', `ELF header is cut off after ${file.length} bytes`);
  const ident = file[4]!;
  if (ident !== 1 && ident !== 2) fail('wrong-class', `ELF class ${ident} is neither 32-bit nor 64-bit`);
  if (file[5] !== 1) fail('wrong-byte-order', 'ELF image is not little-endian');
  const bits = ident === 1 ? 32 : 64;
  const fields = bits === 32 ? FIELDS_32 : FIELDS_64;
  if (file.length < fields.headerSize) {
    fail('truncated-header', `ELF header is cut off: ${file.length} of ${fields.headerSize} bytes`);
  }
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const word = (at: number): bigint => (bits === 32 ? BigInt(view.getUint32(at, true)) : view.getBigUint64(at, true));

  const type = view.getUint16(16, true);
  if (type !== ET_EXEC && type !== ET_DYN) {
    fail('wrong-type', type === 1 ? 'an object file that was not linked' : `ELF type ${type} is not an executable`);
  }
  const machine = view.getUint16(18, true);
  if (machine !== EM_386 && machine !== EM_X86_64) {
    fail('wrong-machine', `built for ${machineName(machine)}, not for x86`);
  }

  const segments = readSegments(file, view, bits, fields, word(fields.programHeaders));
  const loadable = segments.filter((segment) => segment.type === PT_LOAD && segment.memorySize > 0);
  if (loadable.length === 0) fail('no-loadable-segment', 'ELF image has no loadable segment');
  const sorted = [...loadable].sort((a, b) => a.paddr - b.paddr);
  for (let i = 1; i < sorted.length; i++) {
    const below = sorted[i - 1]!;
    if (below.paddr + below.memorySize > sorted[i]!.paddr) {
      fail('overlapping-segments', `loadable segments overlap at ${hex(sorted[i]!.paddr)}`);
    }
  }
  const last = sorted[sorted.length - 1]!;
  return {
    bits,
    machine,
    entry: word(fields.entry),
    segments,
    loadable,
    start: sorted[0]!.paddr,
    end: last.paddr + last.memorySize,
    sections: () =>
      readSections(file, {
        bits,
        offset: word(fields.sectionHeaders),
        size: view.getUint16(fields.shentsize, true),
        count: view.getUint16(fields.shentsize + 2, true),
        names: view.getUint16(fields.shentsize + 4, true),
      }),
    header: file.subarray(0, fields.headerSize),
  };
}

function readSegments(file: Uint8Array, view: DataView, bits: 32 | 64, fields: Fields, table: bigint): ElfSegment[] {
  const size = view.getUint16(fields.phentsize, true);
  const count = view.getUint16(fields.phentsize + 2, true);
  if (count === 0) return [];
  if (size < fields.phMinimum || table + BigInt(size * count) > BigInt(file.length)) {
    fail(
      'truncated-program-headers',
      `${count} program headers at ${hex(table)} do not fit the file of ${file.length} bytes`,
    );
  }
  const segments: ElfSegment[] = [];
  for (let i = 0; i < count; i++) {
    const at = Number(table) + i * size;
    segments.push(checkSegment(file, i, bits === 32 ? rawSegment32(view, at) : rawSegment64(view, at)));
  }
  return segments;
}

const rawSegment32 = (view: DataView, at: number): RawSegment => {
  const word = (offset: number): bigint => BigInt(view.getUint32(at + offset, true));
  return {
    type: view.getUint32(at, true),
    flags: view.getUint32(at + 24, true),
    offset: word(4),
    vaddr: word(8),
    paddr: word(12),
    fileSize: word(16),
    memorySize: word(20),
  };
};

const rawSegment64 = (view: DataView, at: number): RawSegment => {
  const word = (offset: number): bigint => view.getBigUint64(at + offset, true);
  return {
    type: view.getUint32(at, true),
    flags: view.getUint32(at + 4, true),
    offset: word(8),
    vaddr: word(16),
    paddr: word(24),
    fileSize: word(32),
    memorySize: word(40),
  };
};

/** Only PT_LOAD and PT_NOTE are used; others are kept with whatever part of them the file has. */
function checkSegment(file: Uint8Array, index: number, raw: RawSegment): ElfSegment {
  const used = raw.type === PT_LOAD || raw.type === PT_NOTE;
  const inFile = raw.offset + raw.fileSize <= BigInt(file.length);
  if (used && !inFile) {
    fail(
      'truncated-segment',
      `segment ${index} needs ${raw.fileSize} bytes at ${hex(raw.offset)}, the file has ${file.length}`,
    );
  }
  if (raw.type === PT_LOAD) {
    if (raw.fileSize > raw.memorySize)
      fail('oversized-segment', `segment ${index} is larger in the file than in memory`);
    if (raw.paddr + raw.memorySize > BigInt(PHYSICAL_LIMIT)) {
      fail(
        'oversized-segment',
        `segment ${index} (${raw.memorySize} bytes at ${hex(raw.paddr)}) lies outside the physical address space`,
      );
    }
  }
  const at = used ? Number(raw.offset) : 0;
  return {
    type: raw.type,
    flags: raw.flags,
    vaddr: raw.vaddr,
    paddr: Number(raw.paddr),
    memorySize: Number(raw.memorySize),
    data: used ? file.subarray(at, at + Number(raw.fileSize)) : file.subarray(0, 0),
  };
}

const MACHINES: Readonly<Record<number, string>> = {
  8: 'MIPS',
  20: 'PowerPC',
  21: '64-bit PowerPC',
  22: 'S/390',
  40: 'Arm',
  50: 'Itanium',
  183: 'AArch64',
  243: 'RISC-V',
};
const machineName = (machine: number): string => MACHINES[machine] ?? `ELF machine ${machine}`;
const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
