/** What only paravirtualised domains have. */
import { cpuid } from '../cpuid.ts';
import type { CpuidPolicy } from '../cpuid-policy.ts';
import type { Domain } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';
import { loadPvContext } from './context.ts';
import { PvMemory } from './mm/pv-memory.ts';
import { PvMsrs } from './msr.ts';
import { guestCr4, loadCr4, loadTaskSwitched } from './processor.ts';
import type { PvVcpu } from './pv-vcpu.ts';

const OSXSAVE = 1 << 27;

export class PvDomain {
  readonly domain: Domain;
  /** Fixed for the domain's life. */
  readonly width: 32 | 64;
  readonly mm: PvMemory;
  readonly policy: CpuidPolicy;
  /** By id. */
  readonly vcpus: PvVcpu[] = [];
  readonly msrs: PvMsrs;

  constructor(domain: Domain, width: 32 | 64, policy: CpuidPolicy) {
    this.domain = domain;
    this.width = width;
    this.mm = new PvMemory(domain, width);
    this.policy = policy.forPv(width);
    this.msrs = new PvMsrs(this, policy);
  }

  /** VCPUOP_initialise with a context that passed its first checks ({@link loadPvContext}). */
  initialise(vcpu: Vcpu, raw: Uint8Array, caller: Vcpu): number | 'again' {
    return loadPvContext(this, this.vcpus[vcpu.id], raw, caller);
  }

  /** CR4 as the guest writes it. */
  setCr4(pv: PvVcpu, value: bigint): void {
    pv.cr4 = guestCr4(this.policy, value);
    loadCr4(pv.cpu, this.policy, pv.cr4);
  }

  /** CR0.TS of the guest, which is also the processor's. */
  setTaskSwitched(pv: PvVcpu, on: boolean): void {
    pv.taskSwitched = on;
    loadTaskSwitched(pv.cpu, on);
  }

  /** The counter is the host's, in ns. */
  readTsc(pv: PvVcpu): bigint {
    return BigInt.asUintN(64, this.domain.now() + pv.vcpu.tscOffset);
  }

  /**
   * CPUID. OSXSAVE follows the guest's CR4; but a kernel that asks with the emulation prefix sees it set whatever its CR4, as it always did.
   * `xen:arch/x86/cpuid.c#guest_cpuid`
   */
  cpuid(pv: PvVcpu, leaf: number, subleaf: number, out: Uint32Array, prefixed: boolean): void {
    cpuid(this.policy, pv.vcpu, { apicId: 0, apicEnabled: true }, leaf >>> 0, subleaf >>> 0, out);
    if (leaf !== 1) return;
    const shown = (pv.cr4 & (1n << 18n)) !== 0n || (prefixed && pv.kernelMode && this.policy.has('XSAVE'));
    out[2] = shown ? out[2] | OSXSAVE : out[2] & ~OSXSAVE;
  }
}
