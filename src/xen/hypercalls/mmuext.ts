/** `xen:public/xen.h#HYPERVISOR_mmuext_op`: pinning, roots, flushes, LDT. */
import { EFAULT, EINVAL } from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/mmu.ts';
import { __HYPERVISOR_mmuext_op } from '../../abi/xen/xen.ts';
import type { HypercallContext, Result } from '../hypercall.ts';
import { full, hypercall } from '../hypercall.ts';
import { guestAddress } from '../pv/address-space.ts';
import { beginBatch, endBatch, enter, ownOnly } from '../pv/mm/hypercall-common.ts';
import { performMmuext } from '../pv/mm/mmuext-ops.ts';
import { PARTIAL_WORK, STOPPED } from '../pv/mm/page-types.ts';
import { rangeOkay } from './common.ts';

/**
 * Arguments: list, count, where to put the number done, domain. HVM: ESRCH, EPERM: another domain; EINVAL. PV: EFAULT: list out of range; ESRCH, EPERM: another
 * domain; per entry EFAULT; ENOSYS: operation; what the operation answers.
 */
export const mmuextOp = hypercall(
  __HYPERVISOR_mmuext_op,
  'xen:public/xen.h#HYPERVISOR_mmuext_op',
  full({ guests: 'all' }, (context) => (context.domain.isHvm ? hvm(context) : pv(context))),
);

/** A translated guest has no such tables, whatever it asks for. */
function hvm(context: HypercallContext): Result {
  const target = ownOnly(context, Number(BigInt.asUintN(16, context.args[3])));
  return target === 0 ? -EINVAL : target;
}

function pv(context: HypercallContext): Result {
  const { mm, pv } = enter(context);
  const batch = beginBatch(context, mm);
  if ('result' in batch) return batch.result;
  const { list, count } = batch;
  const size = BigInt(abi.mmuext_op.size(context.width));
  if (!guestAddress(list) || !rangeOkay(context, list, BigInt(count) * size)) return -EFAULT;
  const target = ownOnly(context, Number(BigInt.asUintN(16, context.args[3])));
  if (target !== 0) return target;
  let done = 0;
  let result = 0;
  for (; done < count; done++) {
    if (mm.deferred.waiting || (done > 0 && mm.validator.preempt())) {
      result = PARTIAL_WORK;
      break;
    }
    const op = context.copyFromGuest(abi.mmuext_op, context.element(abi.mmuext_op, list, done));
    result = op === undefined ? -EFAULT : performMmuext(context, mm, pv, op);
    if (result !== 0) break;
  }
  const interrupted = result === PARTIAL_WORK || result === STOPPED;
  return endBatch(context, mm, batch, done, size, interrupted ? 'again' : result);
}
