/**
 * SCHEDOP_poll: a vCPU waits for one of some ports to become pending, masked or not, or for a time. `xen:public/sched.h#SCHEDOP_poll`
 */
import type { Port } from '../../base/int.ts';
import type { Domain } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';
import { VPF_blocked } from '../vcpu.ts';

/** A port became pending: wakes pollers of exactly this port, and those of several (they look again). */
export function checkPollers(domain: Domain, port: Port): void {
  for (const vcpu of domain.vcpus) {
    const { poll } = vcpu;
    if (poll !== undefined && (poll.ports.length !== 1 || poll.ports[0] === port)) endPoll(vcpu);
  }
}

/** Starts waiting; `deadline` 0 is no timeout. */
export function startPoll(vcpu: Vcpu, ports: readonly number[], deadline: bigint): void {
  vcpu.poll = { ports };
  vcpu.setPauseFlags(VPF_blocked);
  if (deadline !== 0n) vcpu.timers.setPollTimeout(deadline, () => endPoll(vcpu));
}

/** Ends waiting, for an event or a timeout. */
export function endPoll(vcpu: Vcpu): void {
  if (vcpu.poll !== undefined) vcpu.unblock();
}
