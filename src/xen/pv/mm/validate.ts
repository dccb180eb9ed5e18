/**
 * What it means that a frame is a page table: each present entry refers to a frame of the next lower type, or, in the last level, to any frame of the
 * domain, which must be of the writable type if the entry lets the guest write. Tables may also refer to tables of their own level, read-only: then
 * the hardware walk shows the guest its tables as memory (key `xen:arch/x86/mm.c`).
 */
import { EBUSY, EINVAL, EPERM, ERANGE } from '../../../abi/xen/errno.ts';
import { checkDescriptors } from './descriptors.ts';
import { adjustHigh, adjustLow, checkBits, frameOf, type Level, P, PAE_L3_ADDED, RW, type Width } from './entries.ts';
import type { FrameTable, PageType } from './frame-table.ts';
import * as f from './frame-table.ts';
import { type Contents, PARTIAL_WORK, type PageTypes, STOPPED } from './page-types.ts';
import { COMPAT_L2_FIRST_XEN_SLOT, type XenTables } from './xen-tables.ts';

const ENTRIES = 512;
/** The frame number of an entry with all address bits set. */
const NO_FRAME = 2 ** 40 - 1;
/** Frames of the modelled host that are memory of somebody else: everything but the first megabyte and the hole below 4 GiB. */
const HOST_FRAMES = 0x100_0000;
const isHostRam = (mfn: number): boolean => mfn < HOST_FRAMES && mfn >= 0x100 && (mfn < 0xc_0000 || mfn >= 0x10_0000);

export const isXenL4Slot = (index: number, width: Width): boolean =>
  width === 32 ? index !== 0 : index >= 256 && index <= 271;

export class Validator implements Contents {
  /** A PAE root above 4 GiB is acceptable. */
  highRoots: () => boolean = () => true;
  /** The caller should look at something else. */
  preempt: () => boolean = () => false;
  private readonly frames: FrameTable;
  private readonly types: PageTypes;
  private readonly xen: XenTables;
  private readonly width: Width;
  private readonly u32: Uint32Array;
  /** Validation failed: what was taken is given back without interruption. */
  private undoing = false;

  constructor(types: PageTypes, xen: XenTables, width: Width, u32: Uint32Array) {
    this.types = types;
    this.frames = types.frames;
    this.xen = xen;
    this.width = width;
    this.u32 = u32;
  }

  /** Index of the low half of an entry in linear memory. */
  at(slot: number, index: number): number {
    return this.frames.frame[slot] * 1024 + index * 2;
  }

  promote(slot: number, type: PageType): number {
    if (type === f.TYPE_SEG_DESC) return checkDescriptors(this.u32, this.at(slot, 0), this.width);
    if (type === f.TYPE_L1) return this.promoteLast(slot);
    return this.promoteTable(slot, type as Level);
  }

  private promoteLast(slot: number): number {
    const { u32 } = this;
    for (let i = 0; i < ENTRIES; i++) {
      const at = this.at(slot, i);
      const low = u32[at],
        high = u32[at + 1];
      if ((low & P) === 0) continue;
      const result = this.takeData(low, high);
      if (result !== 0) {
        while (--i >= 0) this.dropData(u32[this.at(slot, i)], u32[this.at(slot, i) + 1]);
        return result;
      }
      this.install(1, at, low, high);
    }
    return 0;
  }

  /** Writes an entry in the form that the processor needs. */
  private install(level: Level, at: number, low: number, high: number): void {
    this.u32[at] = adjustLow(level, this.width, low, high);
    this.u32[at + 1] = adjustHigh(level, this.width, low, high);
  }

  private promoteTable(slot: number, level: Level): number {
    const { frames, u32 } = this;
    const pae = this.width === 32;
    if (level === 3 && pae) {
      if (frames.mfnOf(slot) >= 0x10_0000 && !this.highRoots()) return -ERANGE;
      u32.fill(0, this.at(slot, 4), this.at(slot, ENTRIES));
    }
    const from = frames.validated[slot];
    let partial = frames.childPartial[slot] !== 0;
    for (let i = from; i < ENTRIES; i++, partial = false) {
      if (!this.isGuestEntry(slot, level, i)) continue;
      const at = this.at(slot, i);
      const low = u32[at],
        high = u32[at + 1];
      let result = 0;
      if (i > from && this.shouldStop()) result = STOPPED;
      else if ((low & P) !== 0) result = this.takeTable(level, low, high, slot, partial, level === 3 && pae && i === 3);
      else if (level === 3 && pae && i === 3) result = -EINVAL;
      if (result !== 0) return this.interrupted(slot, level, i, partial, result);
      if ((low & P) !== 0) this.install(level, at, low, high);
    }
    if (level === 4) this.xen.fillRoot(this.at(slot, 0));
    else if (level === 2 && (frames.flags[slot] & f.PAE_XEN_L2) !== 0) this.xen.fillPaeL2(this.at(slot, 0));
    return 0;
  }

  private shouldStop(): boolean {
    return !this.undoing && this.preempt();
  }

  /** Validation met an obstacle at an entry: later goes on there, or gives back what it has taken. */
  private interrupted(slot: number, level: Level, index: number, partial: boolean, result: number): number {
    const { frames } = this;
    frames.validated[slot] = index;
    frames.childPartial[slot] = partial || result === PARTIAL_WORK ? 1 : 0;
    if (result === PARTIAL_WORK) return result;
    if (result === STOPPED) return index === 0 ? STOPPED : PARTIAL_WORK;
    const before = this.undoing;
    this.undoing = true;
    this.demote(slot, level);
    this.undoing = before;
    return result;
  }

  private isGuestEntry(slot: number, level: Level, index: number): boolean {
    if (level === 4) return !isXenL4Slot(index, this.width);
    return level !== 2 || (this.frames.flags[slot] & f.PAE_XEN_L2) === 0 || index < COMPAT_L2_FIRST_XEN_SLOT;
  }

  demote(slot: number, type: PageType): number {
    const { frames, u32 } = this;
    const level = type as Level;
    if (level === 1) {
      for (let i = 0; i < ENTRIES; i++) this.dropData(u32[this.at(slot, i)], u32[this.at(slot, i) + 1]);
      return 0;
    }
    let partial = frames.childPartial[slot] !== 0;
    for (let i = frames.validated[slot] - (partial ? 0 : 1); i >= 0; i--, partial = false) {
      if (!this.isGuestEntry(slot, level, i)) continue;
      const at = this.at(slot, i);
      const low = u32[at];
      if ((low & P) === 0) continue;
      if (i < frames.validated[slot] - 1 && this.shouldStop()) return this.stopDemotion(slot, i + 1, false, STOPPED);
      const result = this.dropTable(level, low, u32[at + 1], slot, partial);
      if (result !== 0) return this.stopDemotion(slot, result === STOPPED && !partial ? i + 1 : i, partial, result);
      if (level === 3 && this.width === 32) u32[at] = low & ~PAE_L3_ADDED;
    }
    return 0;
  }

  private stopDemotion(slot: number, next: number, partial: boolean, result: number): number {
    const { frames } = this;
    if (result === STOPPED && next === ENTRIES) return STOPPED;
    frames.validated[slot] = next;
    frames.childPartial[slot] = partial || result === PARTIAL_WORK ? 1 : 0;
    return PARTIAL_WORK;
  }

  /**
   * Takes what an entry of a last-level table needs. EINVAL: bits, or the frame number of nothing; EPERM: no memory; EBUSY: not the domain's, or of another type while
   * the entry allows writing.
   */
  takeData(low: number, high: number): number {
    const bits = checkBits(1, this.width, low, high);
    if (bits !== 0) return bits;
    const mfn = frameOf(low, high);
    const slot = this.types.getPage(mfn);
    if (slot === f.NO_SLOT) {
      if (mfn === NO_FRAME) return -EINVAL;
      return isHostRam(mfn) ? -EBUSY : -EPERM;
    }
    if ((low & RW) !== 0 && this.types.getType(slot, f.TYPE_WRITABLE) !== 0) {
      this.types.putPage(slot);
      return -EBUSY;
    }
    return 0;
  }

  dropData(low: number, high: number): void {
    if ((low & P) === 0) return;
    const slot = this.frames.slotOf(frameOf(low, high));
    if (slot === f.NO_SLOT) return;
    if ((low & RW) !== 0) this.types.putType(slot);
    this.types.putPage(slot);
  }

  /**
   * Takes what an entry of a higher table needs. `partial`: the general reference is held already. EINVAL: bits, no frame of the domain, or of another
   * type, and not acceptable as a table of the same level.
   */
  takeTable(level: Level, low: number, high: number, parent: number, partial: boolean, paeXenL2: boolean): number {
    const bits = checkBits(level, this.width, low, high);
    if (bits !== 0) return bits;
    const mfn = frameOf(low, high);
    const slot = partial ? this.frames.slotOf(mfn) : this.types.getPage(mfn);
    if (slot === f.NO_SLOT) return -EINVAL;
    let result = this.types.getType(slot, (level - 1) as PageType, paeXenL2);
    if (result === 0 && paeXenL2 && this.frames.typeCount[slot] !== 1) {
      // The hypervisor's entries differ for each root.
      this.types.putType(slot);
      result = -EINVAL;
      if (!partial) this.types.putPage(slot);
      return result;
    }
    if (result !== 0 && result !== PARTIAL_WORK && !partial) this.types.putPage(slot);
    if (
      result === -EINVAL &&
      !paeXenL2 &&
      !(level === 3 && this.width === 32) &&
      this.takeLinear(level, low, mfn, parent, partial)
    )
      return 0;
    return result;
  }

  /** A table as data of a table of its level: read-only, and if another one, validated and not itself with such entries. */
  private takeLinear(level: Level, low: number, mfn: number, parent: number, held: boolean): boolean {
    const { frames } = this;
    if ((low & RW) !== 0) return false;
    if (mfn === frames.mfnOf(parent)) return true;
    const slot = frames.slotOf(mfn);
    if (slot === f.NO_SLOT || frames.type[slot] !== level || (frames.flags[slot] & f.VALIDATED) === 0) return false;
    if (frames.typeCount[slot] === 0 || frames.linear[parent] < 0 || frames.linear[slot] > 0) return false;
    if (frames.linear[parent] === 0x7fff || frames.linear[slot] === -0x8000) return false;
    frames.linear[parent]++;
    frames.linear[slot]--;
    if (!held) frames.refs[slot]++;
    frames.typeCount[slot]++;
    return true;
  }

  dropTable(_level: Level, low: number, high: number, parent: number, partial: boolean): number {
    const mfn = frameOf(low, high);
    if ((low & P) === 0 || mfn === this.frames.mfnOf(parent)) return 0;
    const slot = mfn - this.frames.base;
    const result = this.types.putType(slot, parent, partial);
    if (result === 0) this.types.putPage(slot);
    return result;
  }
}
