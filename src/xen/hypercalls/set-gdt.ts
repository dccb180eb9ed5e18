/** `xen:public/xen.h#HYPERVISOR_set_gdt`: the frames of the caller's GDT. */
import { EFAULT, EINVAL } from '../../abi/xen/errno.ts';
import { ulong } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_set_gdt } from '../../abi/xen/xen.ts';
import { full, hypercall } from '../hypercall.ts';
import { FIRST_RESERVED_GDT_ENTRY } from '../pv/mm/descriptors.ts';
import { enter } from '../pv/mm/hypercall-common.ts';

/** Arguments: list of frames, number of entries. EINVAL: too many; EFAULT; EINVAL: a frame that is not the domain's or holds what is no descriptor. */
export const setGdt = hypercall(
  __HYPERVISOR_set_gdt,
  'xen:public/xen.h#HYPERVISOR_set_gdt',
  full({ guests: 'pv' }, (context) => {
    const entries = Number(BigInt.asUintN(32, context.args[1]));
    if (entries > FIRST_RESERVED_GDT_ENTRY) return -EINVAL;
    const frames: number[] = [];
    for (let i = 0; i < Math.ceil(entries / 512); i++) {
      const frame = context.copyFromGuest(ulong, context.element(ulong, context.args[0], i));
      if (frame === undefined) return -EFAULT;
      frames.push(Number(frame));
    }
    const { mm, pv } = enter(context);
    const result = mm.setGdt(pv, frames, entries);
    if (result === 0) mm.tlbs.flush(context.vcpu);
    return result;
  }),
);
