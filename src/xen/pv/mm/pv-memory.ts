/**
 * Memory of a PV domain: direct paging. The guest's page tables hold machine frame numbers and are what the processor walks; the hypervisor makes sure
 * that every entry is one the guest may have, by giving frames types and counting who relies on them (`frame-table.ts`, `page-types.ts`,
 * `validate.ts`).
 */
import { EINVAL } from '../../../abi/xen/errno.ts';
import { VMASST_TYPE_m2p_strict, VMASST_TYPE_pae_extended_cr3 } from '../../../abi/xen/misc.ts';
import { gfn } from '../../../base/int.ts';
import * as STATE from '../../../cpu/state.ts';
import type { Frame, GuestMemory } from '../../../machine/index.ts';
import type { Domain } from '../../domain.ts';
import type { Vcpu } from '../../vcpu.ts';
import { loadLdt } from '../processor.ts';
import { checkAccounting } from './accounting.ts';
import { Deferred } from './deferred.ts';
import { DescriptorTables } from './descriptor-tables.ts';
import { frameOf, type Level, P, RW, type Width } from './entries.ts';
import type { PageType } from './frame-table.ts';
import * as f from './frame-table.ts';
import { FrameTable } from './frame-table.ts';
import { LinearLookup, l1Index } from './linear.ts';
import { HeldFrames } from './machine-frames.ts';
import { Modifier } from './modify.ts';
import { PARTIAL_WORK, PageTypes, STOPPED } from './page-types.ts';
import { Roots } from './roots.ts';
import { writeTableBytes } from './table-write.ts';
import { Tlbs } from './tlb.ts';
import { Validator } from './validate.ts';
import { XenTables } from './xen-tables.ts';

/** Machine frame number of the lowest frame of a domain: not 0, and the guest's frames are numbered from the top down, so that no guest mixes them up with its own numbers. */
const FIRST_MFN = 0x1_0000,
  /** Of domains that would else reach beyond 4 GiB, where looking up a frame takes longer. */
  FIRST_MFN_OF_LARGE = 0x1000;

/** What memory management keeps for a vCPU, and needs of it. */
export interface MmuVcpu {
  readonly vcpu: Vcpu;
  /** Machine frames of the root tables; 0 and undefined: none. */
  kernelRoot: number;
  userRoot: number | undefined;
  /** The processor walks the kernel's root. 32-bit guests have no other. */
  inKernel: boolean;
}

export class PvMemory {
  readonly domain: Domain;
  readonly width: Width;
  readonly frames: FrameTable;
  readonly types: PageTypes;
  readonly tlbs: Tlbs;
  readonly xen: XenTables;
  readonly validator: Validator;
  readonly modifier: Modifier;
  readonly deferred: Deferred;
  readonly linear: LinearLookup;
  readonly roots: Roots;
  readonly tables: DescriptorTables;
  readonly held: HeldFrames;
  readonly sharedInfoMfn: number;
  private readonly memory: GuestMemory;
  private readonly u32: Uint32Array;
  private readonly slotByFrame: Int32Array;
  /** Who is served now; undefined is the builder, whom nothing interrupts. */
  private caller: Vcpu | undefined;

  constructor(domain: Domain, width: Width) {
    this.domain = domain;
    this.width = width;
    this.memory = domain.memory;
    const u32 = new Uint32Array(this.memory.bytes.buffer);
    this.u32 = u32;
    const slots = slotsFor(domain.config.maxPages, domain.config.maxGrantFrames);
    const first = FIRST_MFN + slots + (slots >>> 8) < 0x10_0000 ? FIRST_MFN : FIRST_MFN_OF_LARGE;
    this.frames = new FrameTable(first, slots);
    this.slotByFrame = new Int32Array(this.memory.bytes.length >>> 12).fill(f.NO_SLOT);
    this.tlbs = new Tlbs(domain);
    this.xen = new XenTables(this.memory, width, first, slots);
    this.types = new PageTypes(this.frames, this.tlbs, (slot) => this.free(slot));
    this.validator = new Validator(this.types, this.xen, width, u32);
    this.types.contents = this.validator;
    this.validator.preempt = () => this.caller !== undefined && domain.upcalls.deliverable(this.caller);
    this.deferred = new Deferred(this.types, domain.config.maxVcpus);
    this.modifier = new Modifier(this.types, this.validator, this.deferred, width, u32);
    this.linear = new LinearLookup(this.memory, this.frames, u32);
    this.roots = new Roots(this);
    this.tables = new DescriptorTables(this, u32);
    this.held = new HeldFrames(this);
    domain.p2m.machine = this.held;
    this.sharedInfoMfn = this.share(domain.sharedInfo);
    this.xen.strict = () => this.assists(VMASST_TYPE_m2p_strict);
    this.validator.highRoots = () =>
      this.assists(VMASST_TYPE_pae_extended_cr3) || domain.vcpus[0]?.isInitialised !== true;
  }

  private assists(type: number): boolean {
    return ((this.domain.vmAssist >> BigInt(type)) & 1n) !== 0n;
  }

  /** Pages of linear memory for the tables of a domain, besides the guest's own. */
  static overheadPages(width: Width, maxPages: number, grantFrames: number, vcpus: number): number {
    return XenTables.pages(width, slotsFor(maxPages, grantFrames), vcpus);
  }

  // ---- frames ----

  /** A machine frame of the domain's, zeroed, with this pfn in the M2P; undefined when none is left. Counted by nobody but here. */
  allocate(pfn: number): number | undefined {
    const first = this.allocateRun(1);
    if (first !== undefined) this.setM2p(first, pfn);
    return first;
  }

  /** `count` (a power of two) consecutive frames, aligned to their number; the first one, or undefined. Their M2P entries say "none". */
  allocateRun(count: number): number | undefined {
    const { p2m } = this.domain;
    if (p2m.totalPages + count > p2m.maxPages || this.memory.available < count) return undefined;
    const slot = this.frames.findFree(count);
    if (slot === f.NO_SLOT) return undefined;
    for (let i = 0; i < count; i++) {
      this.assign(slot + i, this.memory.allocatePage());
      this.xen.setPfn(this.frames.mfnOf(slot + i), 0xffff_ffff, 0xffff_ffff);
    }
    p2m.totalPages += count;
    return this.frames.mfnOf(slot);
  }

  private assign(slot: number, frame: Frame): void {
    const mfn = this.frames.mfnOf(slot);
    this.frames.assign(slot, frame);
    this.slotByFrame[frame] = slot;
    this.memory.map(gfn(mfn), frame);
    // What was decoded from the page under its former number.
    this.modifier.onWrite(mfn, 0, 4096);
  }

  /** Nobody refers to a frame any more. */
  private free(slot: number): void {
    const { frames } = this;
    this.tlbs.flushAll();
    // The guest gave up a page of the hypervisor's: it cannot map it any more, and that is all.
    if ((frames.flags[slot] & f.SPECIAL) !== 0) return;
    const frame = frames.frame[slot];
    this.xen.setPfn(frames.mfnOf(slot), 0xffff_ffff, 0xffff_ffff);
    this.memory.unmap(gfn(frames.mfnOf(slot)));
    this.slotByFrame[frame] = f.NO_SLOT;
    frames.clear(slot);
    this.memory.freePage(frame);
    this.domain.p2m.totalPages--;
  }

  /** Makes a page of the hypervisor's known to the guest: it may map it, also writable. Its machine frame number. */
  share(frame: Frame): number {
    const { frames } = this;
    let slot = this.slotByFrame[frame];
    if (slot !== f.NO_SLOT && frames.refs[slot] !== 0) return frames.mfnOf(slot);
    if (slot === f.NO_SLOT) {
      slot = frames.findFreeLow();
      if (slot === f.NO_SLOT) throw new RangeError('no machine frame number left for a shared page');
      this.assign(slot, frame);
    }
    frames.refs[slot] = 1;
    frames.flags[slot] = f.ALLOCATED | f.SPECIAL | f.VALIDATED;
    frames.type[slot] = f.TYPE_WRITABLE;
    frames.typeCount[slot] = 1;
    return frames.mfnOf(slot);
  }

  /** The guest, which does not refer to it, may not map such a page any more. */
  unshare(slot: number): void {
    this.frames.refs[slot] = 0;
    this.frames.typeCount[slot] = 0;
    this.tlbs.flushAll();
  }

  /** The domain gives up a frame; it goes when nothing refers to it any more. False: it is not the domain's, or was given up already. */
  giveUp(mfn: number): boolean {
    const { frames } = this;
    const slot = frames.slotOf(mfn);
    if (slot === f.NO_SLOT) return false;
    if ((frames.flags[slot] & f.ALLOCATED) !== 0) {
      frames.flags[slot] &= ~f.ALLOCATED;
      this.types.putPage(slot);
    }
    return true;
  }

  /** Takes an idle frame away from the domain without forgetting its page. */
  steal(slot: number): void {
    const { frames } = this;
    frames.refs[slot] = 0;
    frames.flags[slot] = 0;
    frames.type[slot] = f.TYPE_NONE;
    this.tlbs.flushAll();
  }

  /** A stolen frame is the domain's again. */
  giveBack(slot: number): void {
    this.frames.assign(slot, this.frames.frame[slot]);
  }

  /** The page of a stolen frame gets another machine frame number, and is zeroed. The old number is free. */
  renumber(from: number, to: number): void {
    const { frames } = this;
    const frame = frames.frame[from];
    this.xen.setPfn(frames.mfnOf(from), 0xffff_ffff, 0xffff_ffff);
    this.memory.unmap(gfn(frames.mfnOf(from)));
    frames.clear(from);
    this.memory.frameBytes(frame).fill(0);
    this.assign(to, frame);
  }

  /** A frame that only its being the domain's keeps: neither mapped nor a table, nor the hypervisor's. */
  isIdle(mfn: number): boolean {
    const { frames } = this;
    const slot = frames.slotOf(mfn);
    if (slot === f.NO_SLOT) return false;
    return frames.refs[slot] === 1 && (frames.flags[slot] & (f.ALLOCATED | f.SPECIAL)) === f.ALLOCATED;
  }

  /** Slot of a page of linear memory, NO_SLOT when it is none of the domain's frames. */
  slotOfFrame(frame: Frame): number {
    return this.slotByFrame[frame];
  }

  /** Bytes of a page were written past the guest: decoded code there is out of date. */
  wroteFrame(frame: Frame, offset: number, length: number): void {
    const slot = this.slotByFrame[frame];
    if (slot !== f.NO_SLOT) this.modifier.onWrite(this.frames.mfnOf(slot), offset, length);
  }

  bytes(mfn: number): Uint8Array<ArrayBuffer> {
    const slot = this.frames.slotOf(mfn);
    if (slot === f.NO_SLOT) throw new RangeError(`the domain has no machine frame ${mfn}`);
    return this.memory.frameBytes(this.frames.frame[slot]);
  }

  m2p(mfn: number): number {
    return this.xen.pfnOf(mfn);
  }

  setM2p(mfn: number, pfn: number): void {
    this.xen.setPfn(mfn, pfn >>> 0, Math.floor(pfn / 2 ** 32));
  }

  typeOf(mfn: number): PageType {
    const slot = this.frames.slotOf(mfn);
    return slot === f.NO_SLOT ? f.TYPE_NONE : (this.frames.type[slot] as PageType);
  }

  // ---- types ----

  /** Takes a general and a type reference to a machine frame. EINVAL: not the domain's, or what {@link PageTypes.getType} answers, nothing held. */
  take(mfn: number, type: PageType): number {
    const slot = this.types.getPage(mfn);
    if (slot === f.NO_SLOT) return -EINVAL;
    const result = this.types.getType(slot, type);
    if (result !== 0) this.types.putPage(slot);
    return result;
  }

  /** Whose hypercall is at work: decides what may interrupt it and where interrupted work waits. */
  enter(vcpu: Vcpu | undefined): void {
    this.deferred.current = vcpu === undefined ? this.domain.config.maxVcpus : vcpu.id;
    this.caller = vcpu;
  }

  /** Pins a table of a level for the builder. 0, or -EINVAL: not the domain's, not valid, or pinned already. */
  pin(level: Level, mfn: number): number {
    this.enter(undefined);
    return this.pinTable(level, mfn);
  }

  /** As a guest pins. -EINVAL; {@link PARTIAL_WORK}: go on later. */
  pinTable(level: Level, mfn: number): number {
    const { frames, types } = this;
    const slot = types.getPage(mfn);
    if (slot === f.NO_SLOT) return -EINVAL;
    const result = types.getType(slot, level);
    if (result !== 0) {
      types.putPage(slot);
      return result === STOPPED ? PARTIAL_WORK : result;
    }
    if ((frames.flags[slot] & f.PINNED) !== 0) {
      // The second reference is not the last one: it is dropped without work.
      types.putType(slot);
      types.putPage(slot);
      return -EINVAL;
    }
    frames.flags[slot] |= f.PINNED;
    return 0;
  }

  /** -EINVAL: not the domain's, or not pinned. What cannot be given up at once waits. */
  unpinTable(mfn: number): number {
    const slot = this.frames.slotOf(mfn);
    if (slot === f.NO_SLOT || (this.frames.flags[slot] & f.PINNED) === 0) return -EINVAL;
    this.frames.flags[slot] &= ~f.PINNED;
    this.deferred.now(slot);
    return 0;
  }

  /** Halves of an entry of a table. */
  entryAt(slot: number, index: number): readonly [low: number, high: number] {
    const at = this.validator.at(slot, index);
    return [this.u32[at], this.u32[at + 1]];
  }

  /** Frame accounting: what does not agree with the tables; empty when everything does. */
  check(): string[] {
    return checkAccounting(this, this.domain.pv?.vcpus ?? []);
  }

  // ---- what the other files do, in the words of the interface ----

  /** The vCPU's kernel root. 0, -errno, or 'again'. */
  setKernelRoot(pv: MmuVcpu, mfn: number): number | 'again' {
    return this.roots.setKernel(pv, mfn);
  }

  /** The running vCPU changes its kernel root: it is loaded too, even when the old one is not given up yet ('again'). */
  switchKernelRoot(pv: MmuVcpu, mfn: number): number | 'again' {
    this.enter(pv.vcpu);
    const result = this.setKernelRoot(pv, mfn);
    if (pv.kernelRoot === mfn) this.loadRoot(pv);
    return result;
  }

  setUserRoot(pv: MmuVcpu, mfn: number | undefined): number | 'again' {
    return this.roots.setUser(pv, mfn);
  }

  /** Puts the root of the vCPU's present mode into CR3 and drops its translations; those of user pages may be kept on a mere change of mode. */
  loadRoot(pv: MmuVcpu, keepUserPages = false): void {
    const { cpu } = pv.vcpu;
    cpu.set64(STATE.CR3, BigInt(this.roots.current(pv)) << 12n);
    if (keepUserPages) cpu.flushTlb(false);
    else this.tlbs.flush(pv.vcpu);
  }

  setGdt(pv: MmuVcpu, frames: readonly number[], entries: number): number {
    return this.tables.setGdt(pv.vcpu.id, frames, entries);
  }
  setLdt(pv: MmuVcpu, base: bigint, entries: number): number {
    const result = this.tables.setLdt(pv, base, entries);
    if (result === 0) loadLdt(pv.vcpu.cpu, this.ldtBase(pv), entries);
    return result;
  }
  gdtBase(pv: MmuVcpu): bigint {
    return this.xen.gdtBase(pv.vcpu.id);
  }
  ldtBase(pv: MmuVcpu): bigint {
    return this.xen.ldtBase(pv.vcpu.id);
  }

  /** The entry that maps a linear address in the vCPU's kernel root. */
  kernelEntry(pv: MmuVcpu, linear: bigint): { readonly low: number; readonly high: number } | undefined {
    const slot = this.linear.tableOf(this.roots.kernel(pv), linear);
    if (slot === f.NO_SLOT) return undefined;
    const at = this.validator.at(slot, l1Index(linear));
    return { low: this.u32[at], high: this.u32[at + 1] };
  }

  /**
   * A page fault that is memory management's own business: 'retry' (a page of the LDT was shown now, or the fault is none any more), 'table-write' (the guest writes a
   * last-level table that it maps read-only), or 'guest'.
   */
  pageFault(pv: MmuVcpu, linear: bigint, code: number): 'retry' | 'table-write' | 'guest' {
    if (this.tables.isLdtWindow(pv.vcpu.id, linear)) return this.tables.showLdtPage(pv, linear) ? 'retry' : 'guest';
    if ((code & 3) !== 3) return 'guest';
    const entry = this.kernelEntry(pv, linear);
    if (entry === undefined || (entry.low & (P | RW)) !== P) return 'guest';
    const slot = this.frames.slotOf(frameOf(entry.low, entry.high));
    if (slot === f.NO_SLOT || this.frames.type[slot] !== f.TYPE_L1 || this.frames.typeCount[slot] === 0) return 'guest';
    return (this.frames.flags[slot] & f.VALIDATED) !== 0 ? 'table-write' : 'guest';
  }

  /**
   * A write (with `expected`: a compare and exchange) of 1, 2, 4 or 8 bytes at a linear address that maps a last-level table read-only. 'refused': the fault is the
   * guest's; 'failed': the entry was not as expected.
   */
  writeTable(
    pv: MmuVcpu,
    linear: bigint,
    size: number,
    value: bigint,
    expected?: bigint,
  ): 'done' | 'failed' | 'refused' {
    if (this.pageFault(pv, linear, 3) !== 'table-write') return 'refused';
    const entry = this.kernelEntry(pv, linear);
    if (entry === undefined) return 'refused';
    const slot = this.frames.slotOf(frameOf(entry.low, entry.high));
    return writeTableBytes(this, slot, Number(linear & 0xfffn), size, value, expected);
  }
}

/**
 * Machine frame numbers of a domain: its own pages, the hypervisor's that it may map, and enough besides that runs of consecutive ones are found.
 */
const slotsFor = (maxPages: number, grantFrames: number): number =>
  maxPages + Math.max(1024, maxPages >>> 3) + 64 + 2 * grantFrames;
