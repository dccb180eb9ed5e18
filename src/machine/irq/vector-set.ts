/** A bitmap of 256 vectors inside a LAPIC's register file: eight words at consecutive register numbers. Hot: asked at every poll. */
export class VectorSet {
  private readonly words: Uint32Array;
  private readonly first: number;

  /** `first` is the register number (offset >> 4) of the first word. */
  constructor(words: Uint32Array, first: number) {
    this.words = words;
    this.first = first;
  }

  has(vector: number): boolean {
    return ((this.words[this.first + (vector >> 5)]! >>> (vector & 31)) & 1) === 1;
  }

  add(vector: number): void {
    this.words[this.first + (vector >> 5)]! |= 1 << (vector & 31);
  }

  delete(vector: number): void {
    this.words[this.first + (vector >> 5)]! &= ~(1 << (vector & 31));
  }

  /** Highest member, or -1. */
  highest(): number {
    for (let word = 7; word >= 0; word--) {
      const bits = this.words[this.first + word]!;
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
    }
    return -1;
  }

  clear(): void {
    this.words.fill(0, this.first, this.first + 8);
  }
}
