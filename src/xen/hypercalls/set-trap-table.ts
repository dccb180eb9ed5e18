/** `xen:public/xen.h#HYPERVISOR_set_trap_table`: the guest's interrupt table. */
import { EFAULT, EINVAL } from '../../abi/xen/errno.ts';
import { trap_info } from '../../abi/xen/vcpu-guest-context.ts';
import { __HYPERVISOR_set_trap_table } from '../../abi/xen/xen.ts';
import { again, full, hypercall } from '../hypercall.ts';
import { canonical } from '../pv/address-space.ts';
import { preempted, pvCaller } from '../pv/hypercall-common.ts';
import { fixSelector } from '../pv/pv-vcpu.ts';

/**
 * A list of entries that ends at address 0; the vector is a field of each. NULL clears the table. EFAULT; EINVAL: a 64-bit address that is not
 * canonical. Entries before the bad one stay.
 */
export const setTrapTable = hypercall(
  __HYPERVISOR_set_trap_table,
  'xen:public/xen.h#HYPERVISOR_set_trap_table',
  full({ guests: 'pv' }, (context) => {
    const pv = pvCaller(context);
    let [at] = context.args;
    if (at === 0n) {
      pv.traps.clear();
      return 0;
    }
    for (;;) {
      const entry = context.copyFromGuest(trap_info, at);
      if (entry === undefined) return -EFAULT;
      if (entry.address === 0n) return 0;
      if (!canonical(entry.address)) return -EINVAL;
      pv.traps.set(entry.vector, entry.flags, fixSelector(pv.width, entry.cs), entry.address);
      at = context.element(trap_info, at, 1);
      if (preempted(context)) return again(at);
    }
  }),
);
