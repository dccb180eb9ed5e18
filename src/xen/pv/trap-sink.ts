/** The instructions of a PV guest that need no trap of their own: CPUID and time. Everything else faults and goes to the trap owner. */
import type { Cpu, TrapOutcome, TrapSink } from '../../cpu/index.ts';
import { cpuid } from '../cpuid.ts';
import type { CpuidPolicy } from '../cpuid-policy.ts';
import type { PvDomain } from './pv-domain.ts';

export class PvTrapSink implements TrapSink {
  private readonly pv: PvDomain;
  private readonly policy: CpuidPolicy;

  constructor(pv: PvDomain, policy: CpuidPolicy) {
    this.pv = pv;
    this.policy = policy;
  }

  /** There is no hardware virtualisation under a PV guest. */
  hypercall(): TrapOutcome {
    return 'undefined';
  }

  cpuid(cpu: Cpu, leaf: number, subleaf: number, out: Uint32Array): void {
    const { vcpu } = this.pv.vcpus[cpu.id];
    cpuid(this.policy, vcpu, { apicId: 2 * vcpu.id, apicEnabled: true }, leaf >>> 0, subleaf >>> 0, out);
  }

  rdmsr(): bigint | undefined {
    return undefined;
  }

  wrmsr(): boolean {
    return false;
  }

  readTsc(cpu: Cpu): bigint {
    return BigInt.asUintN(64, this.pv.domain.now() + this.pv.vcpus[cpu.id].vcpu.tscOffset);
  }

  readCr8(): number {
    return 0;
  }

  writeCr8(): void {}

  halt(): void {}

  /** Where others could run, spinning gives the slice away. */
  pause(cpu: Cpu): void {
    const { vcpu } = this.pv.vcpus[cpu.id];
    if (this.pv.domain.vcpus.some((other) => other !== vcpu && other.isRunnable)) cpu.requestExit();
  }

  tripleFault(): void {}

  unknownInstruction(_cpu: Cpu, name: string): void {
    this.pv.domain.audit.count(`instruction ${name}`);
  }
}
