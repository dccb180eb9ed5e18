/** From a file to something with an entry point: ELF directly, or the ELF inside a compressed file or bzImage. */
import { BadInput } from '../bad-input.ts';
import { compressionOf, type Decompress, isBzImage, unpack, unpackBzImage } from './bzimage.ts';
import { type ElfImage, isElf, readElf } from './elf.ts';
import { pvhEntry, readXenNotes, type XenNote } from './notes.ts';

export interface Kernel {
  readonly elf: ElfImage;
  readonly notes: readonly XenNote[];
  /** Physical PVH entry point, or undefined. */
  readonly pvhEntry: number | undefined;
}

/** Opens an image of any supported container. Throws {@link BadInput}. */
export function openKernel(file: Uint8Array, decompress: Decompress): Kernel {
  if (file.length === 0) throw new BadInput('empty', 'the file is empty');
  const elf = readElf(contentOf(file, decompress));
  const notes = readXenNotes(elf);
  return { elf, notes, pvhEntry: pvhEntry(notes) };
}

function contentOf(file: Uint8Array, decompress: Decompress): Uint8Array {
  if (isElf(file)) return file;
  if (isBzImage(file)) return unpackBzImage(file, decompress);
  return compressionOf(file) === 'gzip' ? unpack(file, decompress) : file;
}

/** What to tell about the Xen notes of an image that lacks the one looked for. */
export function describeNotes(notes: readonly XenNote[]): string {
  if (notes.length === 0) return 'it has no Xen notes at all';
  return `its Xen notes are ${[...new Set(notes.map((note) => note.name))].join(', ')}`;
}
