/** Exceptions, callbacks and events for the guest's kernel, and going on in the guest. */
import type { Cpu } from '../../cpu/index.ts';
import * as S from '../../cpu/state.ts';
import { bounce } from './bounce.ts';
import { saveFrame } from './guest-mode.ts';
import type { PvDomain } from './pv-domain.ts';
import type { Callback, PvVcpu } from './pv-vcpu.ts';
import { leaveToGuest } from './segments.ts';

export const DB = 1,
  NMI = 2,
  BP = 3,
  OF = 4,
  UD = 6,
  NM = 7,
  TS = 10,
  NP = 11,
  SS = 12,
  GP = 13,
  PF = 14;
/** Vectors whose saved flags have no RF. */
const NOT_FAULTS: ReadonlySet<number> = new Set([DB, NMI, BP, OF]);
/** Bits of a page fault's error code. */
export const PF_WRITE = 2,
  PF_USER = 4,
  PF_FETCH = 16;

/** Handlers that cannot even be entered, one after the other, before the hypervisor gives the guest up. */
const FAILED_RETURNS = 64;

/** Enters the guest's handler of an exception of the instruction at RIP, or of one that ended at `rip`. */
export function inject(
  domain: PvDomain,
  pv: PvVcpu,
  cpu: Cpu,
  vector: number,
  code: number | undefined,
  rip = cpu.rip,
): void {
  saveFrame(pv, cpu, rip);
  // As the processor saves it for the hypervisor: what will be executed again shall not meet its breakpoint again.
  if (rip === cpu.rip && !NOT_FAULTS.has(vector)) pv.frame.flags |= S.RF;
  if (enterHandler(domain, pv, cpu, vector, code)) leave(domain, pv, cpu);
}

/** A page fault, with its address where the guest looks for it. Its error code tells the guest's own modes. */
export function injectPageFault(domain: PvDomain, pv: PvVcpu, cpu: Cpu, linear: bigint, code: number): void {
  const shown = pv.kernelMode ? code & ~PF_USER : code | PF_USER;
  pv.cr2 = linear;
  domain.domain.info.setCr2(pv.vcpu.id, linear);
  inject(domain, pv, cpu, PF, shown);
}

/** Enters the kernel at a callback; {@link PvVcpu.frame} is what it interrupts. */
export function enterCallback(domain: PvDomain, pv: PvVcpu, cpu: Cpu, to: Callback, masks = to.masksEvents): boolean {
  return bounce(domain, pv, cpu, to.cs, to.address, masks, undefined);
}

/** Enters an exception handler; {@link PvVcpu.frame} is what it interrupts. */
export function enterHandler(
  domain: PvDomain,
  pv: PvVcpu,
  cpu: Cpu,
  vector: number,
  code: number | undefined,
): boolean {
  const { traps } = pv;
  return bounce(domain, pv, cpu, traps.cs[vector], traps.address[vector], traps.masksEvents(vector), code);
}

/** There is no handler for a vector. */
export const unhandled = (pv: PvVcpu, vector: number): boolean =>
  pv.width === 64 ? pv.traps.address[vector] === 0n : (pv.traps.cs[vector] & 0xfffc) === 0;

/** Goes on with {@link PvVcpu.frame}. What cannot be returned to is an exception of the guest, reported there. */
export function leave(domain: PvDomain, pv: PvVcpu, cpu: Cpu): void {
  for (let tries = 0; tries < FAILED_RETURNS; tries++) {
    if (pv.leavesBySysret) {
      cpu.set64(S.gpr(S.RCX), pv.frame.rip);
      cpu.set64(S.gpr(11), BigInt(pv.frame.flags));
      pv.leavesBySysret = false;
    }
    const fault = leaveToGuest(pv, cpu);
    if (fault === undefined) return;
    if (!enterHandler(domain, pv, cpu, fault.vector, fault.code)) return;
  }
  domain.domain.crash(`vCPU ${pv.vcpu.id}: no handler of its kernel can be entered`);
  cpu.requestExit();
}
