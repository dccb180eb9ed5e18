/** What the hypercalls of PV guests need of their caller. */
import type { HypercallContext } from '../hypercall.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

/** The caller's domain; entries for PV guests are reached by no other. */
export function pvDomain({ domain }: HypercallContext): PvDomain {
  if (domain.pv === undefined) throw new Error('a PV hypercall of a domain that is none');
  return domain.pv;
}

export const pvCaller = (context: HypercallContext): PvVcpu => pvDomain(context).vcpus[context.vcpu.id];

/** Something waits for the caller, so that a long call had better continue later. */
export const preempted = ({ domain, vcpu }: HypercallContext): boolean => domain.upcalls.deliverable(vcpu);
