/**
 * References to frames and to their types (key `xen:arch/x86/mm.c`). Whoever counts on a frame being a page table, a descriptor table or writable
 * holds a type reference; the first one for another type than before has the contents validated, the last one for a page table has what its
 * entries refer to given up.
 *
 * Work on tables above the first level stops when the caller should look at something else: {@link STOPPED}, nothing held, or {@link PARTIAL_WORK},
 * where the frame remembers how far it is.
 */
import { EINTR, EINVAL, ERESTART } from '../../../abi/xen/errno.ts';
import type { FrameTable, PageType } from './frame-table.ts';
import * as f from './frame-table.ts';
import type { Tlbs } from './tlb.ts';

export const STOPPED = -EINTR;
export const PARTIAL_WORK = -ERESTART;

/** Validates contents for a type, and gives up what validated contents refer to. */
export interface Contents {
  /** 0; an errno, nothing held; {@link STOPPED}; {@link PARTIAL_WORK}. */
  promote(slot: number, type: PageType): number;
  /** 0; {@link STOPPED}; {@link PARTIAL_WORK}. */
  demote(slot: number, type: PageType): number;
}

export class PageTypes {
  readonly frames: FrameTable;
  private readonly tlbs: Tlbs;
  private readonly free: (slot: number) => void;
  /** Set by the owner of both. */
  contents!: Contents;

  constructor(frames: FrameTable, tlbs: Tlbs, free: (slot: number) => void) {
    this.frames = frames;
    this.tlbs = tlbs;
    this.free = free;
  }

  /** Takes a general reference to a machine frame. Its slot, or NO_SLOT when the domain does not own it. */
  getPage(mfn: number): number {
    const slot = this.frames.slotOf(mfn);
    if (slot !== f.NO_SLOT) this.frames.refs[slot]++;
    return slot;
  }

  putPage(slot: number): void {
    if (--this.frames.refs[slot] === 0) this.free(slot);
  }

  /** Takes a type reference to a frame to which the caller refers. 0; -EINVAL: in use as another type; what {@link Contents.promote} answers. */
  getType(slot: number, type: PageType, paeXenL2 = false): number {
    const { frames } = this;
    const { flags } = frames;
    const wanted = paeXenL2 ? f.PAE_XEN_L2 : 0;
    if (frames.typeCount[slot] === 0) {
      if (frames.type[slot] === type && (flags[slot] & f.VALIDATED) !== 0) {
        frames.typeCount[slot] = 1;
        return 0;
      }
      if (frames.type[slot] !== type) {
        // No processor may keep a translation that would let the guest write what is about to be trusted.
        this.tlbs.flushSince(frames.stamp[slot]);
        frames.type[slot] = type;
      }
      frames.typeCount[slot] = 1;
      flags[slot] = (flags[slot] & ~(f.VALIDATED | f.PAE_XEN_L2)) | wanted;
    } else if (frames.type[slot] !== type || (flags[slot] & f.PAE_XEN_L2) !== wanted) return -EINVAL;
    else if ((flags[slot] & f.VALIDATED) !== 0) {
      frames.typeCount[slot]++;
      return 0;
    } else if ((flags[slot] & f.PARTIAL) === 0) return -EINVAL;
    const resumed = (flags[slot] & f.PARTIAL) !== 0;
    flags[slot] &= ~f.PARTIAL;
    if (type === f.TYPE_WRITABLE || type === f.TYPE_SHARED) {
      flags[slot] |= f.VALIDATED;
      return 0;
    }
    if (!resumed) {
      frames.validated[slot] = 0;
      frames.childPartial[slot] = 0;
      frames.linear[slot] = 0;
    }
    const result = this.validate(slot, type);
    if (resumed) this.putPage(slot);
    return result;
  }

  private validate(slot: number, type: PageType): number {
    const { frames } = this;
    const result = this.contents.promote(slot, type);
    if (result === 0) frames.flags[slot] |= f.VALIDATED;
    else if (result === PARTIAL_WORK) this.keepPartial(slot);
    else {
      frames.typeCount[slot] = 0;
      frames.flags[slot] &= ~f.PAE_XEN_L2;
      if (result !== STOPPED) frames.type[slot] = f.TYPE_NONE;
      frames.stamp[slot] = this.tlbs.now;
    }
    return result;
  }

  private keepPartial(slot: number): void {
    this.frames.refs[slot]++;
    this.frames.flags[slot] |= f.PARTIAL;
  }

  /**
   * Gives up a type reference. `parent` is the table of the same level in which the entry was, or NO_SLOT. With `partial` only unfinished
   * work is finished. 0; {@link STOPPED}: the reference is still held; {@link PARTIAL_WORK}: the frame's own flag holds it.
   */
  putType(slot: number, parent: number = f.NO_SLOT, partial = false): number {
    const { frames } = this;
    const { flags } = frames;
    const type = frames.type[slot] as PageType;
    const wasPartial = (flags[slot] & f.PARTIAL) !== 0;
    if (partial && !wasPartial) return 0;
    const linear = parent !== f.NO_SLOT && frames.type[parent] === type;
    if (frames.typeCount[slot] === 1 && type >= f.TYPE_L1 && type <= f.TYPE_L4) {
      const validated = (flags[slot] & f.VALIDATED) !== 0;
      if (!wasPartial) {
        frames.validated[slot] = 512;
        frames.childPartial[slot] = 0;
      }
      flags[slot] &= ~(f.VALIDATED | f.PARTIAL);
      const result = this.contents.demote(slot, type);
      if (linear && validated && result !== STOPPED) this.unlink(slot, parent);
      if (result === STOPPED) flags[slot] |= wasPartial ? f.PARTIAL : f.VALIDATED;
      else {
        if (result === PARTIAL_WORK) this.keepPartial(slot);
        else this.dropLast(slot);
        if (wasPartial) this.putPage(slot);
      }
      return result;
    }
    if (frames.typeCount[slot] === 1) this.dropLast(slot);
    else frames.typeCount[slot]--;
    if (linear) this.unlink(slot, parent);
    return 0;
  }

  private dropLast(slot: number): void {
    const { frames } = this;
    frames.typeCount[slot] = 0;
    frames.flags[slot] &= ~f.PAE_XEN_L2;
    frames.stamp[slot] = this.tlbs.now;
  }

  /** An entry of `parent` no longer refers to a table of its own level. */
  unlink(slot: number, parent: number): void {
    this.frames.linear[slot]++;
    this.frames.linear[parent]--;
  }

  /** A type reference that comes with a general one. */
  putPageAndType(slot: number): void {
    if (this.putType(slot) !== 0) throw new Error(`frame ${this.frames.mfnOf(slot)} cannot be given up at once`);
    this.putPage(slot);
  }
}
