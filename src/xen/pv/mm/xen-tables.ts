/**
 * The hypervisor's part of a PV guest's address space, as page tables that the processor walks: the machine-to-physical table, which the
 * guest may read, and for each vCPU a window with its GDT and LDT, which only descriptor loads reach (keys `xen:arch/x86/include/asm/config.h`,
 * `xen:arch/x86/mm.c`).
 *
 * These pages have machine frame numbers too, but none that the frame table knows, so a guest cannot map them itself.
 */
import { gfn } from '../../../base/int.ts';
import type { Frame, GuestMemory } from '../../../machine/index.ts';
import { HYPERVISOR_START_32 } from '../address-space.ts';
import { A, D, NX, P, RW, US, type Width } from './entries.ts';

/** Slots of a root that belong to the hypervisor; the first is the machine-to-physical table, the fifth the per-domain window. */
const ROOT_FIRST_XEN_SLOT = 256,
  ROOT_LAST_XEN_SLOT = 271,
  PERDOMAIN_SLOT = 260;
export const PERDOMAIN_VIRT_START = 0xffff_8200_0000_0000n;
/** First entry of the second-level table of a 32-bit guest's last gigabyte that belongs to the hypervisor. */
export const COMPAT_L2_FIRST_XEN_SLOT = (Number(HYPERVISOR_START_32) >>> 21) & 511;
/** Each vCPU has 32 pages: 16 of GDT, 16 of LDT. */
const WINDOW_PAGES = 32;
export const GDT_PAGES = 16,
  GUEST_GDT_PAGES = 14;
const TABLE = P | RW | A | D;

/** Flat segments in the hypervisor's part of the GDT, by entry (key `xen:arch/x86/desc.c`). */
const XEN_DESCRIPTORS: Readonly<Record<Width, readonly (readonly [entry: number, low: number, high: number])[]>> = {
  64: [
    [1, 0xffff, 0x00af_9b00],
    [2, 0xffff, 0x00cf_9300],
    [4, 0xffff, 0x00cf_fb00],
    [5, 0xffff, 0x00cf_f300],
    [6, 0xffff, 0x00af_fb00],
  ],
  32: [
    [1, 0xffff, 0x00af_9b00],
    [2, 0xffff, 0x00cf_9300],
    [3, 0xffff, 0x00cf_bb00],
    [4, 0xffff, 0x00cf_b300],
    [5, 0xffff, 0x00cf_fb00],
    [6, 0xffff, 0x00cf_f300],
  ],
};

export class XenTables {
  private readonly memory: GuestMemory;
  private readonly width: Width;
  private readonly u32: Uint32Array;
  private nextMfn: number;
  /** Machine-to-physical pages in order, as pages of linear memory, and the first machine frame they tell of. */
  private readonly m2p: readonly Frame[];
  private readonly m2pMfns: readonly number[];
  private readonly m2pFirst: number;
  private readonly m2pPerPage: number;
  /** Machine frames of the tables that roots refer to. */
  private m2pTable = 0;
  private readonly perDomainTable: number;
  private readonly perDomainL2: Frame;
  /** Last-level tables of the per-domain window, by groups of 16 vCPUs; 0 is none yet. */
  private readonly windows: Frame[] = [];
  private readonly zeroPage: number;
  private readonly gdtPage: number;
  /** PAE: second-level entries from COMPAT_L2_FIRST_XEN_SLOT on, as machine frames of last-level tables. */
  private readonly compatL1s: number[] = [];
  /** VMASST_TYPE_m2p_strict: roots show the machine-to-physical table until they are used for user mode. */
  strict: () => boolean = () => false;

  /** Tells of machine frames `first` to `first + count`; its own pages are numbered from `first + count` on. */
  constructor(memory: GuestMemory, width: Width, first: number, count: number) {
    this.memory = memory;
    this.width = width;
    this.u32 = new Uint32Array(memory.bytes.buffer);
    this.nextMfn = first + count;
    this.m2pPerPage = width === 64 ? 512 : 1024;
    this.m2pFirst = first - (first % this.m2pPerPage);
    const pages = Math.ceil((first + count - this.m2pFirst) / this.m2pPerPage);
    const mfns = Array.from({ length: pages }, () => this.page());
    this.m2pMfns = mfns;
    this.m2p = mfns.map((mfn) => this.frame(mfn));
    for (const frame of this.m2p) this.u32.fill(0xffff_ffff, frame * 1024, (frame + 1) * 1024);
    this.mapM2p(mfns);
    const l3 = this.page(),
      l2 = this.page();
    this.perDomainTable = l3;
    this.perDomainL2 = this.frame(l2);
    this.write(this.frame(l3), 0, l2, TABLE, 0);
    this.zeroPage = this.page();
    this.gdtPage = this.page();
    for (const [entry, low, high] of XEN_DESCRIPTORS[width]) {
      this.u32[this.frame(this.gdtPage) * 1024 + entry * 2] = low;
      this.u32[this.frame(this.gdtPage) * 1024 + entry * 2 + 1] = high;
    }
  }

  /** Pages of linear memory that a domain's tables need at most. */
  static pages(width: Width, frames: number, vcpus: number): number {
    const m2p = Math.ceil(frames / (width === 64 ? 512 : 1024)) + 1;
    return m2p + Math.ceil(m2p / 512) + 8 + Math.ceil(vcpus / 16) + (width === 32 ? vcpus : 0);
  }

  private page(): number {
    const frame = this.memory.allocatePage();
    if (frame === 0) throw new RangeError('no memory left for page tables of the hypervisor');
    this.memory.map(gfn(this.nextMfn), frame);
    return this.nextMfn++;
  }

  private frame(mfn: number): Frame {
    return this.memory.pageAt(gfn(mfn));
  }

  private write(table: Frame, index: number, mfn: number, low: number, high: number): void {
    const at = table * 1024 + index * 2;
    this.u32[at] = ((mfn << 12) | low) >>> 0;
    this.u32[at + 1] = (high | Math.floor(mfn / 0x10_0000)) >>> 0;
  }

  private mapM2p(pages: readonly number[]): void {
    const firstPage = this.m2pFirst / this.m2pPerPage;
    const user = TABLE | US;
    const l1s = new Map<number, number>();
    pages.forEach((mfn, i) => {
      const page = firstPage + i;
      const l2Index = page >>> 9;
      let l1 = l1s.get(l2Index);
      if (l1 === undefined) {
        l1 = this.page();
        l1s.set(l2Index, l1);
      }
      this.write(this.frame(l1), page & 511, mfn, P | US | A, NX);
    });
    if (this.width === 32) {
      for (const [index, l1] of l1s) this.compatL1s[index] = l1;
      return;
    }
    const l3 = this.page(),
      l2 = this.page();
    this.write(this.frame(l3), 0, l2, user, 0);
    for (const [index, l1] of l1s) this.write(this.frame(l2), index, l1, user, 0);
    this.m2pTable = l3;
  }

  /** The hypervisor's slots of a root whose first entry is at an index of u32s. */
  fillRoot(at: number): void {
    this.u32.fill(0, at + ROOT_FIRST_XEN_SLOT * 2, at + (ROOT_LAST_XEN_SLOT + 1) * 2);
    const table = at >>> 10;
    // Else the kernel's root gets it when it is first used as one, so that a user root does not have it either way.
    if (this.width === 64 && this.strict()) this.showM2p(table);
    this.write(table, PERDOMAIN_SLOT, this.perDomainTable, TABLE, 0);
  }

  showM2p(root: Frame): void {
    this.write(root, ROOT_FIRST_XEN_SLOT, this.m2pTable, TABLE | US, 0);
  }

  hideM2p(root: Frame): void {
    const at = root * 1024 + ROOT_FIRST_XEN_SLOT * 2;
    this.u32.fill(0, at, at + 2);
  }

  /** The hypervisor's entries of the second-level table of a PAE guest's last gigabyte. */
  fillPaeL2(at: number): void {
    this.u32.fill(0, at + COMPAT_L2_FIRST_XEN_SLOT * 2, at + 1024);
    this.compatL1s.forEach((l1, index) => {
      if (COMPAT_L2_FIRST_XEN_SLOT + index < 512)
        this.write(at >>> 10, COMPAT_L2_FIRST_XEN_SLOT + index, l1, TABLE | US, 0);
    });
  }

  /** A root for a vCPU of a 32-bit guest; its first entry will refer to the guest's third-level table. Its machine frame number. */
  compatRoot(): number {
    const mfn = this.page();
    this.fillRoot(this.frame(mfn) * 1024);
    return mfn;
  }

  // ---- the machine-to-physical table ----

  /** Physical frame number of a machine frame, all ones when it has none. */
  pfnOf(mfn: number): number {
    const at = this.m2pAt(mfn);
    return this.width === 32 ? this.u32[at] : this.u32[at] + (this.u32[at + 1] & 0x1f_ffff) * 2 ** 32;
  }

  /** The guest's word as it gave it, or all ones. */
  setPfn(mfn: number, low: number, high: number): void {
    const at = this.m2pAt(mfn);
    this.u32[at] = low;
    if (this.width === 64) this.u32[at + 1] = high;
  }

  /** The machine frame at the start of each `step` bytes of the table, from machine frame 0 on; where it has none, the one before. */
  machphysFrames(step: number): number[] {
    const perStep = (step / 4096) * this.m2pPerPage;
    const steps = Math.ceil((this.m2pFirst + this.m2p.length * this.m2pPerPage) / perStep);
    return Array.from(
      { length: steps },
      (_, n) => this.m2pMfns[Math.max(0, n * perStep - this.m2pFirst) / this.m2pPerPage],
    );
  }

  private m2pAt(mfn: number): number {
    const index = mfn - this.m2pFirst;
    const frame = this.m2p[Math.floor(index / this.m2pPerPage)];
    return frame * 1024 + (index % this.m2pPerPage) * (4096 / this.m2pPerPage / 4);
  }

  // ---- descriptor tables ----

  /** Linear address of a vCPU's GDT; its LDT is 16 pages further. */
  gdtBase(vcpu: number): bigint {
    return PERDOMAIN_VIRT_START + BigInt(vcpu * WINDOW_PAGES * 4096);
  }
  ldtBase(vcpu: number): bigint {
    return this.gdtBase(vcpu) + BigInt(GDT_PAGES * 4096);
  }

  private window(vcpu: number): Frame {
    const group = vcpu >>> 4;
    if (this.windows[group] === undefined) {
      const mfn = this.page();
      this.windows[group] = this.frame(mfn);
      this.write(this.perDomainL2, group, mfn, TABLE, 0);
    }
    return this.windows[group];
  }

  /** Makes a vCPU's window: a GDT with nothing but the hypervisor's part. */
  openWindow(vcpu: number): void {
    for (let page = 0; page < GUEST_GDT_PAGES; page++) this.setGdtPage(vcpu, page, 0);
    const table = this.window(vcpu);
    const first = (vcpu & 15) * WINDOW_PAGES;
    this.write(table, first + GUEST_GDT_PAGES, this.gdtPage, TABLE, NX);
    this.write(table, first + GUEST_GDT_PAGES + 1, this.zeroPage, P | A, NX);
  }

  /** Shows a frame as a page of the guest's part of the GDT; 0: a page of null descriptors. */
  setGdtPage(vcpu: number, page: number, mfn: number): void {
    const at = (vcpu & 15) * WINDOW_PAGES + page;
    if (mfn === 0) this.write(this.window(vcpu), at, this.zeroPage, P | A, NX);
    else this.write(this.window(vcpu), at, mfn, TABLE, NX);
  }

  /** Shows a frame as a page of the LDT; 0: none. */
  setLdtPage(vcpu: number, page: number, mfn: number): void {
    const at = (vcpu & 15) * WINDOW_PAGES + GDT_PAGES + page;
    if (mfn === 0) this.u32.fill(0, this.window(vcpu) * 1024 + at * 2, this.window(vcpu) * 1024 + at * 2 + 2);
    else this.write(this.window(vcpu), at, mfn, TABLE, NX);
  }
}
