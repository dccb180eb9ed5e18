/** The hypervisor's flat segments, which every PV guest's GDT holds (`xen:public/arch-x86/xen-x86_64.h`, `xen-x86_32.h`), and leaving to the guest. */
import {
  FLAT_RING1_CS,
  FLAT_RING1_DS,
  FLAT_RING3_CS32,
  FLAT_RING3_CS64,
  FLAT_RING3_SS64,
} from '../../abi/xen/vcpu-guest-context.ts';
import { type Cpu, type GuestFault, resumeAt, resumeFlat } from '../../cpu/index.ts';
import { canonical } from './address-space.ts';
import type { PvVcpu } from './pv-vcpu.ts';

export const KERNEL_CS64 = FLAT_RING3_CS64,
  KERNEL_SS64 = FLAT_RING3_SS64,
  USER_CS32 = FLAT_RING3_CS32;
export const KERNEL_CS32 = FLAT_RING1_CS,
  KERNEL_SS32 = FLAT_RING1_DS;
/** User segments of 32-bit guests. */
export const USER_CS_PV32 = 0xe02b,
  USER_SS_PV32 = 0xe033;

/** Attributes: accessed, present, 4 GiB; code readable. Byte 5 and the high bits of byte 6 of a descriptor. */
const CODE64_3 = 0xa0fb,
  CODE32_1 = 0xc0bb,
  CODE32_3 = 0xc0fb,
  DATA_1 = 0xc0b3,
  DATA_3 = 0xc0f3;

/** The common pairs of code and stack segment, whose descriptors need not be read. */
const flatPair = (pv: PvVcpu): readonly [number, number] | undefined => {
  const { cs, ss, rip } = pv.frame;
  if (pv.width === 64)
    return cs === KERNEL_CS64 && ss === KERNEL_SS64 && canonical(rip) ? [CODE64_3, DATA_3] : undefined;
  if (rip > 0xffff_ffffn) return undefined;
  if (cs === KERNEL_CS32 && ss === KERNEL_SS32) return PAIR_1;
  return cs === USER_CS_PV32 && ss === USER_SS_PV32 ? PAIR_3 : undefined;
};
const PAIR_1 = [CODE32_1, DATA_1] as const,
  PAIR_3 = [CODE32_3, DATA_3] as const;

/** Puts {@link PvVcpu.frame} on the processor; the fault of the IRET when it cannot. */
export function leaveToGuest(pv: PvVcpu, cpu: Cpu): GuestFault | undefined {
  const flat = flatPair(pv);
  if (flat === undefined) return resumeAt(cpu, pv.frame);
  resumeFlat(cpu, pv.frame, flat[0], flat[1]);
  return undefined;
}
