/**
 * Changes of single entries of validated tables (key `xen:arch/x86/mm.c`): the new entry is checked and what it refers to taken, then it is
 * written, then what the old one referred to is given up.
 */
import { EINVAL, EPERM } from '../../../abi/xen/errno.ts';
import type { Deferred } from './deferred.ts';
import {
  A,
  adjustHigh,
  adjustLow,
  CHECKED_HIGH,
  checkBits,
  D,
  frameOf,
  type Level,
  P,
  UNCHECKED_LOW,
  type Width,
} from './entries.ts';
import * as f from './frame-table.ts';
import { PARTIAL_WORK, type PageTypes, STOPPED } from './page-types.ts';
import { isXenL4Slot, type Validator } from './validate.ts';
import { COMPAT_L2_FIRST_XEN_SLOT } from './xen-tables.ts';

export class Modifier {
  /** Bytes of a machine frame were written by the hypervisor. */
  onWrite: (mfn: number, offset: number, length: number) => void = () => {};
  private readonly types: PageTypes;
  private readonly validator: Validator;
  private readonly deferred: Deferred;
  private readonly width: Width;
  private readonly u32: Uint32Array;

  constructor(types: PageTypes, validator: Validator, deferred: Deferred, width: Width, u32: Uint32Array) {
    this.types = types;
    this.validator = validator;
    this.deferred = deferred;
    this.width = width;
    this.u32 = u32;
  }

  /**
   * Entry `index` of a table of `level` becomes the given one. EPERM, EINVAL: the hypervisor's entries; EINVAL: bits; then what
   * {@link Validator.takeData} and {@link Validator.takeTable} answer. {@link PARTIAL_WORK}: go on later; nothing is written.
   */
  modify(level: Level, slot: number, index: number, low: number, high: number, preserve: boolean): number {
    const own = level === 1 ? 0 : this.ownEntry(level, slot, index);
    if (own !== 0) return own;
    const at = this.validator.at(slot, index);
    const oldLow = this.u32[at],
      oldHigh = this.u32[at + 1];
    if ((low & P) === 0) {
      this.put(slot, index, low, high, preserve);
      this.drop(level, slot, oldLow, oldHigh);
      return 0;
    }
    const bits = checkBits(level, this.width, low, high);
    if (bits !== 0) return bits;
    const newLow = adjustLow(level, this.width, low, high);
    const newHigh = adjustHigh(level, this.width, low, high);
    const changed = ((oldLow ^ newLow) & ~UNCHECKED_LOW) | ((oldHigh ^ newHigh) & CHECKED_HIGH);
    if (changed !== 0) {
      const result = this.take(level, slot, newLow, newHigh);
      if (result !== 0) return result;
    }
    this.put(slot, index, newLow, newHigh, preserve);
    if (changed !== 0) this.drop(level, slot, oldLow, oldHigh);
    return 0;
  }

  private ownEntry(level: Level, slot: number, index: number): number {
    if (level === 2)
      return (this.types.frames.flags[slot] & f.PAE_XEN_L2) !== 0 && index >= COMPAT_L2_FIRST_XEN_SLOT ? -EPERM : 0;
    if (level === 3) return this.width === 32 && index >= 3 ? -EINVAL : 0;
    return isXenL4Slot(index, this.width) ? -EINVAL : 0;
  }

  private take(level: Level, slot: number, low: number, high: number): number {
    if (level === 1) return this.validator.takeData(low, high);
    const result = this.validator.takeTable(level, low, high, slot, false, false);
    // The frame's own flag keeps it while validation waits.
    if (result === PARTIAL_WORK) this.types.putPage(frameOf(low, high) - this.types.frames.base);
    return result === STOPPED ? PARTIAL_WORK : result;
  }

  private drop(level: Level, slot: number, low: number, high: number): void {
    const { frames } = this.types;
    if (level === 1) {
      this.validator.dropData(low, high);
      return;
    }
    if ((low & P) === 0 || frameOf(low, high) === frames.mfnOf(slot)) return;
    const child = frameOf(low, high) - frames.base;
    if (frames.type[child] === level) this.types.unlink(child, slot);
    // Giving up a table of tables takes long: the hypercall does it before it ends, and can be interrupted.
    if (frames.type[child] > f.TYPE_L1 && frames.typeCount[child] === 1) this.deferred.later(child);
    else this.types.putPageAndType(child);
  }

  /** Writes an entry as it is; `preserve` keeps accessed and dirty bits that were set. */
  put(slot: number, index: number, low: number, high: number, preserve = false): void {
    const at = this.validator.at(slot, index);
    this.u32[at] = preserve ? (low | (this.u32[at] & (A | D))) >>> 0 : low;
    this.u32[at + 1] = high;
    this.onWrite(this.types.frames.mfnOf(slot), index * 8, 8);
  }
}
