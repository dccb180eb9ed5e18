/** Far RET and IRET (key `sdm:RET`, key `sdm:IRET/IRETD/IRETQ`). */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { breakpointsArmed } from './debug.ts';
import {
  ATTR_L,
  checkTarget,
  type Descriptor,
  dpl,
  findDescriptor,
  hasBadSize,
  isCode,
  isConforming,
  isNull,
  isPresent,
  isProtected,
  isWritableData,
  loadHidden,
  loadNull,
  loadReal,
  loadVm86,
  markAccessed,
  readDescriptor,
  selectorCode,
  systemType,
  TSS16_BUSY,
  TSS32_BUSY,
} from './descriptor.ts';
import { fault, GP, NP, SSV, TS } from './fault.ts';
import { flagsChangeable } from './flags.ts';
import { mergeSp, moveSp, peek, type Slot, stackAt } from './stack.ts';
import { switchTask } from './task-switch.ts';

/** The code segment to return to: #GP(0) when null, then #GP(selector), #NP(selector). Its RPL is the new privilege level. */
export const returnSegment = (cpu: Cpu, selector: number): Descriptor => {
  if (isNull(selector)) throw fault(GP, 0);
  const d = readDescriptor(cpu, selector);
  const rpl = selector & 3;
  const code = selectorCode(selector);
  if (!isCode(d.attr) || rpl < cpu.cpl) throw fault(GP, code);
  if (isConforming(d.attr) ? dpl(d.attr) > rpl : dpl(d.attr) !== rpl) throw fault(GP, code);
  if (hasBadSize(cpu, d.attr)) throw fault(GP, code);
  if (!isPresent(d.attr)) throw fault(NP, code);
  return d;
};

export const entersLong = (cpu: Cpu, d: Descriptor): boolean => cpu.longMode && (d.attr & ATTR_L) !== 0;

/** The stack segment popped; undefined for a null selector, which 64-bit code below privilege level 3 may have. */
export const returnStack = (cpu: Cpu, selector: number, code: Descriptor): Descriptor | undefined => {
  const level = code.selector & 3;
  if (isNull(selector)) {
    if (!entersLong(cpu, code) || level === 3 || (selector & 3) !== level) throw fault(GP, 0);
    return undefined;
  }
  const d = readDescriptor(cpu, selector);
  if ((selector & 3) !== level || !isWritableData(d.attr) || dpl(d.attr) !== level)
    throw fault(GP, selectorCode(selector));
  if (!isPresent(d.attr)) throw fault(SSV, selectorCode(selector));
  return d;
};

/** Data segments that the outer level may not use become null. */
export const dropInnerSegments = (cpu: Cpu, level: number): void => {
  for (const n of [S.ES, S.FS, S.GS, S.DS]) {
    const attr = cpu.get32(S.seg(n) + S.SEG_ATTR);
    if ((attr & S.ATTR_UNUSABLE) !== 0) continue;
    if (dpl(attr) < level && !(isCode(attr) && isConforming(attr))) loadNull(cpu, n, 0);
  }
};

interface Popped {
  readonly code: Descriptor;
  readonly offset: bigint;
  /** Bytes popped, counted from the present stack pointer. */
  readonly popped: number;
  /** Bytes a RET imm16 releases on top. */
  readonly released: number;
  /** SS:RSP is on the stack although the level stays (64-bit IRET). */
  readonly popsStack: boolean;
}

/** The part that far returns share: stack switch, checks of the target, CS:RIP. */
const finish = (cpu: Cpu, slot: Slot, { code, offset, popped, released, popsStack }: Popped): void => {
  const level = code.selector & 3;
  const outward = level > cpu.cpl;
  const long = entersLong(cpu, code);
  const target = long ? offset : offset & 0xffff_ffffn;
  if (!outward && !popsStack) {
    checkTarget(cpu, code, target);
    markAccessed(cpu, code);
    moveSp(cpu, popped + released);
    loadHidden(cpu, S.CS, code.selector, code);
    cpu.rip = target;
    cpu.updateMode(level);
    return;
  }
  const sp = peek(cpu, popped + released, slot);
  const selector = Number(peek(cpu, popped + released + slot, slot) & 0xffffn);
  const stack = returnStack(cpu, selector, code);
  checkTarget(cpu, code, target);
  markAccessed(cpu, code);
  if (stack !== undefined) {
    markAccessed(cpu, stack);
    loadHidden(cpu, S.SS, selector, stack);
  } else loadNull(cpu, S.SS, selector);
  const above = sp + BigInt(released);
  if (long) cpu.set64(S.gpr(S.RSP), BigInt.asUintN(64, above));
  else if (stack !== undefined) cpu.set64(S.gpr(S.RSP), mergeSp(cpu, stackAt(stack, 0n, level, 0), above));
  loadHidden(cpu, S.CS, code.selector, code);
  cpu.rip = target;
  if (outward) dropInnerSegments(cpu, level);
  cpu.updateMode(level);
};

/** RETF: pops the offset and the selector, releases `released` bytes (on both stacks of an outward return). */
export const returnFar = (cpu: Cpu, slot: Slot, released: number): void => {
  const offset = peek(cpu, 0, slot);
  const selector = Number(peek(cpu, slot, slot) & 0xffffn);
  if (!isProtected(cpu)) {
    if (offset > BigInt(cpu.get32(S.seg(S.CS) + S.SEG_LIMIT))) throw fault(GP, 0);
    moveSp(cpu, 2 * slot + released);
    if (cpu.virtual8086) loadVm86(cpu, S.CS, selector);
    else loadReal(cpu, S.CS, selector);
    cpu.rip = offset;
    cpu.updateMode();
    return;
  }
  finish(cpu, slot, { code: returnSegment(cpu, selector), offset, popped: 2 * slot, released, popsStack: false });
};

/** Flags after an IRET with an image of 16 or 32 (64) bits; RF counts only while breakpoints are armed. */
const restoreFlags = (cpu: Cpu, image: number, slot: Slot, changeable: number): void => {
  let mask = changeable;
  if (slot !== 2) mask |= S.RF;
  else mask &= 0xffff;
  const flags = (cpu.eflags & ~mask & ~S.RF) | (image & mask);
  cpu.eflags = breakpointsArmed(cpu) ? flags : flags & ~S.RF;
};

const returnReal = (cpu: Cpu, slot: Slot): void => {
  const vm = cpu.virtual8086;
  if (vm && (cpu.get32(S.EFLAGS_REST) & S.IOPL) !== S.IOPL) throw fault(GP, 0);
  const offset = peek(cpu, 0, slot);
  const selector = Number(peek(cpu, slot, slot) & 0xffffn);
  const image = Number(peek(cpu, 2 * slot, slot) & 0xffff_ffffn);
  if (offset > BigInt(cpu.get32(S.seg(S.CS) + S.SEG_LIMIT))) throw fault(GP, 0);
  moveSp(cpu, 3 * slot);
  if (vm) loadVm86(cpu, S.CS, selector);
  else loadReal(cpu, S.CS, selector);
  cpu.rip = offset;
  restoreFlags(cpu, image, slot, flagsChangeable(cpu));
  cpu.updateMode();
};

/** NT set: back to the task named by the link field. */
const returnTask = (cpu: Cpu, next: bigint): void => {
  const link = cpu.readSystem16(cpu.get64(S.seg(S.TR)));
  const code = selectorCode(link);
  const d = (link & 4) === 0 ? findDescriptor(cpu, link) : undefined;
  if (d === undefined) throw fault(TS, code);
  const type = systemType(d.attr);
  if (type !== TSS16_BUSY && type !== TSS32_BUSY) throw fault(TS, code);
  if (!isPresent(d.attr)) throw fault(NP, code);
  switchTask(cpu, { descriptor: d, source: 'return', ext: 0, nextRip: next, flags: cpu.eflags });
};

/** IRET from ring 0 to virtual-8086 mode: nine slots. */
const returnToVm86 = (cpu: Cpu, offset: bigint, selector: number, image: number): void => {
  const sp = peek(cpu, 12, 4);
  const selectors = [S.SS, S.ES, S.DS, S.FS, S.GS].map(
    (n, i) => [n, Number(peek(cpu, 16 + 4 * i, 4) & 0xffffn)] as const,
  );
  if (offset > 0xffffn) throw fault(GP, 0);
  cpu.set64(S.gpr(S.RSP), sp);
  loadVm86(cpu, S.CS, selector);
  for (const [n, value] of selectors) loadVm86(cpu, n, value);
  cpu.rip = offset;
  const flags = (image & 0x3f_7fd5) | 2;
  cpu.eflags = breakpointsArmed(cpu) ? flags : flags & ~S.RF;
  cpu.updateMode(3);
};

/** IRET with `slot` bytes per popped value; `next` is the offset behind it. Ends the blocking of NMIs, even when it faults. */
export const returnFromInterrupt = (cpu: Cpu, slot: Slot, next: bigint): void => {
  cpu.set32(S.NMI_BLOCKED, 0);
  if (!isProtected(cpu)) {
    returnReal(cpu, slot);
    return;
  }
  if ((cpu.get32(S.EFLAGS_REST) & S.NT) !== 0) {
    if (cpu.longMode) throw fault(GP, 0);
    returnTask(cpu, next);
    return;
  }
  const offset = peek(cpu, 0, slot);
  const selector = Number(peek(cpu, slot, slot) & 0xffffn);
  const image = Number(peek(cpu, 2 * slot, slot) & 0xffff_ffffn);
  if ((image & S.VM) !== 0 && slot === 4 && cpu.cpl === 0 && !cpu.longMode) returnToVm86(cpu, offset, selector, image);
  else {
    const changeable = flagsChangeable(cpu);
    const code = returnSegment(cpu, selector);
    finish(cpu, slot, { code, offset, popped: 3 * slot, released: 0, popsStack: cpu.code64 });
    restoreFlags(cpu, image, slot, changeable);
  }
};
