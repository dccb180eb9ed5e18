/** The guest-visible hypervisor: domains, vCPUs, shared areas, event channels, memory, hypercalls. */
export { allows, Audit, type Entry, type Hypercall, type HypercallTrace, HypercallTable } from './hypercall.ts';
export * from './control.ts';
export { CpuidPolicy } from './cpuid-policy.ts';
export { Domain, type DomainConfig, type Shutdown } from './domain.ts';
export { hypercallTable } from './hypercalls/index.ts';
export { XenMachine } from './machine.ts';
export type { AccessSite, AreaAccess, GuestArea } from './info/area.ts';
export { type Rule, type RuleName, type Version } from './rules.ts';
export { Scheduler } from './scheduler.ts';
export { Vcpu } from './vcpu.ts';
