/** Claimed ranges of an address space, and the common part of the two buses. */

/** Claims `length` addresses from `base`. Either function may be absent (all ones, ignored). */
export interface RangeHandler {
  /** Name for diagnostics. */
  readonly name: string;
  /**
   * Reads `size` (1, 2 or 4) bytes at `offset` from the start of the range; unsigned, bits above `size` are ignored. Undefined: this
   * address is not claimed after all.
   */
  read?(offset: number, size: number): number | undefined;
  /** Writes; `value` is unsigned and already cut to `size`. False: not claimed after all. */
  write?(offset: number, size: number, value: number): boolean | undefined;
}

interface Range {
  base: number;
  readonly length: number;
  readonly handler: RangeHandler;
}

/** Accesses nobody answered, by address. */
export interface UnclaimedAccess {
  reads: number;
  writes: number;
}

/** All ones of a width in bytes, unsigned. */
export const allOnes = (size: number): number => (size === 4 ? 0xffff_ffff : (1 << (size * 8)) - 1);

/** A range of a bus that its owner may move. */
export interface Claim {
  move(base: number): void;
  release(): void;
}

/** Sorted, disjoint ranges with binary search. An access belongs to a range only if it lies in it entirely. */
export class RangeBus {
  /** Accesses that read all ones or were dropped, by address. */
  readonly unclaimed = new Map<number, UnclaimedAccess>();
  /** Probe: called before every access when set. */
  onAccess: ((address: number, size: number, write: boolean) => void) | undefined;
  private ranges: Range[] = [];
  /** The access last looked up: guests poll and write the same few registers. Size 0: none. */
  private lastAddress = 0;
  private lastSize = 0;
  private lastRange: Range | undefined;
  private lastUnclaimed: UnclaimedAccess | undefined;

  /** Gives `[base, base + length)` to a handler. Throws if part of it is taken. */
  claim(base: number, length: number, handler: RangeHandler): Claim {
    const range: Range = { base, length, handler };
    const add = (): void => {
      const clash = this.ranges.find((r) => range.base < r.base + r.length && r.base < range.base + range.length);
      if (clash)
        throw new RangeError(
          `${handler.name} at ${range.base.toString(16)} overlaps ${clash.handler.name} at ${clash.base.toString(16)}`,
        );
      this.lastSize = 0;
      this.ranges.push(range);
      this.ranges.sort((a, b) => a.base - b.base);
    };
    const release = (): void => {
      this.lastSize = 0;
      this.ranges = this.ranges.filter((r) => r !== range);
    };
    add();
    return {
      release,
      move: (to) => {
        release();
        range.base = to;
        add();
      },
    };
  }

  read(address: number, size: number): number {
    this.onAccess?.(address, size, false);
    const range = this.find(address, size);
    const value = range?.handler.read?.(address - range.base, size);
    if (value !== undefined) return size === 4 ? value >>> 0 : value & allOnes(size);
    this.count(address).reads++;
    return allOnes(size);
  }

  write(address: number, size: number, value: number): void {
    this.onAccess?.(address, size, true);
    const range = this.find(address, size);
    const cut = size === 4 ? value >>> 0 : value & allOnes(size);
    if (range?.handler.write && range.handler.write(address - range.base, size, cut) !== false) return;
    this.count(address).writes++;
  }

  private find(address: number, size: number): Range | undefined {
    if (address !== this.lastAddress || size !== this.lastSize) {
      this.lastRange = this.search(address, size);
      this.lastUnclaimed = undefined;
      this.lastAddress = address;
      this.lastSize = size;
    }
    return this.lastRange;
  }

  private search(address: number, size: number): Range | undefined {
    let low = 0;
    let high = this.ranges.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const range = this.ranges[middle]!;
      if (address < range.base) high = middle - 1;
      else if (address >= range.base + range.length) low = middle + 1;
      else return address + size <= range.base + range.length ? range : undefined;
    }
    return undefined;
  }

  /** Count of the access last looked up. */
  private count(address: number): UnclaimedAccess {
    if (this.lastUnclaimed !== undefined && address === this.lastAddress) return this.lastUnclaimed;
    let entry = this.unclaimed.get(address);
    if (!entry) {
      entry = { reads: 0, writes: 0 };
      this.unclaimed.set(address, entry);
    }
    if (address === this.lastAddress) this.lastUnclaimed = entry;
    return entry;
  }
}

/** A chip that knows whole registers of `width` bytes only, by register offset. */
export interface WholeRegisters {
  readRegister(offset: number): number;
  writeRegister(offset: number, value: number): void;
}

/**
 * Turns accesses of any size into whole-register ones: narrow reads cut, narrow writes read and merge, wide accesses go register by
 * register from the lowest address.
 */
export function wholeRegisters(name: string, width: 1 | 2 | 4, chip: WholeRegisters): RangeHandler {
  const registerMask = allOnes(width);
  const pieces = (offset: number, size: number): { register: number; shift: number; length: number; at: number }[] => {
    const list = [];
    for (let done = 0; done < size; ) {
      const within = (offset + done) % width;
      const length = Math.min(width - within, size - done);
      list.push({ register: offset + done - within, shift: within * 8, length, at: done * 8 });
      done += length;
    }
    return list;
  };
  return {
    name,
    read: (offset, size) =>
      pieces(offset, size).reduce((value, p) => {
        const part = (chip.readRegister(p.register) >>> p.shift) & allOnes(p.length);
        return (value | (part << p.at)) >>> 0;
      }, 0),
    write: (offset, size, value) => {
      for (const p of pieces(offset, size)) {
        const part = (value >>> p.at) & allOnes(p.length);
        const mask = (allOnes(p.length) << p.shift) >>> 0;
        const old = p.length === width ? 0 : chip.readRegister(p.register);
        chip.writeRegister(p.register, (((old & ~mask) | (part << p.shift)) & registerMask) >>> 0);
      }
      return true;
    },
  };
}
