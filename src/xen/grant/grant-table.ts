/**
 * A domain's grant table: frames full of entries by which it lets other domains use its pages, and the mappings it holds of others' pages.
 *
 * Entries are guest memory (special frames); beside them the hypervisor keeps an active entry per reference in use. Version 1 entries are 8 bytes and
 * carry their status bits; version 2 entries are 16 bytes with a status word per reference in separate frames. `xen:public/grant_table.h`
 */
import { EAGAIN, EBUSY, EINVAL, ENOMEM, ENOSYS, ERANGE } from '../../abi/xen/errno.ts';
import {
  GNTTAB_NR_RESERVED_ENTRIES,
  GTF_accept_transfer,
  GTF_invalid,
  GTF_permit_access,
  GTF_reading,
  GTF_transfer_committed,
  GTF_transfer_completed,
  GTF_transitive,
  GTF_type_mask,
  GTF_writing,
  grant_entry_v1,
  grant_entry_v2,
} from '../../abi/xen/grant-table.ts';
import type { DomId } from '../../base/int.ts';
import type { Frame } from '../../machine/index.ts';
import type { Domain } from '../domain.ts';
import { ActiveEntry } from './active-entry.ts';

const PAGE_SIZE = 4096;
const V1_SIZE = 8;
const V2_SIZE = 16;
const STATUS_SIZE = 2;
const V1_PER_FRAME = PAGE_SIZE / V1_SIZE;
const V2_PER_FRAME = PAGE_SIZE / V2_SIZE;
const STATUS_PER_FRAME = PAGE_SIZE / STATUS_SIZE;
/** Frames a table has from the start. */
const INITIAL_FRAMES = 1;

/** What a guest granted, version apart. */
export interface GrantEntry {
  readonly flags: number;
  readonly domid: number;
  readonly frame: number;
}

/** A mapping this domain holds of another's page. */
export interface Mapping {
  readonly domid: DomId;
  readonly ref: number;
  /** GNTMAP_* still in force. */
  flags: number;
}

export class GrantTable {
  readonly domain: Domain;
  version: 1 | 2 = 1;
  /** By handle. */
  readonly mappings = new Map<number, Mapping>();
  private readonly neighbour: (domid: number) => GrantTable | undefined;
  private readonly shared: Frame[] = [];
  private readonly status: Frame[] = [];
  private readonly active = new Map<number, ActiveEntry>();
  private nextHandle = 0;
  private readonly freeHandles: number[] = [];

  constructor(domain: Domain, neighbour: (domid: number) => GrantTable | undefined = () => undefined) {
    this.domain = domain;
    this.neighbour = neighbour;
    this.grow(INITIAL_FRAMES);
  }

  /** Number of frames of entries, and the most there can be. */
  get frames(): number {
    return this.shared.length;
  }
  get maxFrames(): number {
    return this.domain.config.maxGrantFrames;
  }
  get statusFrames(): number {
    return this.status.length;
  }

  /** References below this exist. */
  get entries(): number {
    return this.shared.length * (this.version === 1 ? V1_PER_FRAME : V2_PER_FRAME);
  }

  /** Grant table of the domain with this id, this one included; undefined when there is none. DOMID_SELF is not an id. */
  tableOf(domid: number): GrantTable | undefined {
    return domid === this.domain.id ? this : this.neighbour(domid);
  }

  /** Makes the table at least this large. False: over the limit, or no memory. */
  grow(frames: number): boolean {
    if (frames > this.maxFrames) return false;
    while (this.shared.length < frames) {
      const frame = this.domain.p2m.allocateSpecial();
      if (frame === 0) return false;
      this.shared.push(frame);
    }
    return this.version === 1 || this.growStatus();
  }

  /** Frame behind an index of XENMAPSPACE_grant_table, growing the table as needed. EINVAL: beyond the limit, status frames in version 1; ENOMEM. */
  frame(index: number, status: boolean): Frame | number {
    if (status && this.version !== 2) return -EINVAL;
    const needed = status ? Math.floor((index * STATUS_PER_FRAME) / V2_PER_FRAME) + 1 : index + 1;
    if (needed > this.maxFrames) return -EINVAL;
    if (!this.grow(needed)) return -ENOMEM;
    return (status ? this.status[index] : this.shared[index]) ?? -EINVAL;
  }

  /** Frame of entries, if it exists. */
  sharedFrame(index: number): Frame | undefined {
    return this.shared[index];
  }
  statusFrame(index: number): Frame | undefined {
    return this.status[index];
  }

  /** Reads an entry; `ref` exists. In version 2 sub-page and transitive entries are read by their own functions. */
  entry(ref: number): GrantEntry {
    const { view, at } = this.locate(ref);
    if (this.version === 1) return grant_entry_v1.read(view, at, 'native');
    const e = grant_entry_v2.read(view, at, 'native');
    return { flags: e.flags, domid: e.domid, frame: Number(e.frame) };
  }

  /** Raw bytes of an entry in place. */
  locate(ref: number): { readonly view: DataView; readonly at: number } {
    const size = this.version === 1 ? V1_SIZE : V2_SIZE;
    const perFrame = PAGE_SIZE / size;
    return { view: this.view(this.shared[Math.floor(ref / perFrame)]), at: (ref % perFrame) * size };
  }

  /** Sets GTF_reading / GTF_writing where the version keeps them. */
  setStatus(ref: number, bits: number): void {
    const { view, at } = this.statusWord(ref);
    view.setUint16(at, view.getUint16(at, true) | bits, true);
  }
  clearStatus(ref: number, bits: number): void {
    const { view, at } = this.statusWord(ref);
    view.setUint16(at, view.getUint16(at, true) & ~bits, true);
  }

  /** The hypervisor's record of a reference. */
  activeEntry(ref: number): ActiveEntry {
    let entry = this.active.get(ref);
    if (entry === undefined) {
      entry = new ActiveEntry();
      this.active.set(ref, entry);
    }
    return entry;
  }

  /** Forgets a record that pins nothing. */
  settle(ref: number): void {
    if (this.active.get(ref)?.pinned === false) this.active.delete(ref);
  }

  /** A free mapping handle; undefined when there are too many. */
  takeHandle(): number | undefined {
    const freed = this.freeHandles.pop();
    if (freed !== undefined) return freed;
    return this.nextHandle < this.domain.config.maxMaptrackFrames * (PAGE_SIZE / 16) ? this.nextHandle++ : undefined;
  }
  putHandle(handle: number): void {
    this.mappings.delete(handle);
    this.freeHandles.push(handle);
  }

  /** Tells in an entry that accepted a page which one it is. */
  completeTransfer(ref: number, frame: number): void {
    const { view, at } = this.locate(ref);
    const flags = GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed;
    if (this.version === 1) grant_entry_v1.write(view, at, { ...this.entry(ref), flags, frame }, 'native');
    else grant_entry_v2.write(view, at, { ...this.entry(ref), flags, pad0: 0, frame: BigInt(frame) }, 'native');
  }

  /** The tool stack fills a reserved entry before the guest runs. */
  seed(ref: number, grantee: DomId, gfn: number): void {
    const { view, at } = this.locate(ref);
    grant_entry_v1.write(view, at, { flags: GTF_permit_access, domid: grantee, frame: gfn }, 'native');
  }

  /**
   * Changes the version. EINVAL: not 1 or 2; ENOSYS: 2 is disallowed; EBUSY: references from 8 on are in use, or a status frame is mapped by a PV
   * guest; EAGAIN: version 2 operations in progress; ERANGE: a reserved entry cannot be expressed in version 1. Reserved entries survive, all others are cleared.
   */
  setVersion(version: number): number {
    if (version !== 1 && version !== 2) return -EINVAL;
    if (version === 2 && this.domain.config.maxGrantVersion === 1) return -ENOSYS;
    if (version === this.version) return 0;
    for (const [ref, entry] of this.active) if (ref >= GNTTAB_NR_RESERVED_ENTRIES && entry.pinned) return -EBUSY;
    const kept: (GrantEntry & { readonly inUse: number })[] = [];
    if (this.version === 2) {
      for (const entry of this.active.values()) if (entry.pinned && entry.subPage) return -EAGAIN;
      for (let ref = 0; ref < GNTTAB_NR_RESERVED_ENTRIES; ref++) {
        const { flags, frame } = this.entry(ref);
        const type = flags & GTF_type_mask;
        if (type === GTF_transitive || (type === GTF_permit_access && frame > 0xffff_ffff)) return -ERANGE;
      }
      if (!this.withdrawStatus()) return -EBUSY;
    }
    for (let ref = 0; ref < GNTTAB_NR_RESERVED_ENTRIES; ref++)
      kept.push({ ...this.entry(ref), inUse: this.inUse(ref) });
    if (this.version === 2) this.dropStatus();
    for (const frame of this.shared) this.domain.memory.frameBytes(frame).fill(0);
    this.version = version;
    if (version === 2 && !this.growStatus()) return -ENOMEM;
    kept.forEach((entry, ref) => {
      this.restore(ref, entry, entry.inUse);
    });
    return 0;
  }

  /** Exchanges two entries and their status words. */
  swap(a: number, b: number): void {
    const size = this.version === 1 ? V1_SIZE : V2_SIZE;
    exchange(this.locate(a), this.locate(b), size);
    if (this.version === 2) exchange(this.statusWord(a), this.statusWord(b), STATUS_SIZE);
  }

  /** A PV guest may not map status frames any more; false, and nothing changed, while it does. HVM mappings are removed instead. */
  private withdrawStatus(): boolean {
    const { machine } = this.domain.p2m;
    if (machine === undefined) return true;
    const mapped = this.status.findIndex((frame) => !machine.withdraw(frame));
    for (let i = 0; i < mapped; i++) machine.share(this.status[i]);
    return mapped < 0;
  }

  private inUse(ref: number): number {
    const { view, at } = this.statusWord(ref);
    return view.getUint16(at, true) & (GTF_reading | GTF_writing);
  }

  private restore(ref: number, entry: GrantEntry, inUse: number): void {
    const { view, at } = this.locate(ref);
    const type = entry.flags & GTF_type_mask;
    const flags = entry.flags & ~(GTF_reading | GTF_writing);
    if (this.version === 1) {
      if (type !== GTF_permit_access) return;
      grant_entry_v1.write(view, at, { flags: flags | inUse, domid: entry.domid, frame: entry.frame }, 'native');
      return;
    }
    if (entry.flags === GTF_invalid && entry.domid === 0 && entry.frame === 0) return;
    grant_entry_v2.write(view, at, { flags, domid: entry.domid, pad0: 0, frame: BigInt(entry.frame) }, 'native');
    this.setStatus(ref, inUse);
  }

  private statusWord(ref: number): { readonly view: DataView; readonly at: number } {
    if (this.version === 1) return this.locate(ref);
    return {
      view: this.view(this.status[Math.floor(ref / STATUS_PER_FRAME)]),
      at: (ref % STATUS_PER_FRAME) * STATUS_SIZE,
    };
  }

  private growStatus(): boolean {
    const needed = Math.ceil((this.shared.length * V2_PER_FRAME) / STATUS_PER_FRAME);
    while (this.status.length < needed) {
      const frame = this.domain.p2m.allocateSpecial();
      if (frame === 0) return false;
      this.status.push(frame);
    }
    return true;
  }

  /** Status frames disappear from the guest's memory map. Their frames stay reserved for the next change of version. */
  private dropStatus(): void {
    const { p2m, memory } = this.domain;
    for (const frame of this.status) {
      const gfn = p2m.gfnOfSpecial(frame);
      if (gfn !== undefined) p2m.unhook(gfn);
      memory.frameBytes(frame).fill(0);
    }
  }

  private view(frame: Frame): DataView {
    return this.domain.info.holds.view(frame);
  }
}

type Place = { readonly view: DataView; readonly at: number };

function exchange(a: Place, b: Place, size: number): void {
  for (let i = 0; i < size; i++) {
    const byte = a.view.getUint8(a.at + i);
    a.view.setUint8(a.at + i, b.view.getUint8(b.at + i));
    b.view.setUint8(b.at + i, byte);
  }
}
