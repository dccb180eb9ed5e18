/** The root tables of vCPUs. A 64-bit guest has one for its kernel and one for its user mode; a 32-bit guest's root is a third-level table (key `xen:arch/x86/mm.c`). */
import { EINVAL } from '../../../abi/xen/errno.ts';
import { gfn } from '../../../base/int.ts';
import { A, P, RW, US } from './entries.ts';
import * as f from './frame-table.ts';
import { PARTIAL_WORK, STOPPED } from './page-types.ts';
import type { MmuVcpu, PvMemory } from './pv-memory.ts';

export class Roots {
  private readonly mm: PvMemory;
  /** Of 32-bit guests, by vCPU: the hypervisor's own root, whose first entry is the guest's table; 0 is none yet. */
  private readonly compat: number[] = [];

  constructor(mm: PvMemory) {
    this.mm = mm;
  }

  /** Machine frame that the processor walks for the vCPU's kernel. */
  kernel(pv: MmuVcpu): number {
    return this.mm.width === 32 ? this.compatRoot(pv.vcpu.id) : pv.kernelRoot;
  }

  /** Machine frame that the processor walks now. */
  current(pv: MmuVcpu): number {
    if (this.mm.width === 32 || pv.inKernel) return this.kernel(pv);
    return pv.userRoot ?? 0;
  }

  private compatRoot(vcpu: number): number {
    this.compat[vcpu] ??= this.mm.xen.compatRoot();
    return this.compat[vcpu];
  }

  /**
   * The vCPU's kernel root; the references of the old one are given up. EINVAL: not the domain's or not valid as a root; ERANGE: a 32-bit guest's root above 4
   * GiB. 'again': interrupted, before or behind the change; asking again completes it.
   */
  setKernel(pv: MmuVcpu, mfn: number): number | 'again' {
    const { mm } = this;
    if (!mm.deferred.finish()) return 'again';
    const old = pv.kernelRoot;
    if (old === mfn) return 0;
    const taken = mm.take(mfn, mm.width === 32 ? f.TYPE_L3 : f.TYPE_L4);
    if (taken === STOPPED || taken === PARTIAL_WORK) return 'again';
    if (taken !== 0) return taken;
    mm.tables.dropLdtPages(pv.vcpu.id);
    pv.kernelRoot = mfn;
    if (mm.width === 32) this.writeCompat(pv.vcpu.id, mfn);
    else if (!mm.xen.strict()) mm.xen.showM2p(mm.frames.frame[mm.frames.slotOf(mfn)]);
    return old === 0 || mm.deferred.now(old - mm.frames.base) ? 0 : 'again';
  }

  private writeCompat(vcpu: number, mfn: number): void {
    const frame = this.mm.domain.memory.pageAt(gfn(this.compatRoot(vcpu)));
    const view = new DataView(this.mm.domain.memory.bytes.buffer, frame * 4096, 8);
    view.setBigUint64(0, (BigInt(mfn) << 12n) | BigInt(P | RW | US | A), true);
  }

  /** The root for user mode of a 64-bit guest; undefined: none. EINVAL, 'again' as {@link setKernel}. */
  setUser(pv: MmuVcpu, mfn: number | undefined): number | 'again' {
    const { mm } = this;
    const old = pv.userRoot;
    if (old === mfn) return 0;
    if (mfn !== undefined) {
      const taken = mm.take(mfn, f.TYPE_L4);
      if (taken === STOPPED || taken === PARTIAL_WORK) return 'again';
      if (taken !== 0) return taken === -EINVAL ? -EINVAL : taken;
      if (mm.xen.strict()) mm.xen.hideM2p(mm.frames.frame[mm.frames.slotOf(mfn)]);
    }
    pv.userRoot = mfn;
    return old === undefined || mm.deferred.now(old - mm.frames.base) ? 0 : 'again';
  }

  /** Gives up a vCPU's roots, as far as it goes. True when done. */
  drop(pv: MmuVcpu): boolean {
    const { mm } = this;
    if (!mm.deferred.finish()) return false;
    for (const which of ['kernelRoot', 'userRoot'] as const) {
      const mfn = pv[which];
      if (mfn === undefined || mfn === 0) continue;
      if (which === 'kernelRoot') pv.kernelRoot = 0;
      else pv.userRoot = undefined;
      if (!mm.deferred.now(mfn - mm.frames.base)) return false;
    }
    return true;
  }
}
