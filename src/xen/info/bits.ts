/** Bit arrays in guest memory. Words are little-endian, so a bit's byte does not depend on the width of the words. */
export const testBit = (view: DataView, base: number, bit: number): boolean =>
  ((view.getUint8(base + (bit >> 3)) >> (bit & 7)) & 1) !== 0;

/** Sets or clears a bit; returns its former value. */
export function setBit(view: DataView, base: number, bit: number, value: boolean): boolean {
  const at = base + (bit >> 3);
  const mask = 1 << (bit & 7);
  const before = view.getUint8(at);
  view.setUint8(at, value ? before | mask : before & ~mask);
  return (before & mask) !== 0;
}
