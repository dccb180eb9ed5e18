/** The guest-visible hypervisor: domains, vCPUs, shared areas, event channels, memory, hypercalls. */

export type { InterpreterModules } from '../cpu/index.ts';
export * from './control.ts';
export { CpuidPolicy } from './cpuid-policy.ts';
export { Domain, type DomainConfig, type Shutdown } from './domain.ts';
export {
  Audit,
  allows,
  type Entry,
  type Hypercall,
  HypercallContext,
  HypercallTable,
  type HypercallTrace,
} from './hypercall.ts';
export { hypercallTable } from './hypercalls/index.ts';
export type { AccessMode, AccessSite, AreaAccess, AreaKind, AreaMapping, GuestArea } from './info/area.ts';
export { XenMachine } from './machine.ts';
export { defaultValue, type Rule, type RuleName, type Version } from './rules.ts';
export { Scheduler } from './scheduler.ts';
export { Vcpu } from './vcpu.ts';
