/** The laboratory: runs guests, observes them and compares runs. Nothing below imports it. */
export { type ArmFilterOptions, type ArmFilterRow, experimentArmFilter } from './arm/arm-filter.ts';
export { AreaAudit, type AreaRow, type AuditReport, auditReport, type Counted, type Unclaimed } from './audit/audit.ts';
export { auditText } from './audit/text.ts';
export { type Call, CallRecorder, type Divergence, firstDivergence, MAXIMUM_CALLS } from './diff/diff.ts';
export { divergenceText } from './diff/text.ts';
export * from './experiment/index.ts';
export { machineDigest } from './machine/digest.ts';
export { Machine, type MachineOptions } from './machine/machine.ts';
export { type Count, type Profile, Profiler } from './profile/profile.ts';
export { table } from './table.ts';
export { callName, callText, plainArguments, resultText, traceLine } from './trace/line.ts';
export { argumentShape, hypercallName, operationName } from './trace/names.ts';
