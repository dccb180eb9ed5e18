/** Switching a 64-bit guest between kernel and user mode, and saving the registers of a trap. */
import type { Cpu } from '../../cpu/index.ts';
import * as S from '../../cpu/state.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

/** Saves what an interrupt frame holds. */
export function saveFrame(pv: PvVcpu, cpu: Cpu, rip: bigint): void {
  const { frame } = pv;
  frame.rip = rip;
  frame.cs = cpu.get32(S.seg(S.CS) + S.SEG_SELECTOR) & 0xffff;
  frame.flags = cpu.eflags;
  frame.rsp = cpu.get64(S.gpr(S.RSP));
  frame.ss = cpu.get32(S.seg(S.SS) + S.SEG_SELECTOR) & 0xffff;
}

/** 64-bit: the other of kernel and user mode. GS bases change places and the root page table follows. */
export function toggleMode(domain: PvDomain, pv: PvVcpu, cpu: Cpu): void {
  const active = cpu.get64(S.seg(S.GS));
  cpu.set64(S.seg(S.GS), cpu.get64(S.KERNEL_GS_BASE));
  cpu.set64(S.KERNEL_GS_BASE, active);
  if (!pv.inKernel) pv.gsBaseUser = active;
  pv.inKernel = !pv.inKernel;
  domain.mm.loadRoot(pv, true);
  if (pv.inKernel) domain.domain.info.writeDeferred(pv.vcpu);
}
