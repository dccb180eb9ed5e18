/**
 * The page tables a PV guest starts with, over pseudo-physical frames: which tables there are, where they lie and what they point to. Machine
 * frames are put in when the domain's are known.
 */

/** One 4 KiB table. Entry `i` points to frame `targets[i]`, or to nothing when that is -1. */
export interface PageTable {
  readonly pfn: number;
  /** 1 to 4. */
  readonly level: number;
  /** Position among the tables of its level: linear address divided by what a table covers. */
  readonly index: number;
  readonly targets: Int32Array;
}

/** A range of linear addresses (bytes, `last` inclusive) and the first frame that it maps. */
export interface MappedRange {
  readonly first: bigint;
  readonly last: bigint;
  readonly pfn: number;
}

const ENTRIES = 512;
const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const UPPER_FLAGS = PRESENT | WRITABLE | USER | ACCESSED | DIRTY;

/** Highest level, and addresses that it covers. The L3 of PAE tables has four entries and is a page of its own. */
const SHAPES = { pv64: { levels: 4, bits: 48n }, pv32: { levels: 3, bits: 32n } } as const;
/** Where the last quarter of a 32-bit address space begins; it always has an L2, since the hypervisor is mapped in it. */
const PAE_LAST_QUARTER = 0xc000_0000n;

export class InitialTables {
  private readonly shape: { readonly levels: number; readonly bits: bigint };
  private readonly tables = new Map<string, PageTable>();
  private readonly type: 'pv64' | 'pv32';

  constructor(type: 'pv64' | 'pv32') {
    this.type = type;
    this.shape = SHAPES[type];
  }

  /** Tables in order of their frames; the root is the first. */
  get all(): readonly PageTable[] {
    return [...this.tables.values()];
  }

  /** Tables that mapping a range would add. */
  missing(first: bigint, last: bigint): number {
    let count = 0;
    for (const [level, index] of this.needed(first, last)) if (!this.tables.has(`${level}:${index}`)) count++;
    return count;
  }

  /** Maps a range, with new tables at consecutive frames from `tablePfn` on, highest level first. */
  map(range: MappedRange, tablePfn: number): void {
    let next = tablePfn;
    for (const [level, index] of [...this.needed(range.first, range.last)]) {
      const key = `${level}:${index}`;
      if (this.tables.has(key)) continue;
      this.tables.set(key, { pfn: next, level, index, targets: new Int32Array(ENTRIES).fill(-1) });
      if (level < this.shape.levels) this.point(level + 1, index, next);
      next++;
    }
    const page = Number(this.cut(range.first) >> 12n);
    const pages = Number((range.last - range.first) >> 12n) + 1;
    for (let i = 0; i < pages; i++) this.point(1, page + i, range.pfn + i);
  }

  /** Bytes of a table once every frame has its machine frame. Tables themselves are mapped without the right to write. */
  encode(table: PageTable, machineFrame: (pfn: number) => number): Uint8Array {
    const words = new BigUint64Array(ENTRIES);
    const own = new Set(this.all.map(({ pfn }) => pfn));
    table.targets.forEach((pfn, i) => {
      if (pfn < 0) return;
      const leaf = own.has(pfn) ? PRESENT | ACCESSED : PRESENT | WRITABLE | ACCESSED;
      words[i] = (BigInt(machineFrame(pfn)) << 12n) | BigInt(table.level === 1 ? leaf : UPPER_FLAGS);
    });
    return new Uint8Array(words.buffer);
  }

  /** Level and index of every table over a range, highest level first. */
  private *needed(first: bigint, last: bigint): Generator<readonly [level: number, index: number]> {
    const from = this.cut(first);
    const to = this.cut(last);
    for (let level = this.shape.levels; level >= 1; level--) {
      const shift = 12n + 9n * BigInt(level);
      const extra = this.type === 'pv32' && level === 2 && to < PAE_LAST_QUARTER;
      const end = extra ? (1n << this.shape.bits) - 1n : to;
      for (let index = Number(from >> shift); index <= Number(end >> shift); index++) yield [level, index];
    }
  }

  /** Lets the entry for the `index`th thing of the level below point to a frame. */
  private point(level: number, index: number, pfn: number): void {
    const table = this.tables.get(`${level}:${Math.floor(index / ENTRIES)}`);
    if (table === undefined) throw new RangeError(`no table of level ${level} covers entry ${index}`);
    table.targets[index % ENTRIES] = pfn;
  }

  private cut(address: bigint): bigint {
    return BigInt.asUintN(Number(this.shape.bits), address);
  }
}
