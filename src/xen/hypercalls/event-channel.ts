/**
 * event_channel_op. The argument's EFAULT comes before any other error; unknown operations are ENOSYS. Errors of each operation, in order, are
 * listed at the method of `EventChannels` that performs it.
 */
import {
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_pirq,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  EVTCHNOP_reset,
  EVTCHNOP_reset_cont,
  EVTCHNOP_send,
  EVTCHNOP_set_priority,
  EVTCHNOP_status,
  EVTCHNOP_unmask,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_pirq,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
  evtchn_alloc_unbound,
  evtchn_bind_interdomain,
  evtchn_bind_ipi,
  evtchn_bind_pirq,
  evtchn_bind_vcpu,
  evtchn_bind_virq,
  evtchn_close,
  evtchn_expand_array,
  evtchn_init_control,
  evtchn_reset,
  evtchn_send,
  evtchn_set_priority,
  evtchn_status,
  evtchn_unmask,
} from '../../abi/xen/event-channel.ts';
import type { ValueOf } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_event_channel_op } from '../../abi/xen/xen.ts';
import { domId } from '../../base/int.ts';
import type { ChannelState } from '../evtchn/channel.ts';
import { full, hypercall, partial } from '../hypercall.ts';

const guests = 'all';

/** Stores an allocated port in the argument, or passes the error on. */
const stored = (result: number, store: (port: number) => void): number => {
  if (result < 0) return result;
  store(result);
  return 0;
};

/** Frame numbers beyond any memory stay out of reach when they lose precision. */
const frameNumber = (gfn: bigint): number => Number(gfn);

const reset = full({ guests, arg: evtchn_reset }, ({ domain }, { dom }) => domain.evtchn.reset(domId(dom)));

export const eventChannelOp = hypercall(__HYPERVISOR_event_channel_op, 'xen:public/event_channel.h', {
  [EVTCHNOP_bind_interdomain]: full({ guests, arg: evtchn_bind_interdomain, out: true }, ({ domain }, bind) =>
    stored(domain.evtchn.bindInterdomain(domId(bind.remote_dom), bind.remote_port), (port) => {
      bind.local_port = port;
    }),
  ),
  [EVTCHNOP_bind_virq]: partial(
    'no VIRQ but TIMER is ever raised',
    { guests, arg: evtchn_bind_virq, out: true },
    ({ domain }, bind) =>
      stored(domain.evtchn.bindVirq(bind.virq, bind.vcpu), (port) => {
        bind.port = port;
      }),
  ),
  [EVTCHNOP_bind_pirq]: partial(
    'no device is passed through',
    { guests, arg: evtchn_bind_pirq, out: true },
    ({ domain }, bind) =>
      stored(domain.evtchn.bindPirq(bind.pirq, domain.isHvm), (port) => {
        bind.port = port;
      }),
  ),
  [EVTCHNOP_close]: full({ guests, arg: evtchn_close }, ({ domain }, { port }) => domain.evtchn.close(port)),
  [EVTCHNOP_send]: full({ guests, arg: evtchn_send }, ({ domain }, { port }) => domain.evtchn.send(port)),
  [EVTCHNOP_status]: full({ guests, arg: evtchn_status, out: true }, ({ domain }, status) => {
    const channel = domain.evtchn.status(domId(status.dom), status.port);
    if (typeof channel === 'number') return channel;
    describe(status, channel.state);
    status.vcpu = channel.notify;
    return 0;
  }),
  [EVTCHNOP_alloc_unbound]: full({ guests, arg: evtchn_alloc_unbound, out: true }, ({ domain }, alloc) =>
    stored(domain.evtchn.allocUnbound(domId(alloc.dom), domId(alloc.remote_dom)), (port) => {
      alloc.port = port;
    }),
  ),
  [EVTCHNOP_bind_ipi]: full({ guests, arg: evtchn_bind_ipi, out: true }, ({ domain }, bind) =>
    stored(domain.evtchn.bindIpi(bind.vcpu), (port) => {
      bind.port = port;
    }),
  ),
  [EVTCHNOP_bind_vcpu]: full({ guests, arg: evtchn_bind_vcpu }, ({ domain }, { port, vcpu }) =>
    domain.evtchn.bindVcpu(port, vcpu),
  ),
  [EVTCHNOP_unmask]: full({ guests, arg: evtchn_unmask }, ({ domain }, { port }) => domain.evtchn.unmask(port)),
  [EVTCHNOP_reset]: reset,
  [EVTCHNOP_reset_cont]: reset,
  [EVTCHNOP_init_control]: full({ guests, arg: evtchn_init_control, out: true }, ({ domain }, control) =>
    stored(domain.evtchn.initControl(frameNumber(control.control_gfn), control.offset, control.vcpu), (linkBits) => {
      control.link_bits = linkBits;
    }),
  ),
  [EVTCHNOP_expand_array]: full({ guests, arg: evtchn_expand_array }, ({ domain }, { array_gfn }) =>
    domain.evtchn.expandArray(frameNumber(array_gfn)),
  ),
  [EVTCHNOP_set_priority]: full({ guests, arg: evtchn_set_priority }, ({ domain }, { port, priority }) =>
    domain.evtchn.setPriority(port, priority),
  ),
});

/** Fills status and its details; a field that does not belong to the status keeps the caller's bytes. */
function describe(into: ValueOf<typeof evtchn_status>, state: ChannelState): void {
  const u = into.u as Partial<ValueOf<typeof evtchn_status>['u']>;
  const { interdomain, pirq } = into.u;
  delete u.unbound;
  delete u.interdomain;
  delete u.pirq;
  delete u.virq;
  switch (state.kind) {
    case 'free':
    case 'reserved':
      into.status = EVTCHNSTAT_closed;
      u.interdomain = interdomain;
      break;
    case 'unbound':
      into.status = EVTCHNSTAT_unbound;
      // The domain id is at the same place in both forms; what is behind it keeps the caller's bytes.
      u.interdomain = { dom: state.remote, port: interdomain?.port ?? 0 };
      break;
    case 'interdomain':
      into.status = EVTCHNSTAT_interdomain;
      u.interdomain = { dom: state.remote.domid, port: state.port };
      break;
    case 'pirq':
      into.status = EVTCHNSTAT_pirq;
      u.pirq = state.pirq;
      break;
    case 'virq':
      into.status = EVTCHNSTAT_virq;
      u.virq = state.virq;
      break;
    case 'ipi':
      into.status = EVTCHNSTAT_ipi;
      u.pirq = pirq;
      break;
  }
}
