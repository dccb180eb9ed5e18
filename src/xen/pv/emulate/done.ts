/** The end of an instruction the hypervisor performed for the guest. */
import type { Cpu } from '../../../cpu/index.ts';
import * as S from '../../../cpu/state.ts';
import { DB, inject } from '../inject.ts';
import type { PvDomain } from '../pv-domain.ts';
import type { PvVcpu } from '../pv-vcpu.ts';

const DR6_BS = 0x4000;

/** Goes on behind it; RF is used up, and TF or a breakpoint (bits of DR6) makes a debug trap. */
export function instructionDone(domain: PvDomain, pv: PvVcpu, cpu: Cpu, next: bigint, breakpoints = 0): void {
  const flags = cpu.get32(S.EFLAGS_REST);
  cpu.rip = next;
  cpu.set32(S.EFLAGS_REST, flags & ~S.RF);
  const bits = breakpoints | ((flags & S.TF) !== 0 ? DR6_BS : 0);
  if (bits === 0) return;
  cpu.set32(S.DR6, cpu.get32(S.DR6) | bits);
  inject(domain, pv, cpu, DB, undefined);
}
