/** The guest-visible hypervisor: domains, vCPUs, shared areas, event channels, memory, hypercalls. */

export * from './control.ts';
export { CpuidPolicy } from './cpuid-policy.ts';
export { Domain, type DomainConfig, type Shutdown } from './domain.ts';
export { Audit, allows, type Entry, type Hypercall, HypercallTable, type HypercallTrace } from './hypercall.ts';
export { hypercallTable } from './hypercalls/index.ts';
export type { AccessSite, AreaAccess, GuestArea } from './info/area.ts';
export { XenMachine } from './machine.ts';
export type { Rule, RuleName, Version } from './rules.ts';
export { Scheduler } from './scheduler.ts';
export { Vcpu } from './vcpu.ts';
