/** The instructions of a PV guest that need no trap of their own: CPUID and time. Everything else faults and goes to the trap owner. */
import { MISC_FEATURES_CPUID_FAULTING, MSR_MISC_FEATURES_ENABLES } from '../../abi/x86/msr.ts';
import type { Cpu, TrapOutcome, TrapSink } from '../../cpu/index.ts';
import type { PvDomain } from './pv-domain.ts';

export class PvTrapSink implements TrapSink {
  private readonly pv: PvDomain;

  constructor(pv: PvDomain) {
    this.pv = pv;
  }

  /** There is no hardware virtualisation under a PV guest. */
  hypercall(): TrapOutcome {
    return 'undefined';
  }

  cpuid(cpu: Cpu, leaf: number, subleaf: number, out: Uint32Array): void {
    this.pv.cpuid(this.pv.vcpus[cpu.id], leaf, subleaf, out, false);
  }

  /** Asked by CPUID only: it faults in user mode when the guest's kernel wants that. */
  rdmsr(cpu: Cpu, index: number): bigint | undefined {
    const pv = this.pv.vcpus[cpu.id];
    if (index !== MSR_MISC_FEATURES_ENABLES) return undefined;
    return pv.cpuidFaulting && !pv.kernelMode ? MISC_FEATURES_CPUID_FAULTING : 0n;
  }

  wrmsr(): boolean {
    return false;
  }

  readTsc(cpu: Cpu): bigint {
    return this.pv.readTsc(this.pv.vcpus[cpu.id]);
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
