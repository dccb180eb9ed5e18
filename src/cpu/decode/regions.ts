/** Translated regions: where they are in the interpreter's table, what leads to them, and which go when there is no room. */
import { REGION_SLOTS } from '../interpret/slots.ts';
import type { RegionCode } from '../translate/discover.ts';
import type { CodePage, Region } from './page.ts';

const PAGE = 4096;
/** WebAssembly of live regions, in bytes of their modules; compiled, it takes some ten times that. */
const REGION_BYTES = 8 << 20;
/** The second word of a table's entry counts arrivals, or names a region with this bit. */
export const IS_REGION = 0x8000_0000;

/** So many of a page's most frequent places become entries of a region with jumps to unknown places, if they met as large a part of its arrivals. */
export const MOST_FREQUENT = 12;

/** Makes regions; a slot is a place in the interpreter's table. */
export interface RegionCompiler {
  /** Compiles a region into a slot; size of the module in bytes, and offsets in the page where the region can be entered. */
  compile(slot: number, code: RegionCode, mode: number): { readonly size: number; readonly entries: readonly number[] };
  /** Nothing leads to a slot any more: what is in it can go. */
  release(slot: number): void;
}

/** What happened so far. */
export interface RegionCounts {
  /** Regions made, bytes of their modules, and regions dropped: hit by a store, or to make room. */
  regions: number;
  regionBytes: number;
  regionsHit: number;
  regionsEvicted: number;
}

/** Where the code of a region is. */
export interface RegionPlace {
  readonly page: CodePage;
  readonly table: number;
  readonly mode: number;
  /** Offset in the page of the place that was asked for. */
  readonly entry: number;
}

export class Regions {
  private readonly compiler: RegionCompiler;
  private readonly words: Uint32Array;
  private readonly counts: RegionCounts;
  /** Oldest first. */
  private readonly live = new Map<number, Region>();
  private readonly freeSlots: number[] = [];
  /** Bytes of the modules of live regions. */
  bytes = 0;

  constructor(compiler: RegionCompiler, words: Uint32Array, counts: RegionCounts) {
    this.compiler = compiler;
    this.words = words;
    this.counts = counts;
    for (let slot = REGION_SLOTS - 1; slot >= 0; slot--) this.freeSlots.push(slot);
  }

  get size(): number {
    return this.live.size;
  }

  /** Compiles a region and makes its entries lead to it. */
  add(code: RegionCode, { page, table, mode, entry }: RegionPlace): void {
    if (this.freeSlots.length === 0 || this.bytes >= REGION_BYTES) this.evict();
    const slot = this.freeSlots.pop()!;
    const ranges: number[] = [];
    for (const { offset, end } of code.blocks) {
      page.cover(offset, end);
      if (ranges[ranges.length - 1] === offset) ranges[ranges.length - 1] = end;
      else ranges.push(offset, end);
    }
    const { size, entries } = this.compiler.compile(slot, code, mode);
    const places: number[] = [];
    for (const at of entries) {
      const word = (table + at * 8 + 4) >>> 2;
      // Where a region begins already, that one is the better: its loops were found from there.
      if (at !== entry && this.words[word] >= IS_REGION) continue;
      this.words[word] = (IS_REGION | slot) >>> 0;
      places.push(word);
    }
    const region: Region = { slot, page, table, places, ranges, bytes: size };
    this.live.set(slot, region);
    page.regions.add(region);
    this.bytes += size;
    this.counts.regions++;
    this.counts.regionBytes += size;
  }

  /** Drops the older half of all regions. */
  private evict(): void {
    const wanted = this.live.size >> 1;
    for (const region of this.live.values()) {
      if (this.live.size <= wanted) break;
      this.counts.regionsEvicted++;
      this.release(region);
    }
  }

  /** Nothing leads to a region any more; one that is being executed goes on until it leaves. */
  release(region: Region): void {
    const { slot, page, places, bytes } = region;
    for (const place of places) this.words[place] = 0;
    page.regions.delete(region);
    this.live.delete(slot);
    this.bytes -= bytes;
    this.freeSlots.push(slot);
    this.compiler.release(slot);
  }

  releaseAll(): void {
    for (const region of this.live.values()) this.release(region);
  }
}

/**
 * Offsets where control arrived often enough to be worth a place in a region that jumps to who knows where; the most frequent first.
 * `before`: the page's table at the beginning of the time that counts.
 */
export function frequentPlaces(
  words: Uint32Array,
  table: number,
  threshold: number,
  before: Uint32Array | undefined,
): number[] {
  const found: { offset: number; count: number }[] = [];
  for (let offset = 0; offset < PAGE; offset++) {
    const arrivals = words[(table + offset * 8 + 4) >>> 2];
    if (arrivals >= IS_REGION) continue;
    const earlier = before?.[offset * 2 + 1] ?? 0;
    const count = arrivals >= earlier ? arrivals - earlier : arrivals;
    if (count >= threshold / MOST_FREQUENT) found.push({ offset, count });
  }
  found.sort((a, b) => b.count - a.count);
  return found.slice(0, MOST_FREQUENT).map(({ offset }) => offset);
}
