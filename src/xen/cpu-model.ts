/** The processor model that the CPU layer asks for, from the CPUID policy. */
import type { CpuModel } from '../cpu/index.ts';
import type { CpuidPolicy } from './cpuid-policy.ts';
import { PHYSICAL_BITS } from './cpuid-policy.ts';

/** `forcedEmulation`: the hypervisor's debugging prefix (its boot option hvm_fep). */
export const cpuModel = (policy: CpuidPolicy, forcedEmulation: boolean): CpuModel => ({
  forcedEmulation,
  cr4Mask: policy.cr4Mask,
  eferMask: policy.eferMask,
  physicalBits: PHYSICAL_BITS,
});
