/** Hypercalls that PV guests of long ago used, in terms of those that took their place. `xen:public/xen.h#__HYPERVISOR_sched_op_compat` */
import { EFAULT, ENOSYS } from '../../abi/xen/errno.ts';
import * as e from '../../abi/xen/event-channel.ts';
import { SCHEDOP_block, SCHEDOP_shutdown, SCHEDOP_yield } from '../../abi/xen/sched.ts';
import type { Layout } from '../../abi/xen/struct.ts';
import * as x from '../../abi/xen/xen.ts';
import type { Hypercall, HypercallTable, Result } from '../hypercall.ts';
import { full, HypercallContext, hypercall } from '../hypercall.ts';

/** Operations of event_channel_op that the older form has. */
const EVENT_OPERATIONS: ReadonlySet<number> = new Set([
  e.EVTCHNOP_bind_interdomain,
  e.EVTCHNOP_bind_virq,
  e.EVTCHNOP_bind_pirq,
  e.EVTCHNOP_close,
  e.EVTCHNOP_send,
  e.EVTCHNOP_status,
  e.EVTCHNOP_alloc_unbound,
  e.EVTCHNOP_bind_ipi,
  e.EVTCHNOP_bind_vcpu,
  e.EVTCHNOP_unmask,
]);

/** One structure with the operation and, behind it, a union of all arguments: where that begins, and the size of the whole. */
interface Combined {
  readonly offset: Readonly<Record<Layout, number>>;
  readonly size: Readonly<Record<Layout, number>>;
}
const evtchn_op: Combined = { offset: { native: 4, compat: 4 }, size: { native: 28, compat: 28 } };
const physdev_op: Combined = { offset: { native: 8, compat: 4 }, size: { native: 24, compat: 16 } };

/** The calls, each passed on to `table`. */
export function olderForms(table: () => HypercallTable): readonly Hypercall[] {
  const pass = ({ vcpu, width, nested }: HypercallContext, number: number, args: readonly bigint[]): Result =>
    table().dispatch(new HypercallContext(vcpu, width, number, [...args, 0n, 0n, 0n, 0n, 0n].slice(0, 5), nested));
  const combined = (
    context: HypercallContext,
    layout: Combined,
    number: number,
    knows: (op: number) => boolean,
  ): Result => {
    const [at] = context.args;
    const raw = context.readBytes(at, layout.size[context.width]);
    if (raw === undefined) return -EFAULT;
    const operation = new DataView(raw.buffer).getUint32(0, true);
    if (!knows(operation)) return -ENOSYS;
    return pass(context, number, [BigInt(operation), at + BigInt(layout.offset[context.width])]);
  };
  return [
    hypercall(x.__HYPERVISOR_sched_op_compat, 'xen:public/xen.h#__HYPERVISOR_sched_op_compat', {
      [SCHEDOP_yield]: full({ guests: 'pv' }, (context) =>
        pass(context, x.__HYPERVISOR_sched_op, [BigInt(SCHEDOP_yield)]),
      ),
      [SCHEDOP_block]: full({ guests: 'pv' }, (context) =>
        pass(context, x.__HYPERVISOR_sched_op, [BigInt(SCHEDOP_block)]),
      ),
      /** The reason is the argument itself. */
      [SCHEDOP_shutdown]: full({ guests: 'pv' }, ({ domain, args }) => {
        domain.shutdown(Number(args[1] & 0xffn));
        return 0;
      }),
    }),
    /** EFAULT; ENOSYS; then as event_channel_op. */
    hypercall(
      x.__HYPERVISOR_event_channel_op_compat,
      'xen:public/xen.h#__HYPERVISOR_event_channel_op_compat',
      full({ guests: 'pv' }, (context) =>
        combined(context, evtchn_op, x.__HYPERVISOR_event_channel_op, (op) => EVENT_OPERATIONS.has(op)),
      ),
    ),
    /** EFAULT; then as physdev_op. */
    hypercall(
      x.__HYPERVISOR_physdev_op_compat,
      'xen:public/xen.h#__HYPERVISOR_physdev_op_compat',
      full({ guests: 'pv' }, (context) => combined(context, physdev_op, x.__HYPERVISOR_physdev_op, () => true)),
    ),
  ];
}
