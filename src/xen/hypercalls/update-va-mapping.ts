/** `xen:public/xen.h#HYPERVISOR_update_va_mapping`: one last-level entry, by the address it maps, with a flush. */
import { EBUSY, EFAULT, EINVAL, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import { UVMF_ALL, UVMF_FLUSHTYPE_MASK, UVMF_INVLPG, UVMF_LOCAL, UVMF_TLB_FLUSH } from '../../abi/xen/mmu.ts';
import { __HYPERVISOR_update_va_mapping, __HYPERVISOR_update_va_mapping_otherdomain } from '../../abi/xen/xen.ts';
import type { HypercallContext, Result } from '../hypercall.ts';
import { full, hypercall } from '../hypercall.ts';
import { P } from '../pv/mm/entries.ts';
import * as f from '../pv/mm/frame-table.ts';
import { enter, pageOwner, vcpusOfMask } from '../pv/mm/hypercall-common.ts';
import { l1Index } from '../pv/mm/linear.ts';

/** Arguments (64-bit): address, entry, flags; (32-bit): address, entry in two halves, flags. */
function update(context: HypercallContext, frames: 'self' | 'io'): Result {
  const { mm, pv } = enter(context);
  const { args } = context;
  const native = context.width === 'native';
  const low = Number(args[1] & 0xffff_ffffn);
  const high = Number(native ? args[1] >> 32n : args[2]);
  const slot = mm.linear.tableOf(mm.roots.current(pv), args[0]);
  if (slot === f.NO_SLOT || mm.frames.type[slot] !== f.TYPE_L1) return -EINVAL;
  if (mm.frames.typeCount[slot] === 0 || (mm.frames.flags[slot] & f.VALIDATED) === 0) return -EINVAL;
  if (frames === 'io' && (low & P) !== 0) {
    const wrong = mm.validator.takeData(low, high);
    if (wrong === 0) mm.validator.dropData(low, high);
    return wrong === 0 ? -EBUSY : wrong;
  }
  const result = mm.modifier.modify(1, slot, l1Index(args[0]), low, high, false);
  return result === 0 ? flush(context, args[0], args[native ? 2 : 3]) : result;
}

/** EFAULT: the processors cannot be read; the entry is written then. */
function flush(context: HypercallContext, linear: bigint, flags: bigint): number {
  const { mm } = enter(context);
  const kind = Number(flags & UVMF_FLUSHTYPE_MASK);
  if (kind !== UVMF_TLB_FLUSH && kind !== UVMF_INVLPG) return 0;
  const one = (id: number): void => {
    const vcpu = context.domain.vcpus[id];
    if (kind === UVMF_INVLPG) vcpu.cpu.invalidatePage(linear);
    else mm.tlbs.flush(vcpu);
  };
  const where = flags & ~UVMF_FLUSHTYPE_MASK;
  if (where === UVMF_LOCAL) one(context.vcpu.id);
  else if (where === UVMF_ALL) for (const { id } of context.domain.vcpus) one(id);
  else {
    const ids: number[] = [];
    if (!vcpusOfMask(context, where, (id) => ids.push(id))) return -EFAULT;
    for (const id of ids) one(id);
  }
  return 0;
}

/** EINVAL: no last-level table maps the address; then as a change of a last-level entry; EFAULT: the bitmap of processors. */
export const updateVaMapping = hypercall(
  __HYPERVISOR_update_va_mapping,
  'xen:public/xen.h#HYPERVISOR_update_va_mapping',
  full({ guests: 'pv' }, (context) => update(context, 'self')),
);

/** The frame is another domain's. ESRCH; EPERM; then as above. */
export const updateVaMappingOtherdomain = hypercall(
  __HYPERVISOR_update_va_mapping_otherdomain,
  'xen:public/xen.h#HYPERVISOR_update_va_mapping_otherdomain',
  full({ guests: 'pv' }, (context) => {
    const domid = Number(BigInt.asUintN(16, context.args[context.width === 'native' ? 3 : 4]));
    const owner = pageOwner(context, domid);
    if (owner === 'nobody') return -ESRCH;
    return owner === 'control' ? -EPERM : update(context, owner);
  }),
);
