/**
 * The symbol table behind a kernel that asks for it (note BSD_SYMTAB): a 32-bit size, then an ELF header with three section headers (undefined,
 * symbols, strings), then both tables. Offsets in the headers count from the ELF header (`xen:common/libelf/libelf-loader.c#elf_load_bsdsyms`).
 */
import { alignUp, viewOf } from '../bytes.ts';
import type { ElfImage } from './elf.ts';
import { SHT_STRTAB, SHT_SYMTAB } from './elf-sections.ts';

/** The headers take the room of 64-bit ones whatever the class; what 32-bit ones leave is zero. */
const HEADER_ROOM = 64;
const SECTIONS = 3;
const SIZE_FIELD = 4;

interface Fields {
  readonly headerSize: number;
  readonly sectionSize: number;
  /** Offsets in the ELF header: program and section header tables, e_ehsize. */
  readonly phoff: number;
  readonly shoff: number;
  readonly ehsize: number;
  /** Offsets in a section header. */
  readonly offset: number;
  readonly link: number;
  readonly word: 4 | 8;
}
const FIELDS: Readonly<Record<32 | 64, Fields>> = {
  32: { headerSize: 52, sectionSize: 40, phoff: 28, shoff: 32, ehsize: 40, offset: 16, link: 24, word: 4 },
  64: { headerSize: 64, sectionSize: 64, phoff: 32, shoff: 40, ehsize: 52, offset: 24, link: 40, word: 8 },
};

/** Bytes to put at `start`, the first aligned address behind the image; undefined when the file has no symbols. */
export function symbolTable(elf: ElfImage): { readonly start: number; readonly bytes: Uint8Array } | undefined {
  const sections = elf.sections();
  const symbols = sections.find(({ type, data }) => type === SHT_SYMTAB && data.length > 0);
  const strings = symbols && sections[symbols.link];
  if (symbols === undefined || strings === undefined || strings.type !== SHT_STRTAB) return undefined;

  const fields = FIELDS[elf.bits];
  const symbolsAt = alignUp(SIZE_FIELD + HEADER_ROOM + SECTIONS * fields.sectionSize, fields.word);
  const stringsAt = alignUp(symbolsAt + symbols.data.length, fields.word);
  const bytes = new Uint8Array(alignUp(stringsAt + strings.data.length, fields.word));
  const view = viewOf(bytes);
  const word = (at: number, value: number): void =>
    fields.word === 4 ? view.setUint32(at, value, true) : view.setBigUint64(at, BigInt(value), true);

  view.setUint32(0, stringsAt + strings.data.length - SIZE_FIELD, true);
  bytes.set(elf.header.subarray(0, fields.headerSize), SIZE_FIELD);
  view.setUint32(SIZE_FIELD + 20, 1, true);
  word(SIZE_FIELD + fields.phoff, 0);
  word(SIZE_FIELD + fields.shoff, HEADER_ROOM);
  const sizes = [fields.headerSize, 0, 0, fields.sectionSize, SECTIONS, 0];
  sizes.forEach((value, i) => void view.setUint16(SIZE_FIELD + fields.ehsize + 2 * i, value, true));

  const put = (index: number, header: Uint8Array, offset: number): number => {
    const at = SIZE_FIELD + HEADER_ROOM + index * fields.sectionSize;
    bytes.set(header.subarray(0, fields.sectionSize), at);
    word(at + fields.offset, offset - SIZE_FIELD);
    return at;
  };
  const at = put(1, symbols.header, symbolsAt);
  view.setUint32(at + fields.link, 2, true);
  put(2, strings.header, stringsAt);
  bytes.set(symbols.data, symbolsAt);
  bytes.set(strings.data, stringsAt);
  return { start: alignUp(elf.end, fields.word), bytes };
}
