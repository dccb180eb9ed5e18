/** Makes small ELF images for tests of loaders. */
export interface ElfPart {
  readonly type?: number;
  readonly paddr?: number;
  readonly vaddr?: bigint;
  readonly data: Uint8Array;
  readonly memorySize?: number;
}

export interface ElfRecipe {
  readonly bits?: 32 | 64;
  readonly machine?: number;
  readonly type?: number;
  readonly entry?: bigint;
  readonly segments?: readonly ElfPart[];
  /** Contents of SHT_NOTE sections. */
  readonly noteSections?: readonly Uint8Array[];
  /** Sections behind these; names need a section with the text of them, the last one. */
  readonly sections?: readonly SectionPart[];
}

export interface SectionPart {
  /** Offset in the table of names. */
  readonly name?: number;
  readonly type: number;
  readonly link?: number;
  readonly data: Uint8Array;
}

/** A note with a 4-byte padded name and descriptor. */
export function makeNote(owner: string, type: number, data: Uint8Array): Uint8Array {
  const name = Uint8Array.from(`${owner}\0`, (c) => c.charCodeAt(0));
  const pad = (n: number): number => Math.ceil(n / 4) * 4;
  const bytes = new Uint8Array(12 + pad(name.length) + pad(data.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name.length, true);
  view.setUint32(4, data.length, true);
  view.setUint32(8, type, true);
  bytes.set(name, 12);
  bytes.set(data, 12 + pad(name.length));
  return bytes;
}

export const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
export const u64 = (value: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(value).buffer);

export function makeElf(recipe: ElfRecipe = {}): Uint8Array {
  const bits = recipe.bits ?? 32;
  const segments = recipe.segments ?? [];
  const sections: readonly SectionPart[] = [
    ...(recipe.noteSections ?? []).map((data) => ({ type: 7, data })),
    ...(recipe.sections ?? []),
  ];
  const [header, phSize, shSize] = bits === 32 ? [52, 32, 40] : [64, 56, 64];
  let at = header + segments.length * phSize + sections.length * shSize;
  const contents = [...segments.map((segment) => segment.data), ...sections.map((section) => section.data)];
  const offsets = contents.map((data) => {
    const offset = at;
    at += data.length;
    return offset;
  });
  const bytes = new Uint8Array(at);
  const view = new DataView(bytes.buffer);
  const word = (offset: number, value: number | bigint): void =>
    bits === 32 ? view.setUint32(offset, Number(value), true) : view.setBigUint64(offset, BigInt(value), true);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, bits === 32 ? 1 : 2, 1, 1]);
  view.setUint16(16, recipe.type ?? 2, true);
  view.setUint16(18, recipe.machine ?? (bits === 32 ? 3 : 62), true);
  view.setUint32(20, 1, true);
  word(24, recipe.entry ?? BigInt(segments[0]?.paddr ?? 0));
  const pointer = bits === 32 ? 4 : 8;
  word(24 + pointer, segments.length > 0 ? header : 0);
  const sectionTable = header + segments.length * phSize;
  word(24 + 2 * pointer, sections.length > 0 ? sectionTable : 0);
  const counts = 24 + 3 * pointer + 4;
  view.setUint16(counts, header, true);
  view.setUint16(counts + 2, phSize, true);
  view.setUint16(counts + 4, segments.length, true);
  view.setUint16(counts + 6, shSize, true);
  view.setUint16(counts + 8, sections.length, true);
  contents.forEach((data, i) => void bytes.set(data, offsets[i]!));
  segments.forEach((segment, i) => {
    const ph = header + i * phSize;
    const paddr = segment.paddr ?? 0;
    const size = segment.memorySize ?? segment.data.length;
    view.setUint32(ph, segment.type ?? 1, true);
    const fields = [offsets[i]!, segment.vaddr ?? paddr, paddr, segment.data.length, size];
    const start = bits === 32 ? ph + 4 : ph + 8;
    fields.forEach((value, k) => void word(start + k * pointer, value));
    view.setUint32(bits === 32 ? ph + 24 : ph + 4, 7, true);
  });
  if (recipe.sections !== undefined) view.setUint16(counts + 10, sections.length - 1, true);
  sections.forEach(({ name, type, link, data }, i) => {
    const sh = sectionTable + i * shSize;
    view.setUint32(sh, name ?? 0, true);
    view.setUint32(sh + 4, type, true);
    view.setUint32(sh + (bits === 32 ? 24 : 40), link ?? 0, true);
    word(bits === 32 ? sh + 16 : sh + 24, offsets[segments.length + i]!);
    word(bits === 32 ? sh + 20 : sh + 32, data.length);
  });
  return bytes;
}

/** A PVH kernel at 1 MiB holding `code`, with its note. */
export const makePvhKernel = (code: Uint8Array = Uint8Array.of(0xf4), bits: 32 | 64 = 32): Uint8Array =>
  makeElf({
    bits,
    segments: [
      { paddr: 0x100000, data: code, memorySize: Math.max(code.length, 0x1000) },
      { type: 4, paddr: 0x100000, data: makeNote('Xen', 18, u32(0x100000)) },
    ],
  });

/** Notes every PV kernel has; `more` come first. */
export function makePvKernel(bits: 32 | 64, recipe: PvRecipe = {}): Uint8Array {
  const text = (type: number, value: string): Uint8Array =>
    makeNote(
      'Xen',
      type,
      Uint8Array.from(`${value}\0`, (c) => c.charCodeAt(0)),
    );
  const notes = [
    ...(recipe.notes ?? []),
    ...(recipe.bare ? [] : [text(8, 'generic'), text(5, 'xen-3.0'), text(9, 'yes')]),
  ];
  const note = Uint8Array.from(notes.flatMap((part) => [...part]));
  const paddr = recipe.paddr ?? 0x100000;
  return makeElf({
    bits,
    entry: recipe.entry ?? BigInt(paddr),
    segments: [
      { paddr, data: recipe.code ?? Uint8Array.of(0x0f, 0x0b), memorySize: recipe.memorySize ?? 0x3000 },
      ...(note.length > 0 ? [{ type: 4, paddr, data: note }] : []),
    ],
    ...(recipe.sections === undefined ? {} : { sections: recipe.sections }),
  });
}

export interface PvRecipe {
  readonly notes?: readonly Uint8Array[];
  /** Without the notes every PV kernel has. */
  readonly bare?: boolean;
  readonly paddr?: number;
  readonly entry?: bigint;
  readonly code?: Uint8Array;
  readonly memorySize?: number;
  readonly sections?: readonly SectionPart[];
}
