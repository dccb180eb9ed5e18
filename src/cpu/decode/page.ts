/** What the code cache knows of one page of host memory: which of its bytes were decoded or translated, and into what. */

const PAGE = 4096;

/** Translated code that begins at a place of a page. */
export interface Region {
  /** Number in the interpreter's table of regions. */
  readonly slot: number;
  readonly page: CodePage;
  /** Record table of the page and mode it begins in, and the words (positions of 32 bits in linear memory) that lead to it. */
  readonly table: number;
  readonly places: readonly number[];
  /** Pairs from, to: offsets in the page of the bytes it was made from. */
  readonly ranges: readonly number[];
  /** Size of its module in bytes. */
  readonly bytes: number;
}

/** An instruction whose bytes lie in two pages. */
export interface CrossingCode {
  readonly second: number;
  readonly record: number;
}

export class CodePage {
  readonly host: number;
  /** Record tables by mode key. */
  readonly tables = new Map<number, number>();
  readonly regions = new Set<Region>();
  /** By mode key * 4096 + offset. */
  readonly crossing = new Map<number, CrossingCode>();
  /** Tables as they were when a place became hot that jumps to who knows where; by the same key. */
  readonly arrivals = new Map<number, Uint32Array>();
  /** Pages whose last instruction reaches into this one. */
  readonly reachedFrom = new Set<CodePage>();
  /** Stores that missed the code on the page; when there were `patience`, all of it is dropped to make them fast. */
  stores = 0;
  patience = 1024;
  /** Grows when a store hits a region, shrinks when one is asked for: code that keeps changing is not translated. */
  unsettled = 0;
  /** Its code often stores beside the code of pages, so its regions look for that themselves. */
  storesBeside = false;
  /** Bit n: byte n is part of decoded or translated code. */
  private readonly covered = new Uint32Array(PAGE / 32);
  /** Two words, of which bit n says that bytes 64n to 64n + 63 are not all free of code: what compiled code looks at. */
  private readonly parts: Uint32Array;

  constructor(host: number, parts: Uint32Array) {
    this.host = host;
    this.parts = parts;
  }

  cover(from: number, to: number): void {
    const { covered, parts } = this;
    for (let word = from >>> 5; word << 5 < to; word++) {
      covered[word] |= bitsOf(word, from, to);
      parts[word >>> 6] |= 1 << (word >>> 1);
    }
  }

  uncover(from: number, to: number): void {
    const { covered, parts } = this;
    for (let word = from >>> 5; word << 5 < to; word++) {
      covered[word] &= ~bitsOf(word, from, to);
      if (covered[word] === 0 && covered[word ^ 1] === 0) parts[word >>> 6] &= ~(1 << (word >>> 1));
    }
  }

  /** Some byte of a range is part of code. */
  covers(from: number, to: number): boolean {
    for (let word = from >>> 5; word << 5 < to; word++)
      if ((this.covered[word] & bitsOf(word, from, to)) !== 0) return true;
    return false;
  }
}

/** The part of a range that lies in one word of bits. */
const bitsOf = (word: number, from: number, to: number): number => {
  const start = from - (word << 5),
    end = to - (word << 5);
  return (start > 0 ? -1 << start : -1) & (end < 32 ? (1 << end) - 1 : -1);
};

/** A region was made from some byte of a range of its page. */
export const regionCovers = ({ ranges }: Region, from: number, to: number): boolean => {
  for (let i = 0; i < ranges.length; i += 2) if (ranges[i] < to && ranges[i + 1] > from) return true;
  return false;
};
