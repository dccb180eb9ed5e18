/** `xen:public/xen.h#HYPERVISOR_update_descriptor`: one entry of a descriptor table, by its machine address. */
import { __HYPERVISOR_update_descriptor } from '../../abi/xen/xen.ts';
import { full, hypercall } from '../hypercall.ts';
import { enter } from '../pv/mm/hypercall-common.ts';

/**
 * Arguments (64-bit): machine address, descriptor; (32-bit): both in two halves. EINVAL: not aligned, a descriptor that may not be, not the domain's frame, or
 * one that is in use as something else.
 */
export const updateDescriptor = hypercall(
  __HYPERVISOR_update_descriptor,
  'xen:public/xen.h#HYPERVISOR_update_descriptor',
  full({ guests: 'pv' }, (context) => {
    const { mm } = enter(context);
    const { args } = context;
    if (context.width === 'native')
      return mm.tables.update(args[0], Number(args[1] & 0xffff_ffffn), Number(args[1] >> 32n));
    return mm.tables.update(args[0] | (args[1] << 32n), Number(args[2]), Number(args[3]));
  }),
);
