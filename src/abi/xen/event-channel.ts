/** `xen:public/event_channel.h`: operations, statuses, the FIFO ABI. The structures are the same in both layouts. */
import { bytes, struct, u8, u16, u32, u64, union } from './struct.ts';

export const EVTCHNOP_bind_interdomain = 0;
export const EVTCHNOP_bind_virq = 1;
export const EVTCHNOP_bind_pirq = 2;
export const EVTCHNOP_close = 3;
export const EVTCHNOP_send = 4;
export const EVTCHNOP_status = 5;
export const EVTCHNOP_alloc_unbound = 6;
export const EVTCHNOP_bind_ipi = 7;
export const EVTCHNOP_bind_vcpu = 8;
export const EVTCHNOP_unmask = 9;
export const EVTCHNOP_reset = 10;
export const EVTCHNOP_init_control = 11;
export const EVTCHNOP_expand_array = 12;
export const EVTCHNOP_set_priority = 13;
export const EVTCHNOP_reset_cont = 14;

export const EVTCHNSTAT_closed = 0;
export const EVTCHNSTAT_unbound = 1;
export const EVTCHNSTAT_interdomain = 2;
export const EVTCHNSTAT_pirq = 3;
export const EVTCHNSTAT_virq = 4;
export const EVTCHNSTAT_ipi = 5;

export const EVTCHN_FIFO_PRIORITY_MAX = 0;
export const EVTCHN_FIFO_PRIORITY_DEFAULT = 7;
export const EVTCHN_FIFO_PRIORITY_MIN = 15;
export const EVTCHN_FIFO_MAX_QUEUES = EVTCHN_FIFO_PRIORITY_MIN + 1;
export const EVTCHN_FIFO_LINK_BITS = 17;
export const EVTCHN_FIFO_LINK_MASK = (1 << EVTCHN_FIFO_LINK_BITS) - 1;
export const EVTCHN_FIFO_NR_CHANNELS = 1 << EVTCHN_FIFO_LINK_BITS;
/** Masks of an event word (the public header gives bit numbers 31 to 28). */
export const EVTCHN_FIFO_PENDING = 1 << 31;
export const EVTCHN_FIFO_MASKED = 1 << 30;
export const EVTCHN_FIFO_LINKED = 1 << 29;
export const EVTCHN_FIFO_BUSY = 1 << 28;

export const evtchn_alloc_unbound = struct('evtchn_alloc_unbound', { dom: u16, remote_dom: u16, port: u32 });
export const evtchn_bind_interdomain = struct('evtchn_bind_interdomain', {
  remote_dom: u16,
  remote_port: u32,
  local_port: u32,
});
export const evtchn_bind_virq = struct('evtchn_bind_virq', { virq: u32, vcpu: u32, port: u32 });
export const evtchn_bind_pirq = struct('evtchn_bind_pirq', { pirq: u32, flags: u32, port: u32 });
export const evtchn_bind_ipi = struct('evtchn_bind_ipi', { vcpu: u32, port: u32 });
export const evtchn_close = struct('evtchn_close', { port: u32 });
export const evtchn_send = struct('evtchn_send', { port: u32 });
const unbound = struct('evtchn_status_unbound', { dom: u16 });
const interdomain = struct('evtchn_status_interdomain', { dom: u16, port: u32 });
const statusDetail = union('evtchn_status_u', { unbound, interdomain, pirq: u32, virq: u32 });
export const evtchn_status = struct('evtchn_status', { dom: u16, port: u32, status: u32, vcpu: u32, u: statusDetail });
export const evtchn_bind_vcpu = struct('evtchn_bind_vcpu', { port: u32, vcpu: u32 });
export const evtchn_unmask = struct('evtchn_unmask', { port: u32 });
export const evtchn_reset = struct('evtchn_reset', { dom: u16 });
export const evtchn_init_control = struct('evtchn_init_control', {
  control_gfn: u64,
  offset: u32,
  vcpu: u32,
  link_bits: u8,
  pad: bytes(7),
});
export const evtchn_expand_array = struct('evtchn_expand_array', { array_gfn: u64 });
export const evtchn_set_priority = struct('evtchn_set_priority', { port: u32, priority: u32 });
