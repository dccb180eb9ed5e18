/**
 * sched_op: giving up the processor, waiting for events, ending the domain. `xen:public/sched.h`
 */
import { EFAULT, EINVAL, ENOSPC, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import {
  evtchn_port,
  SCHEDOP_block,
  SCHEDOP_pin_override,
  SCHEDOP_poll,
  SCHEDOP_remote_shutdown,
  SCHEDOP_shutdown,
  SCHEDOP_shutdown_code,
  SCHEDOP_watchdog,
  SCHEDOP_yield,
  SHUTDOWN_watchdog,
  sched_poll,
  sched_remote_shutdown,
  sched_shutdown,
  sched_watchdog,
} from '../../abi/xen/sched.ts';
import type { ValueOf } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_sched_op } from '../../abi/xen/xen.ts';
import type { Alarm, Domain } from '../domain.ts';
import { startPoll } from '../evtchn/poll.ts';
import type { HypercallContext, Result } from '../hypercall.ts';
import { absent, block, full, hypercall } from '../hypercall.ts';
import { rangeOkay } from './common.ts';

const MAX_POLL_PORTS = 128;
const WATCHDOGS = 2;
const SECOND = 1_000_000_000n;

/** SCHEDOP_block: clears the upcall mask (HVM too), then waits unless an event would be delivered at once. */
function blockVcpu({ domain, vcpu }: HypercallContext): Result {
  domain.info.setUpcallMask(vcpu.id, false, 'SCHEDOP_block');
  if (domain.upcalls.deliverable(vcpu)) return 0;
  vcpu.block();
  return block(0);
}

/** EINVAL: more than 128 ports; EFAULT: list; 0 when an event would be delivered; per port EFAULT, EINVAL, 0 when pending (masked or not). */
function poll(context: HypercallContext, { ports, nr_ports, timeout }: ValueOf<typeof sched_poll>): Result {
  const { domain, vcpu } = context;
  if (nr_ports > MAX_POLL_PORTS) return -EINVAL;
  if (!rangeOkay(context, ports, BigInt(nr_ports * evtchn_port.size(context.width)))) return -EFAULT;
  if (domain.upcalls.deliverable(vcpu)) return 0;
  const waiting: number[] = [];
  for (let i = 0; i < nr_ports; i++) {
    const entry = context.copyFromGuest(evtchn_port, context.element(evtchn_port, ports, i));
    if (entry === undefined) return -EFAULT;
    const pending = domain.evtchn.poll(entry.port);
    if (typeof pending === 'number') return pending;
    if (pending) return 0;
    waiting.push(entry.port);
  }
  startPoll(vcpu, waiting, timeout);
  return block(0);
}

/** Ends the domain; a suspend returns 0 when the tool stack resumes it. */
function shutdown({ domain }: HypercallContext, { reason }: ValueOf<typeof sched_shutdown>): Result {
  domain.shutdown(reason & 0xff);
  return 0;
}

interface Watchdogs {
  readonly alarms: (Alarm | undefined)[];
}
const watchdogs = new WeakMap<Domain, Watchdogs>();

/** EINVAL: id above 2; id 0 allocates (ENOSPC) and returns the id; EINVAL: unused id; timeout 0 frees. Timeouts are seconds. */
function watchdog({ domain }: HypercallContext, { id, timeout }: ValueOf<typeof sched_watchdog>): Result {
  if (id > WATCHDOGS) return -EINVAL;
  const state = watchdogs.get(domain) ?? { alarms: [] };
  watchdogs.set(domain, state);
  const arm = (slot: number): void => {
    state.alarms[slot]?.cancel();
    state.alarms[slot] = domain.time.alarm(domain.now() + BigInt(timeout) * SECOND, () =>
      domain.shutdown(SHUTDOWN_watchdog),
    );
  };
  if (id === 0) {
    for (let slot = 0; slot < WATCHDOGS; slot++) {
      if (state.alarms[slot] !== undefined) continue;
      arm(slot);
      return slot + 1;
    }
    return -ENOSPC;
  }
  if (state.alarms[id - 1] === undefined) return -EINVAL;
  if (timeout === 0) {
    state.alarms[id - 1]?.cancel();
    state.alarms[id - 1] = undefined;
  } else arm(id - 1);
  return 0;
}

export const schedOp = hypercall(__HYPERVISOR_sched_op, 'xen:public/sched.h', {
  [SCHEDOP_yield]: full({ guests: 'all' }, ({ vcpu }) => {
    vcpu.cpu.requestExit();
    return 0;
  }),
  [SCHEDOP_block]: full({ guests: 'all' }, blockVcpu),
  [SCHEDOP_shutdown]: full({ guests: 'all', arg: sched_shutdown }, shutdown),
  [SCHEDOP_poll]: full({ guests: 'all', arg: sched_poll }, poll),
  [SCHEDOP_remote_shutdown]: full({ guests: 'all', arg: sched_remote_shutdown }, ({ domain }, { domain_id }) =>
    domain_id === domain.id || domain_id === 0 ? -EPERM : -ESRCH,
  ),
  [SCHEDOP_shutdown_code]: full({ guests: 'all', arg: sched_shutdown }, ({ domain }, { reason }) => {
    domain.shutdownCode ??= reason & 0xff;
    return 0;
  }),
  [SCHEDOP_watchdog]: full({ guests: 'all', arg: sched_watchdog }, watchdog),
  [SCHEDOP_pin_override]: absent('only the hardware domain may pin', EPERM),
});
