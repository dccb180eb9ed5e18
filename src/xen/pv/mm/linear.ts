/** Finds last-level entries of a guest by linear address, as the hypervisor does through its linear page table. */
import { gfn } from '../../../base/int.ts';
import type { GuestMemory } from '../../../machine/index.ts';
import { guestAddress } from '../address-space.ts';
import { frameOf, P, PSE } from './entries.ts';
import { type FrameTable, NO_SLOT } from './frame-table.ts';

export class LinearLookup {
  private readonly memory: GuestMemory;
  private readonly frames: FrameTable;
  private readonly u32: Uint32Array;

  constructor(memory: GuestMemory, frames: FrameTable, u32: Uint32Array) {
    this.memory = memory;
    this.frames = frames;
    this.u32 = u32;
  }

  /** Slot of the last-level table that maps an address under a root, NO_SLOT when there is none or it is not the domain's. */
  tableOf(root: number, linear: bigint): number {
    if (!guestAddress(linear)) return NO_SLOT;
    const mfn = this.walk(root, Number((linear >> 21n) & 0x7ff_ffffn));
    return mfn < 0 ? NO_SLOT : this.frames.slotOf(mfn);
  }

  /** Machine frame of the last-level table, -1 when an entry is absent. `page` is bits 21-47 of the address. */
  private walk(root: number, page: number): number {
    let mfn = root;
    for (let shift = 18; shift >= 0; shift -= 9) {
      const frame = this.memory.pageAt(gfn(mfn));
      if (frame === 0) return -1;
      const at = frame * 1024 + ((page >>> shift) & 511) * 2;
      const low = this.u32[at];
      if ((low & P) === 0 || (shift < 18 && (low & PSE) !== 0)) return -1;
      mfn = frameOf(low, this.u32[at + 1]);
    }
    return mfn;
  }
}

/** Index of the entry for an address in its last-level table. */
export const l1Index = (linear: bigint): number => Number((linear >> 12n) & 511n);
