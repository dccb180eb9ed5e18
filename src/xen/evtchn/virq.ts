/** Kinds of virtual interrupts (`xen:public/xen.h#VIRQ_TIMER`). */
import { VIRQ_ARGO, VIRQ_DEBUG, VIRQ_TIMER, VIRQ_XENOPROF, VIRQ_XENPMU } from '../../abi/xen/xen.ts';

/** Whom a VIRQ belongs to: each vCPU, each domain, or the one domain that handles it for the whole machine. */
export type VirqType = 'vcpu' | 'domain' | 'global';

const types: ReadonlyMap<number, VirqType> = new Map([
  [VIRQ_TIMER, 'vcpu'],
  [VIRQ_DEBUG, 'vcpu'],
  [VIRQ_XENOPROF, 'vcpu'],
  [VIRQ_XENPMU, 'vcpu'],
  [VIRQ_ARGO, 'domain'],
]);

export const virqType = (virq: number): VirqType => types.get(virq) ?? 'global';
