/** SHA-256 (FIPS 180-4), for naming the state of a machine: no layer below the command line has a host's library for it. */

const BLOCK = 64;

/** First 32 bits of the fractional parts of roots of the first primes: square roots start a hash, cube roots drive its rounds. */
const primes = (count: number): number[] => {
  const found: number[] = [];
  for (let n = 2; found.length < count; n++) if (found.every((p) => n % p !== 0)) found.push(n);
  return found;
};
const fraction = (root: number): number => Math.floor((root - Math.floor(root)) * 2 ** 32) >>> 0;
const INITIAL = primes(8).map((p) => fraction(Math.sqrt(p)));
const ROUNDS = Uint32Array.from(primes(64), (p) => fraction(Math.cbrt(p)));

const rotate = (x: number, by: number): number => (x >>> by) | (x << (32 - by));

export class Sha256 {
  private readonly state = Uint32Array.from(INITIAL);
  private readonly words = new Uint32Array(64);
  private readonly pending = new Uint8Array(BLOCK);
  private readonly view = new DataView(this.pending.buffer);
  private held = 0;
  private length = 0;

  update(bytes: Uint8Array): this {
    this.length += bytes.length;
    for (let at = 0; at < bytes.length; ) {
      const part = Math.min(BLOCK - this.held, bytes.length - at);
      this.pending.set(bytes.subarray(at, at + part), this.held);
      this.held += part;
      at += part;
      if (this.held === BLOCK) this.block();
    }
    return this;
  }

  /** The hash in hexadecimal; nothing may be added afterwards. */
  digest(): string {
    const bits = BigInt(this.length) * 8n;
    this.pending.fill(0, this.held);
    this.pending[this.held] = 0x80;
    if (this.held >= BLOCK - 8) {
      this.block();
      this.pending.fill(0);
    }
    this.view.setBigUint64(BLOCK - 8, bits);
    this.block();
    return Array.from(this.state, (word) => word.toString(16).padStart(8, '0')).join('');
  }

  private block(): void {
    const { state, words } = this;
    this.held = 0;
    for (let i = 0; i < 16; i++) words[i] = this.view.getUint32(i * 4);
    for (let i = 16; i < 64; i++) {
      const a = words[i - 15],
        b = words[i - 2];
      const small0 = rotate(a, 7) ^ rotate(a, 18) ^ (a >>> 3);
      const small1 = rotate(b, 17) ^ rotate(b, 19) ^ (b >>> 10);
      words[i] = words[i - 16] + small0 + words[i - 7] + small1;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const choice = (e & f) ^ (~e & g);
      const one = (h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + choice + ROUNDS[i] + words[i]) | 0;
      const majority = (a & b) ^ (a & c) ^ (b & c);
      const two = ((rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + majority) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => {
      state[i] += value;
    });
  }
}
