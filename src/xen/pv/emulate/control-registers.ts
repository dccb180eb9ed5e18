/** Control registers of a PV guest: TS is its own, CR2 and CR3 are kept for it, CR4 is partly its choice (`xen:arch/x86/pv/domain.c#pv_fixup_guest_cr4`). */
import { cr3ToFrame, frameToCr3 } from '../../../abi/xen/vcpu-guest-context.ts';
import type { Cpu } from '../../../cpu/index.ts';
import * as S from '../../../cpu/state.ts';
import type { PvDomain } from '../pv-domain.ts';
import type { PvVcpu } from '../pv-vcpu.ts';
import type { Outcome } from './privileged.ts';

const CR0_TS = 8n;

/** Undefined: no such register for a guest. */
export function readControl(domain: PvDomain, pv: PvVcpu, cpu: Cpu, n: number): bigint | undefined {
  switch (n) {
    case 0:
      return (cpu.get64(S.CR0) & ~CR0_TS) | (pv.taskSwitched ? CR0_TS : 0n);
    case 2:
      return pv.cr2;
    case 3:
      return frameToCr3(BigInt(pv.kernelRoot), domain.width === 64 ? 'native' : 'compat');
    case 4:
      return pv.cr4;
    default:
      return undefined;
  }
}

export function writeControl(domain: PvDomain, pv: PvVcpu, cpu: Cpu, n: number, value: bigint): Outcome {
  switch (n) {
    case 0:
      if (((value ^ cpu.get64(S.CR0)) & ~CR0_TS) !== 0n) return 'unhandled';
      domain.setTaskSwitched(pv, (value & CR0_TS) !== 0n);
      return 'done';
    case 2:
      pv.cr2 = value;
      domain.domain.info.setCr2(pv.vcpu.id, value);
      return 'done';
    case 3: {
      const mfn = cr3ToFrame(value, domain.width === 64 ? 'native' : 'compat');
      const result = mfn < 1n << 40n ? domain.mm.switchKernelRoot(pv, Number(mfn)) : -1;
      if (result === 'again') return 'again';
      return result === 0 ? 'done' : 'unhandled';
    }
    case 4:
      domain.setCr4(pv, value);
      return 'done';
    default:
      return 'unhandled';
  }
}
