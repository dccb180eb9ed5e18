/** set_timer_op: the singleshot timer in one hypercall. Always 0. One 64-bit argument, or low and high halves from 32-bit callers. */
import { __HYPERVISOR_set_timer_op } from '../../abi/xen/xen.ts';
import { full, hypercall } from '../hypercall.ts';

export const setTimerOp = hypercall(
  __HYPERVISOR_set_timer_op,
  'xen:public/xen.h#__HYPERVISOR_set_timer_op',
  full({ guests: 'all' }, ({ vcpu, width, args }) => {
    const value = width === 'native' ? args[0] : (args[0] & 0xffff_ffffn) | ((args[1] & 0xffff_ffffn) << 32n);
    vcpu.timers.setTimer(BigInt.asIntN(64, value));
    return 0;
  }),
);
