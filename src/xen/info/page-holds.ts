/**
 * Frames of the guest that the hypervisor keeps mapped for itself: registered areas, FIFO control blocks and event words, granted pages.
 * A held frame stays what it is when the guest remaps or gives up its frame number; it is not freed meanwhile and may not become a page table.
 */
import { EACCES, EINVAL } from '../../abi/xen/errno.ts';
import { gfn as asGfn } from '../../base/int.ts';
import type { Frame } from '../../machine/index.ts';
import type { P2m } from '../memory/p2m.ts';

export class PageHolds {
  private readonly p2m: P2m;

  constructor(p2m: P2m) {
    this.p2m = p2m;
  }

  /** Holds the page behind a frame number. EINVAL: none, not the domain's, or not writable; EACCES: in use as another type. */
  hold(gfn: number): { readonly frame: Frame } | number {
    const frame = this.p2m.frameAt(gfn);
    if (frame === 0 || this.p2m.isForeign(asGfn(gfn)) || !this.p2m.memory.isWritable(asGfn(gfn))) return -EINVAL;
    if (this.p2m.machine === undefined) this.p2m.hold(frame);
    else if (!this.p2m.machine.holdWritable(frame)) return -EACCES;
    return { frame };
  }

  release(frame: Frame): void {
    if (this.p2m.machine === undefined) this.p2m.unhold(frame);
    else this.p2m.machine.releaseWritable(frame);
  }

  /** Bytes `offset` to `offset + length` of a frame. */
  view(frame: Frame, offset = 0, length = 4096): DataView {
    return new DataView(this.p2m.memory.bytes.buffer, frame * 4096 + offset, length);
  }
}
