/**
 * The physical-to-machine map of a translated domain: which page frame is at which guest frame, and who owns frames.
 *
 * Ordinary frames are counted against the domain's limit. Special frames (shared_info, grant table) belong to the hypervisor:
 * they have at most one guest frame number, move when added elsewhere, and are never freed by the guest. A frame may also be held by
 * the hypervisor (a registered vcpu_info, a grant mapping); then it outlives its removal from the map.
 */
import { EINVAL, ENOENT } from '../../abi/xen/errno.ts';
import type { Gfn } from '../../base/int.ts';
import { gfn as asGfn } from '../../base/int.ts';
import type { Frame, GuestMemory } from '../../machine/index.ts';

/** Guest frames above this do not exist on the modelled processor (39-bit physical addresses). */
export const MAX_GFN = 2 ** 27 - 1;

/** The frames of a PV domain, which it names by machine frame numbers. Everything here counts in its memory management. */
export interface MachineFrames {
  /** Page of a frame that the domain owns, 0 when it does not. */
  frameAt(mfn: number): Frame;
  hold(frame: Frame): void;
  release(frame: Frame): void;
  /** Holds a frame as one that may be written; false when it is in use as something else. */
  holdWritable(frame: Frame): boolean;
  releaseWritable(frame: Frame): void;
  /** Machine frame number of a page of the hypervisor's, by which the guest may map it from now on. */
  share(frame: Frame): number;
  /** The guest may not map such a page any more; false when it still refers to it. */
  withdraw(frame: Frame): boolean;
}

export class P2m {
  readonly memory: GuestMemory;
  /** Set for PV domains. */
  machine: MachineFrames | undefined;
  /** Pages the domain owns now and may own at most. */
  totalPages = 0;
  maxPages: number;
  /** Highest guest frame ever mapped. */
  maxMappedGfn = 0;
  /** Special frames and where they are mapped. */
  private readonly special = new Map<Frame, Gfn | undefined>();
  /** Frames the guest sees but does not own: grant mappings. */
  private readonly foreign = new Set<Gfn>();
  /** Frames the hypervisor uses, and whether the guest gave them up meanwhile. */
  private readonly held = new Map<Frame, { count: number; orphaned: boolean }>();

  constructor(memory: GuestMemory, maxPages: number) {
    this.memory = memory;
    this.maxPages = maxPages;
  }

  frameAt(gfn: number): Frame {
    if (this.machine !== undefined) return this.machine.frameAt(gfn);
    return gfn > MAX_GFN ? 0 : this.memory.pageAt(asGfn(gfn));
  }

  isSpecial(frame: Frame): boolean {
    return this.special.has(frame);
  }

  isForeign(gfn: Gfn): boolean {
    return this.foreign.has(gfn);
  }

  /** A frame of the domain's own RAM at a guest frame, 0 when there is none (holes, special and foreign frames). */
  ramAt(gfn: number): Frame {
    const frame = this.frameAt(gfn);
    // A PV guest's special frames are its own like any other.
    if (this.machine !== undefined) return frame;
    return frame === 0 || this.special.has(frame) || this.foreign.has(asGfn(gfn)) ? 0 : frame;
  }

  /** A hypervisor frame without a guest frame number; 0 when memory is exhausted. */
  allocateSpecial(): Frame {
    const frame = this.memory.allocatePage();
    if (frame !== 0) this.special.set(frame, undefined);
    return frame;
  }

  gfnOfSpecial(frame: Frame): Gfn | undefined {
    return this.special.get(frame);
  }

  /** Allocates RAM at a guest frame. What was there is forgotten like on Xen (a leak of the guest's own making). False: limit or memory exhausted, or no such frame. */
  populate(gfn: number): boolean {
    if (gfn > MAX_GFN || this.totalPages >= this.maxPages) return false;
    const frame = this.memory.allocatePage();
    if (frame === 0) return false;
    this.totalPages++;
    const before = this.frameAt(gfn);
    if (before !== 0) this.forget(asGfn(gfn), before);
    this.put(asGfn(gfn), frame);
    return true;
  }

  /** Allocates RAM at consecutive guest frames that have none; frames that have RAM keep it. False: some could not be given. */
  populateRange(first: number, count: number): boolean {
    if (this.totalPages + count <= this.maxPages && this.memory.mapFresh(asGfn(first), count)) {
      this.totalPages += count;
      this.maxMappedGfn = Math.max(this.maxMappedGfn, first + count - 1);
      return true;
    }
    for (let gfn = first; gfn < first + count; gfn++) if (this.frameAt(gfn) === 0 && !this.populate(gfn)) return false;
    return true;
  }

  /** Removes the domain's own RAM page and frees it. ENOENT: nothing there; EINVAL: not the domain's RAM. */
  remove(gfn: number): number {
    const frame = this.frameAt(gfn);
    if (frame === 0) return -ENOENT;
    if (this.foreign.has(asGfn(gfn))) return -EINVAL;
    this.memory.unmap(asGfn(gfn));
    if (this.special.has(frame)) this.special.set(frame, undefined);
    else this.release(frame);
    return 0;
  }

  /** Removes a mapping; the page stays the domain's (only its place is gone). ENOENT. */
  unhook(gfn: number): number {
    const frame = this.frameAt(gfn);
    if (frame === 0) return -ENOENT;
    this.forget(asGfn(gfn), frame);
    this.memory.unmap(asGfn(gfn));
    return 0;
  }

  /** Maps a special frame at a guest frame: RAM there is freed, another special frame unhooked, the frame's former place becomes a hole. */
  placeSpecial(frame: Frame, gfn: Gfn): void {
    const before = this.frameAt(gfn);
    if (before === frame) return;
    if (before !== 0) this.vacate(gfn, before);
    const old = this.special.get(frame);
    if (old !== undefined) this.memory.unmap(old);
    this.special.set(frame, gfn);
    this.put(gfn, frame);
  }

  /** Moves RAM from one guest frame to another; what was at the target is freed. */
  move(from: Gfn, to: Gfn): void {
    const frame = this.frameAt(from);
    if (from === to) return;
    const before = this.frameAt(to);
    if (before !== 0) this.vacate(to, before);
    this.memory.unmap(from);
    this.put(to, frame);
  }

  /** Shows a frame owned by someone else (or by the guest under another number) at a guest frame. */
  mapForeign(gfn: Gfn, frame: Frame, writable: boolean): void {
    const before = this.frameAt(gfn);
    if (before !== 0) this.vacate(gfn, before);
    this.foreign.add(gfn);
    this.memory.map(gfn, frame, { writable });
    this.maxMappedGfn = Math.max(this.maxMappedGfn, gfn);
  }

  unmapForeign(gfn: Gfn): void {
    if (!this.foreign.delete(gfn)) throw new RangeError(`guest frame ${gfn} is not foreign`);
    this.memory.unmap(gfn);
  }

  /** Keeps a frame alive for the hypervisor's own use. */
  hold(frame: Frame): void {
    if (this.machine !== undefined) {
      this.machine.hold(frame);
      return;
    }
    const entry = this.held.get(frame);
    if (entry === undefined) this.held.set(frame, { count: 1, orphaned: false });
    else entry.count++;
  }

  /** Gives up one hold; with the last one a frame the guest gave up meanwhile is freed. */
  unhold(frame: Frame): void {
    if (this.machine !== undefined) {
      this.machine.release(frame);
      return;
    }
    const entry = this.held.get(frame);
    if (entry === undefined) throw new RangeError(`frame ${frame} is not held`);
    if (--entry.count > 0) return;
    this.held.delete(frame);
    if (entry.orphaned) this.free(frame);
  }

  private put(gfn: Gfn, frame: Frame): void {
    this.memory.map(gfn, frame);
    this.maxMappedGfn = Math.max(this.maxMappedGfn, gfn);
  }

  private vacate(gfn: Gfn, frame: Frame): void {
    const own = this.forget(gfn, frame);
    if (own && !this.special.has(frame)) this.release(frame);
    this.memory.unmap(gfn);
  }

  /** Drops what is noted about a mapping; false when the frame was foreign there. */
  private forget(gfn: Gfn, frame: Frame): boolean {
    if (this.special.get(frame) === gfn) this.special.set(frame, undefined);
    return !this.foreign.delete(gfn);
  }

  /** The guest gave a page of RAM back. */
  private release(frame: Frame): void {
    const entry = this.held.get(frame);
    if (entry !== undefined) entry.orphaned = true;
    else this.free(frame);
  }

  private free(frame: Frame): void {
    this.totalPages--;
    this.memory.freePage(frame);
  }
}
