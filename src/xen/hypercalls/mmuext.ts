/** `xen:public/xen.h#HYPERVISOR_mmuext_op` of HVM guests: pinning is accepted and does nothing, the rest is refused. */
import { EFAULT, EINVAL, EOPNOTSUPP } from '../../abi/xen/errno.ts';
import { MMU_UPDATE_PREEMPTED, MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE } from '../../abi/xen/misc.ts';
import { struct, u32, ulong } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_mmuext_op } from '../../abi/xen/xen.ts';
import { hypercall, partial } from '../hypercall.ts';
import { targetSelf } from './common.ts';

const mmuext_op = struct('mmuext_op', { cmd: u32, arg1: ulong, arg2: ulong });

/**
 * Arguments: list, count, where to put the number done, domain. EINVAL: continuation bit without one; ESRCH, EPERM: another domain; per entry EFAULT; EOPNOTSUPP: not pin
 * or unpin; EINVAL: no such frame. The number done is written in any case, EFAULT when it cannot be.
 */
export const mmuextOp = hypercall(
  __HYPERVISOR_mmuext_op,
  'xen:public/xen.h#HYPERVISOR_mmuext_op',
  partial('HVM; PV is in the PV layer', { guests: 'hvm' }, (context) => {
    const [list, countArg, donePointer, domid] = context.args;
    const count = Number(BigInt.asUintN(32, countArg));
    if ((count & MMU_UPDATE_PREEMPTED) !== 0) return -EINVAL;
    const target = targetSelf(context, Number(BigInt.asUintN(16, domid)));
    if (target !== 0) return target;
    let done = 0;
    let result = 0;
    for (; done < count && result === 0; done += result === 0 ? 1 : 0) {
      const op = context.copyFromGuest(mmuext_op, context.element(mmuext_op, list, done));
      if (op === undefined) result = -EFAULT;
      else if (op.cmd > MMUEXT_UNPIN_TABLE) result = -EOPNOTSUPP;
      else if (op.cmd <= MMUEXT_PIN_L4_TABLE && context.domain.p2m.ramAt(Number(op.arg1)) === 0) result = -EINVAL;
    }
    if (donePointer !== 0n && !context.copyToGuest(u32, donePointer, done)) return -EFAULT;
    return result;
  }),
);
