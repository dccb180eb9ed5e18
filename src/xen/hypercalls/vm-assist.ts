/** `xen:public/xen.h#HYPERVISOR_vm_assist`: optional behaviours a guest switches on for itself. */
import { EINVAL, ENOSYS } from '../../abi/xen/errno.ts';
import * as a from '../../abi/xen/misc.ts';
import { __HYPERVISOR_vm_assist } from '../../abi/xen/xen.ts';
import type { Caller } from '../hypercall.ts';
import { callerOf, full, hypercall } from '../hypercall.ts';

const pv32 = [0, 1, 2, 3, 4, 5];
/** Types each kind of guest may change. */
const valid: Readonly<Record<Caller, readonly number[]>> = {
  pv64: [...pv32, a.VMASST_TYPE_m2p_strict],
  pv32,
  hvm64: [a.VMASST_TYPE_runstate_update_flag],
  hvm32: [a.VMASST_TYPE_runstate_update_flag],
};

/** EINVAL: a type this guest has not; ENOSYS: neither enable nor disable. */
export const vmAssist = hypercall(
  __HYPERVISOR_vm_assist,
  'xen:public/xen.h#HYPERVISOR_vm_assist',
  full({ guests: 'all' }, (context) => {
    const [command, type] = context.args.map((arg) => Number(BigInt.asUintN(32, arg)));
    if (!valid[callerOf(context)].includes(type)) return -EINVAL;
    const bit = 1n << BigInt(type);
    if (command === a.VMASST_CMD_enable) context.domain.vmAssist |= bit;
    else if (command === a.VMASST_CMD_disable) context.domain.vmAssist &= ~bit;
    else return -ENOSYS;
    return 0;
  }),
);
