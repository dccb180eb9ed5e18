/** Far JMP and CALL: code segments, call gates, task gates and tasks (key `sdm:JMP`, key `sdm:CALL`). */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import {
  ATTR_DB,
  ATTR_L,
  CALL_GATE16,
  CALL_GATE32,
  checkTarget,
  type Descriptor,
  dpl,
  hasBadSize,
  isCode,
  isConforming,
  isNull,
  isPresent,
  isProtected,
  loadHidden,
  loadNull,
  loadReal,
  loadVm86,
  markAccessed,
  readDescriptor,
  readUpper,
  selectorCode,
  selectorOf,
  systemType,
  TASK_GATE,
  TSS16,
  TSS32,
} from './descriptor.ts';
import { fault, GP, NP } from './fault.ts';
import {
  currentStack,
  innerStack,
  longStack,
  longStackPointer,
  mergeSp,
  peek,
  pushFrame,
  type Slot,
  stackAt,
} from './stack.ts';
import { checkTaskDescriptor, switchTask } from './task-switch.ts';

export interface FarTarget {
  readonly selector: number;
  readonly offset: bigint;
  /** Bytes per slot by operand size: what a CALL pushes. */
  readonly slot: Slot;
  /** Offset behind the instruction. */
  readonly next: bigint;
}

/** Real and virtual-8086 mode: no descriptors, only the limit. */
const transferReal = (cpu: Cpu, { selector, offset, slot, next }: FarTarget, call: boolean): void => {
  const check = (): void => {
    if (offset > BigInt(cpu.get32(S.seg(S.CS) + S.SEG_LIMIT))) throw fault(GP, 0);
  };
  if (call) {
    const stack = currentStack(cpu);
    check();
    const sp = pushFrame(cpu, stack, slot, [BigInt(selectorOf(cpu, S.CS)), next]);
    cpu.set64(S.gpr(S.RSP), mergeSp(cpu, stack, sp));
  } else check();
  if (cpu.virtual8086) loadVm86(cpu, S.CS, selector);
  else loadReal(cpu, S.CS, selector);
  cpu.rip = offset;
  cpu.updateMode();
};

const loadCode = (cpu: Cpu, d: Descriptor, offset: bigint, level: number): void => {
  loadHidden(cpu, S.CS, (d.selector & 0xfffc) | level, d);
  cpu.rip = offset;
  cpu.updateMode(level);
};

/** Privilege, presence and size rules of a direct transfer to a code segment. */
const checkCode = (cpu: Cpu, d: Descriptor): void => {
  const code = selectorCode(d.selector);
  const { cpl } = cpu;
  if (isConforming(d.attr) ? dpl(d.attr) > cpl : (d.selector & 3) > cpl || dpl(d.attr) !== cpl) throw fault(GP, code);
  if (hasBadSize(cpu, d.attr)) throw fault(GP, code);
  if (!isPresent(d.attr)) throw fault(NP, code);
};

const transferCode = (cpu: Cpu, d: Descriptor, target: FarTarget, call: boolean): void => {
  checkCode(cpu, d);
  const long = cpu.longMode && (d.attr & ATTR_L) !== 0;
  const offset = long ? target.offset : target.offset & 0xffff_ffffn;
  if (!call) {
    checkTarget(cpu, d, offset);
    markAccessed(cpu, d);
  } else {
    const stack = currentStack(cpu);
    markAccessed(cpu, d);
    checkTarget(cpu, d, offset);
    const sp = pushFrame(cpu, stack, target.slot, [BigInt(selectorOf(cpu, S.CS)), target.next]);
    cpu.set64(S.gpr(S.RSP), mergeSp(cpu, stack, sp));
  }
  loadCode(cpu, d, offset, cpu.cpl);
};

const transferGate = (cpu: Cpu, gate: Descriptor, target: FarTarget, call: boolean): void => {
  const gateCode = selectorCode(gate.selector);
  checkGate(cpu, gate);
  let high = 0n;
  if (cpu.longMode) {
    const upper = readUpper(cpu, readDescriptor(cpu, gate.selector, GP, 0, 16));
    if ((upper.rest & 0x1f00) !== 0) throw fault(GP, gateCode);
    high = BigInt(cpu.readSystem32(gate.address + 8n)) << 32n;
  }
  if (!isPresent(gate.attr)) throw fault(NP, gateCode);
  const selector = gate.low >>> 16;
  if (isNull(selector)) throw fault(GP, 0);
  const d = readDescriptor(cpu, selector);
  const code = selectorCode(selector);
  const { cpl } = cpu;
  if (!isCode(d.attr) || dpl(d.attr) > cpl || (!call && !isConforming(d.attr) && dpl(d.attr) !== cpl))
    throw fault(GP, code);
  if (cpu.longMode && (d.attr & (ATTR_L | ATTR_DB)) !== ATTR_L) throw fault(GP, code);
  if (!isPresent(d.attr)) throw fault(NP, code);
  const wide = systemType(gate.attr) === CALL_GATE32;
  const offset = high | BigInt(wide ? ((gate.low & 0xffff) | (gate.high & 0xffff_0000)) >>> 0 : gate.low & 0xffff);
  const slot: Slot = cpu.longMode ? 8 : wide ? 4 : 2;
  if (call) callThroughGate(cpu, d, offset, slot, gate.high & 31, target.next);
  else {
    checkTarget(cpu, d, offset);
    markAccessed(cpu, d);
    loadCode(cpu, d, offset, cpl);
  }
};

const callThroughGate = (
  cpu: Cpu,
  d: Descriptor,
  offset: bigint,
  slot: Slot,
  parameters: number,
  next: bigint,
): void => {
  const { cpl } = cpu;
  const back = [BigInt(selectorOf(cpu, S.CS)), next];
  if (isConforming(d.attr) || dpl(d.attr) === cpl) {
    const here = currentStack(cpu);
    const stack = cpu.longMode ? longStack(here.sp, cpl, 0) : here;
    checkTarget(cpu, d, offset);
    markAccessed(cpu, d);
    const sp = pushFrame(cpu, stack, slot, back);
    cpu.set64(S.gpr(S.RSP), mergeSp(cpu, stack, sp));
    loadCode(cpu, d, offset, cpl);
    return;
  }
  const level = dpl(d.attr);
  const outer = [BigInt(selectorOf(cpu, S.SS)), cpu.gpr(S.RSP)];
  if (cpu.longMode) {
    const stack = longStack(longStackPointer(cpu, level, 0, 0), level, 0);
    checkTarget(cpu, d, offset);
    markAccessed(cpu, d);
    const sp = pushFrame(cpu, stack, 8, [...outer, ...back]);
    loadNull(cpu, S.SS, level);
    cpu.set64(S.gpr(S.RSP), sp);
    loadCode(cpu, d, offset, level);
    return;
  }
  const inner = innerStack(cpu, level, 0);
  const stack = stackAt(inner.descriptor, inner.sp, level, selectorCode(inner.selector));
  checkTarget(cpu, d, offset);
  const copied: bigint[] = [];
  for (let n = parameters - 1; n >= 0; n--) copied.push(peek(cpu, n * slot, slot));
  markAccessed(cpu, d);
  markAccessed(cpu, inner.descriptor);
  const sp = pushFrame(cpu, stack, slot, [...outer, ...copied, ...back]);
  loadHidden(cpu, S.SS, inner.selector, inner.descriptor);
  cpu.set64(S.gpr(S.RSP), mergeSp(cpu, stack, sp));
  loadCode(cpu, d, offset, level);
};

/** A gate or TSS is usable by code that is at least as privileged as its DPL, RPL included. */
const checkGate = (cpu: Cpu, d: Descriptor): void => {
  if (dpl(d.attr) < cpu.cpl || dpl(d.attr) < (d.selector & 3)) throw fault(GP, selectorCode(d.selector));
};

/**
 * JMP far (`call` false) or CALL far. Errors in order: null selector #GP(0); outside the table #GP(selector); type and privilege
 * #GP(selector); not present #NP(selector); stack #SS or #TS; target outside the segment or not canonical #GP(0).
 */
export const transferFar = (cpu: Cpu, target: FarTarget, call: boolean): void => {
  if (!isProtected(cpu)) {
    transferReal(cpu, target, call);
    return;
  }
  const { selector } = target;
  if (isNull(selector)) throw fault(GP, 0);
  const d = readDescriptor(cpu, selector);
  if (isCode(d.attr)) {
    transferCode(cpu, d, target, call);
    return;
  }
  const type = systemType(d.attr);
  const known = cpu.longMode
    ? type === CALL_GATE32
    : type === CALL_GATE16 || type === CALL_GATE32 || type === TASK_GATE || type === TSS16 || type === TSS32;
  if (!known) throw fault(GP, selectorCode(selector));
  if (type === CALL_GATE16 || type === CALL_GATE32) {
    transferGate(cpu, d, target, call);
    return;
  }
  checkGate(cpu, d);
  if (!isPresent(d.attr)) throw fault(NP, selectorCode(selector));
  const task = type === TASK_GATE ? checkTaskDescriptor(cpu, d.low >>> 16, 0) : checkTaskDescriptor(cpu, selector, 0);
  switchTask(cpu, {
    descriptor: task,
    source: call ? 'call' : 'jump',
    ext: 0,
    nextRip: target.next,
    flags: cpu.eflags,
  });
};
