/** The GDT and LDT of vCPUs: guest frames shown in the hypervisor's window, with the type that keeps the guest from writing them (key `xen:arch/x86/pv/descriptor-tables.c`). */
import { EINVAL } from '../../../abi/xen/errno.ts';
import { guestAddress } from '../address-space.ts';
import { checkDescriptor, descriptor, FIRST_RESERVED_GDT_ENTRY } from './descriptors.ts';
import { frameOf, P } from './entries.ts';
import * as f from './frame-table.ts';
import type { MmuVcpu, PvMemory } from './pv-memory.ts';
import { GUEST_GDT_PAGES } from './xen-tables.ts';

const LDT_PAGES = 16;
export const MAX_LDT_ENTRIES = 8192;

interface Window {
  /** Slots of the GDT's frames and of the LDT pages that are shown; NO_SLOT is none. */
  readonly gdt: Int32Array;
  readonly ldt: Int32Array;
  gdtEntries: number;
  ldtBase: bigint;
  ldtEntries: number;
}

export class DescriptorTables {
  private readonly mm: PvMemory;
  private readonly u32: Uint32Array;
  private readonly windows: Window[] = [];

  constructor(mm: PvMemory, u32: Uint32Array) {
    this.mm = mm;
    this.u32 = u32;
  }

  /** A vCPU's window; the first use makes it. */
  of(vcpu: number): Window {
    let window = this.windows[vcpu];
    if (window === undefined) {
      window = {
        gdt: new Int32Array(GUEST_GDT_PAGES).fill(f.NO_SLOT),
        ldt: new Int32Array(LDT_PAGES).fill(f.NO_SLOT),
        gdtEntries: 0,
        ldtBase: 0n,
        ldtEntries: 0,
      };
      this.windows[vcpu] = window;
      this.mm.xen.openWindow(vcpu);
    }
    return window;
  }

  /** All windows, for the accounting. */
  all(): readonly Window[] {
    return this.windows.filter((window) => window !== undefined);
  }

  /**
   * The guest's part of a GDT. EINVAL: more entries than there is room for, or a frame that is not the domain's or cannot be a descriptor table; then nothing changes.
   * The caller flushes.
   */
  setGdt(vcpu: number, frames: readonly number[], entries: number): number {
    const { mm } = this;
    if (entries > FIRST_RESERVED_GDT_ENTRY) return -EINVAL;
    const count = Math.ceil(entries / 512);
    for (let i = 0; i < count; i++) {
      if (mm.take(frames[i], f.TYPE_SEG_DESC) === 0) continue;
      while (--i >= 0) mm.types.putPageAndType(frames[i] - mm.frames.base);
      return -EINVAL;
    }
    const window = this.of(vcpu);
    window.gdtEntries = entries;
    for (let page = 0; page < GUEST_GDT_PAGES; page++) {
      const old = window.gdt[page];
      if (old !== f.NO_SLOT) mm.types.putPageAndType(old);
      window.gdt[page] = page < count ? frames[page] - mm.frames.base : f.NO_SLOT;
      mm.xen.setGdtPage(vcpu, page, page < count ? frames[page] : 0);
    }
    return 0;
  }

  /** EINVAL: too many entries, not page-aligned, or in the hypervisor's range. Pages are shown when they are used. */
  setLdt({ vcpu }: MmuVcpu, given: bigint, entries: number): number {
    const base = entries === 0 ? 0n : given;
    if (entries > MAX_LDT_ENTRIES || (entries !== 0 && ((base & 0xfffn) !== 0n || !guestAddress(base)))) return -EINVAL;
    const window = this.of(vcpu.id);
    if (window.ldtEntries === entries && window.ldtBase === base) return 0;
    if (this.dropLdtPages(vcpu.id)) this.mm.tlbs.flush(vcpu);
    window.ldtBase = base;
    window.ldtEntries = entries;
    return 0;
  }

  /** True when any page was shown: then the caller flushes. */
  dropLdtPages(vcpu: number): boolean {
    const window = this.of(vcpu);
    let dropped = false;
    for (let page = 0; page < LDT_PAGES; page++) {
      const slot = window.ldt[page];
      if (slot === f.NO_SLOT) continue;
      window.ldt[page] = f.NO_SLOT;
      this.mm.xen.setLdtPage(vcpu, page, 0);
      this.mm.types.putPageAndType(slot);
      dropped = true;
    }
    return dropped;
  }

  isLdtWindow(vcpu: number, linear: bigint): boolean {
    const offset = linear - this.mm.xen.ldtBase(vcpu);
    return offset >= 0n && offset < BigInt(LDT_PAGES * 4096);
  }

  /** Shows the page of the guest's LDT behind an address of the window. False: there is none, or it cannot be a descriptor table. */
  showLdtPage(pv: MmuVcpu, linear: bigint): boolean {
    const { mm } = this;
    const window = this.of(pv.vcpu.id);
    const offset = Number(linear - mm.xen.ldtBase(pv.vcpu.id));
    const page = offset >>> 12;
    if (offset >>> 3 >= window.ldtEntries || window.ldt[page] !== f.NO_SLOT) return false;
    const entry = mm.kernelEntry(pv, BigInt.asUintN(mm.width, window.ldtBase + BigInt(offset)));
    if (entry === undefined || (entry.low & P) === 0) return false;
    const mfn = frameOf(entry.low, entry.high);
    if (mm.take(mfn, f.TYPE_SEG_DESC) !== 0) return false;
    window.ldt[page] = mfn - mm.frames.base;
    mm.xen.setLdtPage(pv.vcpu.id, page, mfn);
    return true;
  }

  /**
   * Writes a descriptor at a machine address. EINVAL: not aligned, a descriptor that may not be, not the domain's frame, or one that is neither a descriptor
   * table nor can be written.
   */
  update(address: bigint, low: number, high: number): number {
    const { mm } = this;
    if ((address & 7n) !== 0n || !checkDescriptor(mm.width, low, high)) return -EINVAL;
    const { low: newLow, high: newHigh } = descriptor;
    const mfn = Number(address >> 12n);
    const slot = mm.types.getPage(mfn);
    if (slot === f.NO_SLOT) return -EINVAL;
    const type = mm.frames.type[slot] === f.TYPE_SEG_DESC ? f.TYPE_SEG_DESC : f.TYPE_WRITABLE;
    const result = mm.types.getType(slot, type);
    if (result === 0) {
      const offset = Number(address & 0xfffn);
      const at = mm.frames.frame[slot] * 1024 + (offset >>> 2);
      this.u32[at] = newLow;
      this.u32[at + 1] = newHigh;
      mm.modifier.onWrite(mfn, offset, 8);
      mm.types.putType(slot);
    }
    mm.types.putPage(slot);
    return result === 0 ? 0 : -EINVAL;
  }
}
