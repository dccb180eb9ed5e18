/** How a hypervisor below a guest, in ring 0 of long mode, puts guest code on the processor. */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { breakpointsArmed } from './debug.ts';
import { checkTarget, loadHidden, loadNull, markAccessed } from './descriptor.ts';
import { dropInnerSegments, entersLong, returnSegment, returnStack } from './far-return.ts';
import { GuestFault } from './fault.ts';
import { loadSegment } from './segment-load.ts';

/** What an interrupt frame of long mode holds. */
export interface ReturnFrame {
  rip: bigint;
  cs: number;
  /** EFLAGS. */
  flags: number;
  rsp: bigint;
  ss: number;
}

/** Flags without RF where it means nothing. */
const settled = (cpu: Cpu, flags: number): number => (breakpointsArmed(cpu) ? flags : flags & ~S.RF);

/**
 * Goes on as the IRET of a 64-bit hypervisor with this frame would. The fault of that IRET (#GP, #NP, #SS of a selector, #GP(0) of an address that
 * is not canonical or beyond the limit) is returned, and only the privilege level has changed then; the object is reused.
 */
export const resumeAt = (cpu: Cpu, frame: ReturnFrame): GuestFault | undefined => {
  cpu.updateMode(0);
  try {
    const code = returnSegment(cpu, frame.cs);
    const level = frame.cs & 3;
    const long = entersLong(cpu, code);
    const target = long ? frame.rip : frame.rip & 0xffff_ffffn;
    const stack = returnStack(cpu, frame.ss, code);
    checkTarget(cpu, code, target);
    markAccessed(cpu, code);
    if (stack === undefined) loadNull(cpu, S.SS, frame.ss);
    else loadHidden(cpu, S.SS, frame.ss, stack);
    loadHidden(cpu, S.CS, frame.cs, code);
    cpu.rip = target;
    cpu.set64(S.gpr(S.RSP), long ? frame.rsp : frame.rsp & 0xffff_ffffn);
    if (level > 0) dropInnerSegments(cpu, level);
    cpu.eflags = settled(cpu, frame.flags);
    cpu.updateMode(level);
    return undefined;
  } catch (e) {
    if (!(e instanceof GuestFault)) throw e;
    return e;
  }
};

/** {@link resumeAt} with flat segments known to be in the guest's table: no descriptor is read. `codeAttr` and `stackAttr` as in the state block. */
export const resumeFlat = (cpu: Cpu, frame: ReturnFrame, codeAttr: number, stackAttr: number): void => {
  if ((cpu.get32(S.seg(S.CS) + S.SEG_SELECTOR) & 0xffff) !== frame.cs)
    cpu.setSegment(S.CS, frame.cs, 0n, 0xffff_ffff, codeAttr);
  if ((cpu.get32(S.seg(S.SS) + S.SEG_SELECTOR) & 0xffff) !== frame.ss)
    cpu.setSegment(S.SS, frame.ss, 0n, 0xffff_ffff, stackAttr);
  const level = frame.cs & 3;
  cpu.rip = frame.rip;
  cpu.set64(S.gpr(S.RSP), frame.rsp);
  if (level > cpu.cpl) dropInnerSegments(cpu, level);
  cpu.eflags = settled(cpu, frame.flags);
  cpu.updateMode(level);
};

/** Loads a data segment register as MOV at the present privilege does; false, and nothing changed, when it faults. */
export const tryLoadSegment = (cpu: Cpu, n: number, selector: number): boolean => {
  try {
    loadSegment(cpu, n, selector);
    return true;
  } catch (e) {
    if (!(e instanceof GuestFault)) throw e;
    return false;
  }
};
