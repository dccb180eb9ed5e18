/** Section headers of an ELF image: hints only, so that a damaged table gives none ("ELF-64 Object File Format"). */
export const SHT_SYMTAB = 2;
export const SHT_STRTAB = 3;
export const SHT_NOTE = 7;
export const SHT_NOBITS = 8;

export interface ElfSection {
  /** Empty when the table of names is damaged. */
  readonly name: string;
  readonly type: number;
  /** Index of a section this one refers to. */
  readonly link: number;
  /** The section header as it is in the file. */
  readonly header: Uint8Array;
  /** Contents; empty when they are not in the file or do not lie inside it. */
  readonly data: Uint8Array;
}

export interface SectionTable {
  readonly bits: 32 | 64;
  /** File offset of the first header, bytes of each, their number, and which one holds the names. */
  readonly offset: bigint;
  readonly size: number;
  readonly count: number;
  readonly names: number;
}

const MINIMUM = { 32: 40, 64: 64 } as const;

/** Every section in order, the undefined section 0 included, so that an index is a position. */
export function readSections(file: Uint8Array, table: SectionTable): readonly ElfSection[] {
  const { bits, offset, size, count } = table;
  if (offset === 0n || size < MINIMUM[bits] || offset + BigInt(size * count) > BigInt(file.length)) return [];
  const raw = Array.from({ length: count }, (_, i) =>
    rawSection(file, file.subarray(Number(offset) + i * size, Number(offset) + (i + 1) * size), bits),
  );
  const names = raw[table.names]?.data ?? new Uint8Array(0);
  return raw.map(({ nameAt, ...section }) => ({ name: textAt(names, nameAt), ...section }));
}

function rawSection(
  file: Uint8Array,
  header: Uint8Array,
  bits: 32 | 64,
): Omit<ElfSection, 'name'> & { readonly nameAt: number } {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const [at, length] =
    bits === 32
      ? [BigInt(view.getUint32(16, true)), BigInt(view.getUint32(20, true))]
      : [view.getBigUint64(24, true), view.getBigUint64(32, true)];
  const type = view.getUint32(4, true);
  const present = type !== SHT_NOBITS && at + length <= BigInt(file.length);
  return {
    nameAt: view.getUint32(0, true),
    type,
    link: view.getUint32(bits === 32 ? 24 : 40, true),
    header,
    data: present ? file.subarray(Number(at), Number(at + length)) : file.subarray(0, 0),
  };
}

function textAt(bytes: Uint8Array, at: number): string {
  const end = bytes.indexOf(0, at);
  return at < bytes.length && end >= 0 ? String.fromCharCode(...bytes.subarray(at, Math.min(end, at + 256))) : '';
}
