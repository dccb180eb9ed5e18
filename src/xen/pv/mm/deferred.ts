/**
 * A table that a vCPU still has to give up: work that was interrupted is finished before the vCPU's next memory management hypercall returns
 * (key `xen:arch/x86/mm.c`). One a vCPU, and one for whoever builds the domain.
 */
import { NO_SLOT } from './frame-table.ts';
import { PARTIAL_WORK, type PageTypes, STOPPED } from './page-types.ts';

export class Deferred {
  private readonly types: PageTypes;
  private readonly slots: Int32Array;
  private readonly partial: Uint8Array;
  /** Whose work is being done: a vCPU id, or the number of vCPUs for the builder. */
  current: number;

  constructor(types: PageTypes, vcpus: number) {
    this.types = types;
    this.slots = new Int32Array(vcpus + 1).fill(NO_SLOT);
    this.partial = new Uint8Array(vcpus + 1);
    this.current = vcpus;
  }

  get waiting(): boolean {
    return this.slots[this.current] !== NO_SLOT;
  }

  /** Gives up a table later. */
  later(slot: number): void {
    this.note(slot, false);
  }

  private note(slot: number, partial: boolean): void {
    if (this.waiting) throw new Error('a table already waits to be given up');
    this.slots[this.current] = slot;
    this.partial[this.current] = partial ? 1 : 0;
  }

  /** Gives up a table now, or as much of it as may be done. True when nothing waits. */
  now(slot: number): boolean {
    const result = this.types.putType(slot);
    if (result === 0) this.types.putPage(slot);
    else this.note(slot, result === PARTIAL_WORK);
    return result === 0;
  }

  /** Goes on with what waits. True when nothing waits any more. */
  finish(): boolean {
    const { current } = this;
    const slot = this.slots[current];
    if (slot === NO_SLOT) return true;
    const result = this.types.putType(slot, NO_SLOT, this.partial[current] !== 0);
    if (result === STOPPED || result === PARTIAL_WORK) {
      if (result === PARTIAL_WORK) this.partial[current] = 1;
      return false;
    }
    this.slots[current] = NO_SLOT;
    this.types.putPage(slot);
    return true;
  }

  /** Slots that wait, with how much they still hold; for the accounting. */
  *all(): Iterable<{ readonly slot: number; readonly partial: boolean }> {
    for (let i = 0; i < this.slots.length; i++)
      if (this.slots[i] !== NO_SLOT) yield { slot: this.slots[i], partial: this.partial[i] !== 0 };
  }
}
