/** SYSCALL, SYSRET, SYSENTER, SYSEXIT (key `sdm:SYSCALL`, key `sdm:SYSENTER`). They load flat segments without any descriptor. */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { canonical } from './descriptor.ts';
import { fault, GP, UD } from './fault.ts';

export const EFER_SCE = 1;
/** Flat code and data, accessed, present; DPL 0. */
export const FLAT_CODE64 = 0xa09b,
  FLAT_CODE32 = 0xc09b,
  FLAT_DATA = 0xc093;
const LIMIT = 0xffff_ffff;
/** Flags that SYSRET takes from R11. */
export const SYSRET_FLAGS = 0x3c_7fd7;

const loadFlat = (cpu: Cpu, code: number, codeAttr: number, stack: number, level: number): void => {
  cpu.setSegment(S.CS, (code & 0xfffc) | level, 0n, LIMIT, codeAttr | (level << 5));
  cpu.setSegment(S.SS, (stack & 0xfffc) | level, 0n, LIMIT, FLAT_DATA | (level << 5));
};

const checkEnabled = (cpu: Cpu): void => {
  if (!cpu.code64 || (cpu.get32(S.EFER) & EFER_SCE) === 0) throw fault(UD);
};

/** SYSCALL: 64-bit mode with EFER.SCE only (#UD). `next` goes to RCX. */
export const syscall = (cpu: Cpu, next: bigint): void => {
  checkEnabled(cpu);
  if (cpu.owner !== undefined) {
    cpu.delivered = true;
    cpu.owner.syscall(cpu, next);
    return;
  }
  const flags = cpu.eflags;
  cpu.setGpr(S.RCX, next);
  cpu.setGpr(11, BigInt(flags));
  const selector = cpu.get32(S.STAR + 4) & 0xffff;
  loadFlat(cpu, selector, FLAT_CODE64, selector + 8, 0);
  cpu.rip = cpu.get64(S.LSTAR);
  cpu.eflags = (flags & ~(cpu.get32(S.SFMASK) | S.RF)) | 2;
  cpu.updateMode(0);
  // The single-step trap goes by the new TF.
  if ((cpu.get32(S.EFLAGS_REST) & S.TF) === 0) cpu.delivered = true;
};

/** SYSRET: #UD as SYSCALL, #GP(0) above CPL 0 or, with 64-bit operand size, for a RCX that is not canonical. */
export const sysret = (cpu: Cpu, long: boolean): void => {
  checkEnabled(cpu);
  if (cpu.cpl !== 0) throw fault(GP, 0);
  const rcx = cpu.gpr(S.RCX);
  if (long && !canonical(rcx)) throw fault(GP, 0);
  const selector = cpu.get32(S.STAR + 4) >>> 16;
  loadFlat(cpu, long ? selector + 16 : selector, long ? FLAT_CODE64 : FLAT_CODE32, selector + 8, 3);
  cpu.rip = long ? rcx : rcx & 0xffff_ffffn;
  cpu.eflags = (Number(cpu.gpr(11) & 0xffff_ffffn) & SYSRET_FLAGS) | 2;
  cpu.updateMode(3);
};

const sysenterSelector = (cpu: Cpu): number => {
  const selector = cpu.get32(S.SYSENTER_CS) & 0xfffc;
  if (!cpu.protectedMode || selector === 0) throw fault(GP, 0);
  return selector;
};

/** SYSENTER: #GP(0) in real mode and with a null SYSENTER_CS. `next` is only for the owner of the guest's traps. */
export const sysenter = (cpu: Cpu, next: bigint): void => {
  if (cpu.owner !== undefined && cpu.protectedMode) {
    cpu.delivered = true;
    cpu.owner.sysenter(cpu, next);
    return;
  }
  const selector = sysenterSelector(cpu);
  const long = cpu.longMode;
  const sp = cpu.get64(S.SYSENTER_ESP),
    ip = cpu.get64(S.SYSENTER_EIP);
  loadFlat(cpu, selector, long ? FLAT_CODE64 : FLAT_CODE32, selector + 8, 0);
  cpu.setGpr(S.RSP, long ? sp : sp & 0xffff_ffffn);
  cpu.rip = long ? ip : ip & 0xffff_ffffn;
  cpu.eflags = cpu.eflags & ~(S.VM | S.IF | S.RF);
  cpu.updateMode(0);
};

/** SYSEXIT: #GP(0) in real mode, with a null SYSENTER_CS, above CPL 0, or for addresses that are not canonical (64-bit form). */
export const sysexit = (cpu: Cpu, long: boolean): void => {
  const selector = sysenterSelector(cpu);
  if (cpu.cpl !== 0) throw fault(GP, 0);
  const sp = cpu.gpr(S.RCX),
    ip = cpu.gpr(S.RDX);
  if (long && !(canonical(sp) && canonical(ip))) throw fault(GP, 0);
  loadFlat(cpu, selector + (long ? 32 : 16), long ? FLAT_CODE64 : FLAT_CODE32, selector + (long ? 40 : 24), 3);
  cpu.setGpr(S.RSP, long ? sp : sp & 0xffff_ffffn);
  cpu.rip = long ? ip : ip & 0xffff_ffffn;
  cpu.updateMode(3);
};
