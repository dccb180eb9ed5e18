/** What a vCPU of a paravirtualised domain has besides its registers. */
import type { Vcpu } from '../vcpu.ts';

/** A machine frame number; 0 is none. */
export type Mfn = number;

export class PvVcpu {
  readonly vcpu: Vcpu;
  /** Root page tables: of the kernel, and of a 64-bit guest's user mode. */
  kernelRoot: Mfn = 0;
  userRoot: Mfn | undefined;
  /** 64-bit: in guest kernel mode (the processor is in ring 3 in both). */
  inKernel = true;

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
  }
}
