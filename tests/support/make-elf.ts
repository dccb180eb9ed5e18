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
  const sections = recipe.noteSections ?? [];
  const [header, phSize, shSize] = bits === 32 ? [52, 32, 40] : [64, 56, 64];
  let at = header + segments.length * phSize + sections.length * shSize;
  const contents = [...segments.map((segment) => segment.data), ...sections];
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
  sections.forEach((data, i) => {
    const sh = sectionTable + i * shSize;
    view.setUint32(sh + 4, 7, true);
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
