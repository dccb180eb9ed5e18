/** `xen:public/xen.h#HYPERVISOR_multicall`: a list of hypercalls in one. */
import { EFAULT, EINVAL } from '../../abi/xen/errno.ts';
import { ulong } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_iret, __HYPERVISOR_multicall, multicall_entry } from '../../abi/xen/xen.ts';
import type { Hypercall, HypercallTable, Result } from '../hypercall.ts';
import { again, full, HypercallContext, hypercall } from '../hypercall.ts';
import { rangeOkay } from './common.ts';

/** Arguments used of the six an entry has room for. */
const ARGUMENTS = 5;
const IRET = BigInt(__HYPERVISOR_iret);
/** Entries performed before the rest continues as a new call; for a PV guest an event that waits has the same effect. */
const ENTRIES_AT_ONCE = 64;

/**
 * EINVAL: inside another multicall; EFAULT: the list. Entries run in order; their results go to the list (EFAULT ends the batch). A blocking entry holds the
 * rest until the vCPU runs again; iret (PV) ends the batch.
 */
export function multicall(table: () => HypercallTable): Hypercall {
  return hypercall(
    __HYPERVISOR_multicall,
    'xen:public/xen.h#HYPERVISOR_multicall',
    full({ guests: 'all' }, (context): Result => {
      if (context.nested) return -EINVAL;
      const { vcpu, width } = context;
      const [list] = context.args;
      const count = Number(BigInt.asUintN(32, context.args[1]));
      if (!rangeOkay(context, list, BigInt(count) * BigInt(multicall_entry.size(width)))) return -EFAULT;
      for (let i = 0; i < count; i++) {
        const at = context.element(multicall_entry, list, i);
        const waits = i > 0 && !context.domain.isHvm && context.domain.upcalls.deliverable(vcpu);
        if (i === ENTRIES_AT_ONCE || waits) return again(at, BigInt(count - i));
        const call = context.copyFromGuest(multicall_entry, at);
        if (call === undefined) return -EFAULT;
        const result = table().dispatch(
          new HypercallContext(vcpu, width, Number(call.op), call.args.slice(0, ARGUMENTS), true),
        );
        if (typeof result === 'object' && result.kind === 'crash') return result;
        if (typeof result === 'object' && result.kind === 'again') {
          const args = call.args.map((old, n) => result.args[n] ?? old);
          if (!context.copyToGuest(multicall_entry, at, { ...call, args })) return -EFAULT;
          return again(at, BigInt(count - i));
        }
        const value = typeof result === 'object' ? result.result : result;
        const stored = BigInt.asUintN(64, BigInt(value));
        if (!context.domain.isHvm && call.op === IRET) {
          // The caller's context is gone, and the rest of the list with it.
          context.copyToGuest(ulong, at + BigInt(multicall_entry.offset('result', width)), stored);
          return value;
        }
        if (!context.copyToGuest(ulong, at + BigInt(multicall_entry.offset('result', width)), stored)) return -EFAULT;
        if (typeof result === 'object') {
          const rest = count - i - 1;
          return rest === 0 ? result : again(context.element(multicall_entry, list, i + 1), BigInt(rest));
        }
      }
      return 0;
    }),
  );
}
