/** Xenolith as a library: run a Xen guest image, read its console, watch what it asks of the hypervisor. */

export { Machine, type MachineOptions } from './lab/index.ts';
export { BadInput } from './toolstack/index.ts';
export {
  type AreaAccess,
  DEFAULT_VERSION,
  type HypercallTrace,
  RULES,
  type Rule,
  type RuleName,
  type RunLimit,
  type SchedulerOptions,
  type Stop,
  type StopPoint,
  VERSIONS,
  type Version,
} from './xen/index.ts';
