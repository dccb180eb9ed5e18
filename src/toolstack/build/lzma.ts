/** The LZMA decoder: an adaptive binary range coder over literals and matches ("LZMA specification"). Hot while a kernel is unpacked. */

const STATES = 12;
const POSITION_STATES = 16;
/** Probability of one half, in 11 bits. */
const HALF = 1024;
const TOP = 2 ** 24;
const ALIGN_BITS = 4;
const FIRST_MODELLED = 4;
const END_MODELLED = 14;

const fresh = (count: number): Uint16Array => new Uint16Array(count).fill(HALF);

/** Length coder: a choice of three trees, the first two for each position state. */
class Lengths {
  readonly choice = fresh(2);
  readonly low = fresh(POSITION_STATES * 8);
  readonly middle = fresh(POSITION_STATES * 8);
  readonly high = fresh(256);
}

export class LzmaState {
  private literalContext = 3;
  private literalPosition = 0;
  private positionMask = 3;
  private literals = fresh(0x300 << 3);
  private isMatch = fresh(0);
  private isRep = fresh(0);
  private isRep0 = fresh(0);
  private isRep1 = fresh(0);
  private isRep2 = fresh(0);
  private isRep0Long = fresh(0);
  private slots = fresh(0);
  private special = fresh(0);
  private align = fresh(0);
  private matchLengths = new Lengths();
  private repLengths = new Lengths();
  private state = 0;
  private rep0 = 0;
  private rep1 = 0;
  private rep2 = 0;
  private rep3 = 0;

  private input: Uint8Array = new Uint8Array(0);
  private at = 0;
  private range = 0;
  private code = 0;

  constructor() {
    this.reset();
  }

  /** lc, lp and pb in one byte. */
  setProperties(byte: number): void {
    if (byte >= 9 * 5 * 5) throw new RangeError('unknown LZMA properties');
    this.literalContext = byte % 9;
    this.literalPosition = Math.floor(byte / 9) % 5;
    this.positionMask = (1 << Math.floor(byte / 45)) - 1;
  }

  reset(): void {
    this.literals = fresh(0x300 << (this.literalContext + this.literalPosition));
    this.isMatch = fresh(STATES * POSITION_STATES);
    this.isRep = fresh(STATES);
    this.isRep0 = fresh(STATES);
    this.isRep1 = fresh(STATES);
    this.isRep2 = fresh(STATES);
    this.isRep0Long = fresh(STATES * POSITION_STATES);
    this.slots = fresh(4 * 64);
    this.special = fresh(128);
    this.align = fresh(1 << ALIGN_BITS);
    this.matchLengths = new Lengths();
    this.repLengths = new Lengths();
    this.state = 0;
    this.rep0 = this.rep1 = this.rep2 = this.rep3 = 0;
  }

  /** Decodes one chunk into `out` from `start`. `dictionary` is the first byte matches may reach back to. */
  decode(input: Uint8Array, out: Uint8Array, start: number, size: number, dictionary: number): void {
    this.input = input;
    this.at = 1;
    this.range = 0xffff_ffff;
    this.code = 0;
    for (let i = 0; i < 4; i++) this.code = ((this.code << 8) | this.next()) >>> 0;
    const end = start + size;
    let position = start;
    while (position < end) {
      // Positions count from the dictionary's start.
      const positionState = (position - dictionary) & this.positionMask;
      if (this.bit(this.isMatch, this.state * POSITION_STATES + positionState) === 0) {
        out[position] = this.literal(out, position, dictionary);
        position++;
        continue;
      }
      const length = this.match(positionState);
      if (length === 0) throw new RangeError('an end marker where none may be');
      const from = position - this.rep0 - 1;
      if (from < dictionary || position + length > end) throw new RangeError('a match reaches outside the data');
      for (let i = 0; i < length; i++) out[position + i] = out[from + i]!;
      position += length;
    }
    if (this.at > input.length) throw new RangeError('the data is cut off');
  }

  private next(): number {
    // Reading past the end is found once at the end of the chunk.
    return this.input[this.at++] ?? 0;
  }

  private bit(probabilities: Uint16Array, index: number): 0 | 1 {
    const probability = probabilities[index]!;
    const bound = (this.range >>> 11) * probability;
    let bit: 0 | 1;
    if (this.code < bound) {
      this.range = bound;
      probabilities[index] = probability + ((2048 - probability) >> 5);
      bit = 0;
    } else {
      this.code -= bound;
      this.range -= bound;
      probabilities[index] = probability - (probability >> 5);
      bit = 1;
    }
    if (this.range < TOP) {
      this.range = (this.range << 8) >>> 0;
      this.code = ((this.code << 8) | this.next()) >>> 0;
    }
    return bit;
  }

  private direct(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) {
      this.range >>>= 1;
      const bit = this.code >= this.range ? 1 : 0;
      if (bit) this.code -= this.range;
      value = value * 2 + bit;
      if (this.range < TOP) {
        this.range = (this.range << 8) >>> 0;
        this.code = ((this.code << 8) | this.next()) >>> 0;
      }
    }
    return value;
  }

  private tree(probabilities: Uint16Array, base: number, bits: number): number {
    let node = 1;
    for (let i = 0; i < bits; i++) node = (node << 1) | this.bit(probabilities, base + node);
    return node - (1 << bits);
  }

  private reverseTree(probabilities: Uint16Array, base: number, bits: number): number {
    let node = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.bit(probabilities, base + node);
      node = (node << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  private literal(out: Uint8Array, position: number, dictionary: number): number {
    const previous = position > dictionary ? out[position - 1]! : 0;
    const low = (position - dictionary) & ((1 << this.literalPosition) - 1);
    const base = 0x300 * ((low << this.literalContext) | (previous >> (8 - this.literalContext)));
    let symbol = 1;
    if (this.state >= 7) {
      let matched = out[position - this.rep0 - 1] ?? 0;
      while (symbol < 0x100) {
        const matchBit = (matched >> 7) & 1;
        matched <<= 1;
        const bit = this.bit(this.literals, base + ((1 + matchBit) << 8) + symbol);
        symbol = (symbol << 1) | bit;
        if (matchBit !== bit) break;
      }
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.bit(this.literals, base + symbol);
    this.state = this.state < 4 ? 0 : this.state < 10 ? this.state - 3 : this.state - 6;
    return symbol & 0xff;
  }

  /** Sets rep0 and gives the length of a match; 0 is the end marker. */
  private match(positionState: number): number {
    if (this.bit(this.isRep, this.state) === 0) {
      this.rep3 = this.rep2;
      this.rep2 = this.rep1;
      this.rep1 = this.rep0;
      const length = this.length(this.matchLengths, positionState);
      this.state = this.state < 7 ? 7 : 10;
      this.rep0 = this.distance(length);
      return this.rep0 === 0xffff_ffff ? 0 : length;
    }
    if (this.bit(this.isRep0, this.state) === 0) {
      if (this.bit(this.isRep0Long, this.state * POSITION_STATES + positionState) === 0) {
        this.state = this.state < 7 ? 9 : 11;
        return 1;
      }
    } else {
      let distance: number;
      if (this.bit(this.isRep1, this.state) === 0) distance = this.rep1;
      else {
        if (this.bit(this.isRep2, this.state) === 0) distance = this.rep2;
        else {
          distance = this.rep3;
          this.rep3 = this.rep2;
        }
        this.rep2 = this.rep1;
      }
      this.rep1 = this.rep0;
      this.rep0 = distance;
    }
    const length = this.length(this.repLengths, positionState);
    this.state = this.state < 7 ? 8 : 11;
    return length;
  }

  private length(lengths: Lengths, positionState: number): number {
    if (this.bit(lengths.choice, 0) === 0) return 2 + this.tree(lengths.low, positionState << 3, 3);
    if (this.bit(lengths.choice, 1) === 0) return 10 + this.tree(lengths.middle, positionState << 3, 3);
    return 18 + this.tree(lengths.high, 0, 8);
  }

  private distance(length: number): number {
    const slot = this.tree(this.slots, Math.min(length - 2, 3) * 64, 6);
    if (slot < FIRST_MODELLED) return slot;
    const bits = (slot >> 1) - 1;
    const base = (2 | (slot & 1)) * 2 ** bits;
    if (slot < END_MODELLED) return base + this.reverseTree(this.special, base - slot, bits);
    return base + this.direct(bits - ALIGN_BITS) * 16 + this.reverseTree(this.align, 0, ALIGN_BITS);
  }
}
