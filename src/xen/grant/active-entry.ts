/** The hypervisor's record of a grant reference that is mapped or being copied through. */
import type { Frame } from '../../machine/index.ts';

/** Pins of one kind are counted in eight bits. */
const MAX_PINS = 255;

export class ActiveEntry {
  /** Host and device mappings, read-only and writable. */
  readers = 0;
  writers = 0;
  /** Who uses it. */
  domid = 0;
  /** Granted frame, and the part of it that may be copied. */
  frame: Frame = 0;
  gfn = 0;
  start = 0;
  length = 0;
  subPage = false;

  get pinned(): boolean {
    return this.readers + this.writers > 0;
  }

  /** One more pin would not overflow. */
  canPin(readonly: boolean): boolean {
    return (readonly ? this.readers : this.writers) < MAX_PINS;
  }

  pin(readonly: boolean): void {
    if (readonly) this.readers++;
    else this.writers++;
  }

  unpin(readonly: boolean): void {
    if (readonly) this.readers--;
    else this.writers--;
  }
}
