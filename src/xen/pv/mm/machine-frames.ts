/** The domain's frames as the rest of the hypervisor uses them: pages of linear memory, held for areas, events and grants. */
import type { Frame } from '../../../machine/index.ts';
import type { MachineFrames } from '../../memory/p2m.ts';
import * as f from './frame-table.ts';
import type { PvMemory } from './pv-memory.ts';

export class HeldFrames implements MachineFrames {
  private readonly mm: PvMemory;
  /** Holds by slot, all of them and those of the writable type; kept apart from the counts of the frame table for the accounting. */
  readonly held = new Map<number, number>();
  readonly heldWritable = new Map<number, number>();

  constructor(mm: PvMemory) {
    this.mm = mm;
  }

  frameAt(mfn: number): Frame {
    const slot = this.mm.frames.slotOf(mfn);
    return slot === f.NO_SLOT ? 0 : this.mm.frames.frame[slot];
  }

  hold(frame: Frame): void {
    const slot = this.slot(frame);
    this.mm.frames.refs[slot]++;
    count(this.held, slot, 1);
  }

  release(frame: Frame): void {
    const slot = this.slot(frame);
    count(this.held, slot, -1);
    this.mm.types.putPage(slot);
  }

  holdWritable(frame: Frame): boolean {
    const slot = this.slot(frame);
    if (this.mm.types.getType(slot, f.TYPE_WRITABLE) !== 0) return false;
    this.mm.frames.refs[slot]++;
    count(this.held, slot, 1);
    count(this.heldWritable, slot, 1);
    return true;
  }

  releaseWritable(frame: Frame): void {
    const slot = this.slot(frame);
    count(this.held, slot, -1);
    count(this.heldWritable, slot, -1);
    this.mm.types.putPageAndType(slot);
  }

  share(frame: Frame): number {
    return this.mm.share(frame);
  }

  withdraw(frame: Frame): boolean {
    const { frames } = this.mm;
    const slot = this.mm.slotOfFrame(frame);
    if (slot === f.NO_SLOT || frames.refs[slot] === 0) return true;
    if ((frames.flags[slot] & f.ALLOCATED) === 0 || frames.refs[slot] !== 1) return false;
    this.mm.unshare(slot);
    return true;
  }

  private slot(frame: Frame): number {
    const slot = this.mm.slotOfFrame(frame);
    if (slot === f.NO_SLOT) throw new RangeError(`page ${frame} is no frame of the domain`);
    return slot;
  }
}

function count(counts: Map<number, number>, slot: number, by: number): void {
  const next = (counts.get(slot) ?? 0) + by;
  if (next === 0) counts.delete(slot);
  else counts.set(slot, next);
}
