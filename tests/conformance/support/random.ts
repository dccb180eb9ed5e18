/** Seeded random numbers for tests: 32-bit xorshift-multiply steps, the same on every machine. */
export class Random {
  readonly seed: number;
  private state: number;

  constructor(seed: number) {
    this.seed = seed >>> 0;
    this.state = this.seed;
  }

  /** From an environment variable, else from the clock. */
  static fromEnvironment(variable = 'XENOLITH_SEED'): Random {
    const text = process.env[variable];
    return new Random(text === undefined ? Date.now() : Number(text));
  }

  /** 0 .. 2^32-1. */
  u32(): number {
    this.state = (this.state + 0x9e37_79b9) | 0;
    let x = this.state;
    x = Math.imul(x ^ (x >>> 16), 0x21f0_aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a_2d97);
    return (x ^ (x >>> 15)) >>> 0;
  }
  /** 0 .. limit-1. */
  below(limit: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * limit);
  }
  u8(): number {
    return this.u32() >>> 24;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  /** True once in `n`. */
  once(n: number): boolean {
    return this.below(n) === 0;
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }
}
