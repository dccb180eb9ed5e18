/** What a machine with a PV domain has beyond the parts of any machine. Only functions, so that a machine without one need not load it. */
import type { Cpu, TrapOwner, TrapSink } from '../../cpu/index.ts';
import type { CpuidPolicy } from '../cpuid-policy.ts';
import type { Domain } from '../domain.ts';
import type { HypercallTable } from '../hypercall.ts';
import type { Vcpu } from '../vcpu.ts';
import { loadFirstContext } from './context.ts';
import { HypercallEntry } from './hypercall-entry.ts';
import { PvMemory } from './mm/pv-memory.ts';
import { preparePvProcessor } from './processor.ts';
import { PvControl } from './pv-control.ts';
import { PvDomain } from './pv-domain.ts';
import { PvVcpu } from './pv-vcpu.ts';
import { PvTrapOwner } from './trap-owner.ts';
import { PvTrapSink } from './trap-sink.ts';

export { upcallLine } from './trap-owner.ts';

/** Pages of the host that a PV domain of so many pages takes besides them. */
export const pvOverheadPages = (width: 32 | 64, pages: number, grantFrames: number, vcpus: number): number =>
  PvMemory.overheadPages(width, pages, grantFrames, vcpus);

export const createPvDomain = (domain: Domain, width: 32 | 64, policy: CpuidPolicy): PvDomain =>
  new PvDomain(domain, width, policy);

export const createPvTrapSink = (pv: PvDomain): TrapSink => new PvTrapSink(pv);

/** Takes the domain's exceptions, and its hypercalls, after each of which `afterCall` runs. */
export function createPvTrapOwner(pv: PvDomain, table: HypercallTable, afterCall: () => void): TrapOwner {
  const entry = new HypercallEntry(pv, table);
  entry.afterCall = afterCall;
  return new PvTrapOwner(pv, entry);
}

/** What a builder of the domain uses. */
export const createPvControl = (domain: Domain, pv: PvDomain): PvControl =>
  new PvControl(domain, pv.mm, (raw) => loadFirstContext(pv, raw));

export function addPvVcpu(pv: PvDomain, vcpu: Vcpu, cpu: Cpu): void {
  pv.vcpus.push(new PvVcpu(vcpu, cpu));
  preparePvProcessor(cpu, pv.policy);
}
