/** Where the dispatcher of a region looks for a place: a table without collisions, found when the region is written. */

/** The product of an offset with `factor`, cut to 32 bits: its upper `bits` are the slot. */
export interface Hash {
  readonly factor: number;
  readonly bits: number;
}

export const slotOf = (offset: number, factor: number, bits: number): number =>
  Math.imul(offset, factor) >>> (32 - bits);

/** Slots that are different for all these offsets, in a table not much larger than there are offsets; undefined when there are none. */
export const findHash = (offsets: readonly number[]): Hash | undefined => {
  const least = Math.ceil(Math.log2(offsets.length)) + 1;
  for (let bits = least; bits <= least + 2; bits++) {
    let factor = 0x9e37_79b1;
    for (let attempt = 0; attempt < 64; attempt++) {
      const slots = new Set(offsets.map((offset) => slotOf(offset, factor, bits)));
      if (slots.size === offsets.length) return { factor, bits };
      factor = (Math.imul(factor, 0x85eb_ca6b) + 0xc2b2_ae35) | 1;
    }
  }
  return undefined;
};
