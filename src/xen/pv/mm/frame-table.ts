/**
 * What the hypervisor knows of each machine frame of a PV domain: how often it is referred to, which type it has, and how far its contents
 * are validated (key `xen:arch/x86/include/asm/mm.h`). Parallel arrays, so that operations on them allocate nothing.
 *
 * A frame has one type at a time; the type may change only while nobody counts on it. A slot is the index of a frame in this table: machine
 * frame number less {@link FrameTable.base}. Numbers outside of the table are no frames of the domain.
 */
import type { Frame } from '../../../machine/index.ts';

/** `PGT_*`: page tables by their level, descriptor tables, frames with writable mappings. */
export const TYPE_NONE = 0,
  TYPE_L1 = 1,
  TYPE_L2 = 2,
  TYPE_L3 = 3,
  TYPE_L4 = 4,
  TYPE_SEG_DESC = 5,
  TYPE_SHARED = 6,
  TYPE_WRITABLE = 7;
export type PageType = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;

/** The contents are known to be what the type promises. */
export const VALIDATED = 1,
  /** The guest holds one type reference of its own. */
  PINNED = 2,
  /** Validation or its undoing was interrupted; one type and one general reference belong to this flag. */
  PARTIAL = 4,
  /** L2 of the fourth slot of a PAE root: it holds the hypervisor's entries too, and may be used nowhere else. */
  PAE_XEN_L2 = 8,
  /** One general reference says that the domain owns the frame. */
  ALLOCATED = 16,
  /** A page of the hypervisor's that it shares with the domain: shared_info, grant table. It is never freed. */
  SPECIAL = 32;

/** A free slot that is about to be used. */
const RESERVED = 64;

/** Nobody's slot. */
export const NO_SLOT = -1;

export class FrameTable {
  /** Machine frame number of slot 0. */
  readonly base: number;
  readonly size: number;
  /** Page of linear memory; 0 when the slot has none. */
  readonly frame: Uint32Array;
  readonly type: Uint8Array;
  readonly flags: Uint8Array;
  /** References that count on the type; all references. */
  readonly typeCount: Uint32Array;
  readonly refs: Uint32Array;
  /** Partial frames: entries before this one hold references. */
  readonly validated: Uint16Array;
  /** Partial frames: the entry at {@link validated} is itself partial, and its general reference is held. */
  readonly childPartial: Uint8Array;
  /** Positive: entries for other tables of the same level; negative: entries for this table in others of its level. */
  readonly linear: Int16Array;
  /** TLB clock when the last type reference went. */
  readonly stamp: Float64Array;
  /** Where searches for a free slot start; slots are given from the top down, special ones from the bottom up. */
  private next: number;

  constructor(base: number, size: number) {
    this.base = base;
    this.size = size;
    this.frame = new Uint32Array(size);
    this.type = new Uint8Array(size);
    this.flags = new Uint8Array(size);
    this.typeCount = new Uint32Array(size);
    this.refs = new Uint32Array(size);
    this.validated = new Uint16Array(size);
    this.childPartial = new Uint8Array(size);
    this.linear = new Int16Array(size);
    this.stamp = new Float64Array(size);
    this.next = size - 1;
  }

  /** Slot of a machine frame number that the domain owns, or {@link NO_SLOT}. */
  slotOf(mfn: number): number {
    const slot = mfn - this.base;
    return slot >= 0 && slot < this.size && this.refs[slot] !== 0 ? slot : NO_SLOT;
  }

  mfnOf(slot: number): number {
    return this.base + slot;
  }

  /** A run of free slots, aligned to its length (a power of two); {@link NO_SLOT} when there is none. */
  findFree(count = 1): number {
    const start = this.next - (this.next % count);
    for (let pass = 0, at = start; pass < 2; pass++, at = this.size - (this.size % count)) {
      for (; at >= 0; at -= count) {
        if (at + count <= this.size && this.isFree(at, count)) {
          this.next = at === 0 ? this.size - 1 : at - 1;
          return at;
        }
      }
    }
    return NO_SLOT;
  }

  private isFree(at: number, count: number): boolean {
    for (let slot = at; slot < at + count; slot++)
      if (this.refs[slot] !== 0 || this.frame[slot] !== 0 || this.flags[slot] !== 0) return false;
    return true;
  }

  /** Keeps free slots from being found, or ends that. */
  reserve(at: number, count: number, reserved: boolean): void {
    this.flags.fill(reserved ? RESERVED : 0, at, at + count);
  }

  /** The first free slot from the bottom. */
  findFreeLow(): number {
    for (let slot = 0; slot < this.size; slot++) if (this.isFree(slot, 1)) return slot;
    return NO_SLOT;
  }

  /** A slot gets a page, owned by the domain. */
  assign(slot: number, frame: Frame): void {
    this.frame[slot] = frame;
    this.refs[slot] = 1;
    this.flags[slot] = ALLOCATED;
    this.type[slot] = TYPE_NONE;
    this.typeCount[slot] = 0;
    this.linear[slot] = 0;
  }

  /** A slot loses its page, to which nobody refers any more. */
  clear(slot: number): void {
    this.frame[slot] = 0;
    this.flags[slot] = 0;
    this.type[slot] = TYPE_NONE;
  }
}
