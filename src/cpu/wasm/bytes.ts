/** Growable byte buffer with LEB128 writers. Hot while translating: grows by doubling, never per byte. */
export class Bytes {
  buf = new Uint8Array(1024);
  length = 0;

  private grow(extra: number): void {
    let size = this.buf.length * 2;
    while (size < this.length + extra) size *= 2;
    const next = new Uint8Array(size);
    next.set(this.buf.subarray(0, this.length));
    this.buf = next;
  }

  u8(value: number): void {
    if (this.length >= this.buf.length) this.grow(1);
    this.buf[this.length++] = value;
  }

  raw(bytes: Uint8Array | readonly number[]): void {
    if (this.length + bytes.length > this.buf.length) this.grow(bytes.length);
    this.buf.set(bytes, this.length);
    this.length += bytes.length;
  }

  append(other: Bytes): void {
    this.raw(other.view());
  }

  /** Unsigned LEB128 of a value below 2^32. */
  u32(value: number): void {
    let v = value >>> 0;
    while (v >= 0x80) {
      this.u8((v & 0x7f) | 0x80);
      v >>>= 7;
    }
    this.u8(v);
  }

  /** Signed LEB128 of a 32-bit value. */
  s32(value: number): void {
    let v = value | 0;
    for (;;) {
      const byte = v & 0x7f;
      v >>= 7;
      if ((v === 0 && (byte & 0x40) === 0) || (v === -1 && (byte & 0x40) !== 0)) {
        this.u8(byte);
        return;
      }
      this.u8(byte | 0x80);
    }
  }

  /** Signed LEB128 of a 64-bit value. */
  s64(value: bigint): void {
    let v = BigInt.asIntN(64, value);
    if (v >= -0x40000000n && v < 0x40000000n) {
      this.s32(Number(v));
      return;
    }
    for (;;) {
      const byte = Number(v & 0x7fn);
      v >>= 7n;
      if ((v === 0n && (byte & 0x40) === 0) || (v === -1n && (byte & 0x40) !== 0)) {
        this.u8(byte);
        return;
      }
      this.u8(byte | 0x80);
    }
  }

  name(text: string): void {
    this.u32(text.length);
    for (let i = 0; i < text.length; i++) this.u8(text.charCodeAt(i) & 0x7f);
  }

  /** A length-prefixed group of bytes (section, function body). */
  sized(inner: Bytes): void {
    this.u32(inner.length);
    this.append(inner);
  }

  view(): Uint8Array<ArrayBuffer> {
    return this.buf.subarray(0, this.length);
  }
}
