/** Stack frames that control transfers write and read (key `sdm:3A "Stack Switching"`). */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import {
  ATTR_DB,
  base,
  canonical,
  type Descriptor,
  dpl,
  isNull,
  isPresent,
  isWritableData,
  limit,
  readDescriptor,
  selectorCode,
  selectorOf,
} from './descriptor.ts';
import { fault, SSV, TS } from './fault.ts';

/** Bytes per slot. */
export type Slot = 2 | 4 | 8;

/** A stack a frame is pushed on: the current one or one that is about to become current. */
export interface StackTarget {
  readonly sp: bigint;
  readonly base: bigint;
  readonly limit: number;
  readonly attr: number;
  /** 64-bit stack: no limits, canonical addresses. */
  readonly long: boolean;
  /** Privilege of the pushes. */
  readonly level: number;
  /** Error code of #SS when the frame does not fit. */
  readonly code: number;
}

const SIZE_MASK = { 2: 0xffffn, 4: 0xffff_ffffn, 8: 0xffff_ffff_ffff_ffffn } as const;

/** The stack in use, as it is for code of the current width. */
export const currentStack = (cpu: Cpu, code = 0): StackTarget => {
  const at = S.seg(S.SS);
  return {
    sp: cpu.gpr(S.RSP),
    base: cpu.get64(at),
    limit: cpu.get32(at + S.SEG_LIMIT),
    attr: cpu.get32(at + S.SEG_ATTR),
    long: cpu.code64,
    level: cpu.cpl,
    code,
  };
};

/** A stack behind a descriptor just read. */
export const stackAt = (d: Descriptor, sp: bigint, level: number, code: number): StackTarget => ({
  sp,
  base: base(d),
  limit: limit(d),
  attr: d.attr,
  long: false,
  level,
  code,
});

/** A flat 64-bit stack. */
export const longStack = (sp: bigint, level: number, code: number): StackTarget => ({
  sp,
  base: 0n,
  limit: 0,
  attr: 0,
  long: true,
  level,
  code,
});

const mask = (stack: StackTarget): bigint =>
  stack.long ? 0xffff_ffff_ffff_ffffn : (stack.attr & ATTR_DB) !== 0 ? 0xffff_ffffn : 0xffffn;

const fits = (stack: StackTarget, offset: bigint, size: number): boolean => {
  const last = offset + BigInt(size - 1);
  if (stack.long) return canonical(offset) && canonical(BigInt.asUintN(64, last));
  if ((stack.attr & S.ATTR_UNUSABLE) !== 0) return false;
  const end = BigInt(stack.limit);
  if ((stack.attr & 0xc) === 4) return offset > end && last <= mask(stack);
  return last <= end;
};

/** Runs accesses at another privilege level; translations they need are not kept. */
const atLevel = (cpu: Cpu, level: number, inner: () => void): void => {
  if (level === cpu.cpl) {
    inner();
    return;
  }
  const oldLevel = cpu.cpl,
    oldTlb = cpu.get32(S.TLB);
  cpu.set32(S.CPL, level);
  cpu.set32(S.TLB, cpu.base + S.TLB_SETS + S.TLB_NEVER * S.TLB_SET);
  try {
    inner();
  } finally {
    cpu.set32(S.CPL, oldLevel);
    cpu.set32(S.TLB, oldTlb);
  }
};

/**
 * Pushes values (first one highest) and returns the stack pointer below them, which the caller commits. Nothing is written
 * unless all of it can be: #SS(code) when the frame does not fit, #PF from the probe.
 */
export const pushFrame = (cpu: Cpu, stack: StackTarget, slot: Slot, values: readonly bigint[]): bigint => {
  const all = mask(stack);
  const addresses: bigint[] = [];
  let sp = stack.sp;
  for (let i = 0; i < values.length; i++) {
    sp = (sp - BigInt(slot)) & all;
    if (!fits(stack, sp, slot)) throw fault(SSV, stack.code);
    addresses.push(stack.long ? sp : (stack.base + sp) & 0xffff_ffffn);
  }
  atLevel(cpu, stack.level, () => {
    const low = addresses[addresses.length - 1];
    if (addresses[0] - low === BigInt(slot * (values.length - 1))) cpu.probeLinear(low, slot * values.length, true);
    else for (const address of addresses) cpu.probeLinear(address, slot, true);
    for (let i = 0; i < values.length; i++) write(cpu, addresses[i], slot, values[i] & SIZE_MASK[slot]);
  });
  return sp;
};

const write = (cpu: Cpu, linear: bigint, slot: Slot, value: bigint): void => {
  if (slot === 8) cpu.writeLinear64(linear, value);
  else if (slot === 4) cpu.writeLinear32(linear, Number(value));
  else cpu.writeLinear16(linear, Number(value));
};

/** Stack pointer value `sp` after the move, for the stack's width: upper bits beyond it are those of the old register. */
export const mergeSp = (cpu: Cpu, stack: StackTarget, sp: bigint): bigint => {
  const all = mask(stack);
  if (all === 0xffffn) return (cpu.gpr(S.RSP) & ~0xffffn) | (sp & all);
  return sp & all;
};

/** Reads a slot of the current stack `distance` bytes above the stack pointer; #SS(0) outside it. */
export const peek = (cpu: Cpu, distance: number, slot: Slot): bigint => {
  const stack = currentStack(cpu);
  const offset = (stack.sp + BigInt(distance)) & mask(stack);
  if (!fits(stack, offset, slot)) throw fault(SSV, 0);
  const linear = stack.long ? offset : (stack.base + offset) & 0xffff_ffffn;
  if (slot === 8) return cpu.readLinear64(linear);
  return BigInt(slot === 4 ? cpu.readLinear32(linear) : cpu.readLinear16(linear));
};

/** Moves the stack pointer within the current stack's width. */
export const moveSp = (cpu: Cpu, distance: number): void => {
  const stack = currentStack(cpu);
  cpu.set64(S.gpr(S.RSP), mergeSp(cpu, stack, stack.sp + BigInt(distance)));
};

/** Pushes one value on the current stack and commits the stack pointer. */
export const push = (cpu: Cpu, slot: Slot, value: bigint): void => {
  const stack = currentStack(cpu);
  const sp = pushFrame(cpu, stack, slot, [value]);
  cpu.set64(S.gpr(S.RSP), mergeSp(cpu, stack, sp));
};

/** Inner stack named by the task state segment for a privilege level. */
export interface InnerStack {
  readonly selector: number;
  readonly descriptor: Descriptor;
  readonly sp: bigint;
}

/** Reads SSn:ESPn of a 16- or 32-bit TSS; #TS with TR's selector when the TSS is too short. */
const innerPointer = (cpu: Cpu, level: number, ext: number): { selector: number; sp: bigint } => {
  const tr = S.seg(S.TR);
  const wide = (cpu.get32(tr + S.SEG_ATTR) & 8) !== 0;
  const offset = wide ? level * 8 + 4 : level * 4 + 2;
  if (offset + (wide ? 5 : 3) > cpu.get32(tr + S.SEG_LIMIT)) throw fault(TS, selectorCode(selectorOf(cpu, S.TR), ext));
  const address = cpu.get64(tr) + BigInt(offset);
  return wide
    ? { sp: BigInt(cpu.readSystem32(address)), selector: cpu.readSystem16(address + 4n) }
    : { sp: BigInt(cpu.readSystem16(address)), selector: cpu.readSystem16(address + 2n) };
};

/** Stack for a transfer to an inner privilege level outside long mode, with its checks (#TS, #SS). */
export const innerStack = (cpu: Cpu, level: number, ext: number): InnerStack => {
  const { selector, sp } = innerPointer(cpu, level, ext);
  if (isNull(selector)) throw fault(TS, ext);
  const descriptor = readDescriptor(cpu, selector, TS, ext);
  if ((selector & 3) !== level || dpl(descriptor.attr) !== level || !isWritableData(descriptor.attr))
    throw fault(TS, selectorCode(selector, ext));
  if (!isPresent(descriptor.attr)) throw fault(SSV, selectorCode(selector, ext));
  return { selector, descriptor, sp };
};

/** RSPn (`slot` 0..2) or, with `ist` 1..7, ISTn of the 64-bit TSS; #TS with TR's selector when the TSS is too short. */
export const longStackPointer = (cpu: Cpu, level: number, ist: number, ext: number): bigint => {
  const tr = S.seg(S.TR);
  const offset = ist !== 0 ? ist * 8 + 28 : level * 8 + 4;
  if (offset + 7 > cpu.get32(tr + S.SEG_LIMIT)) throw fault(TS, selectorCode(selectorOf(cpu, S.TR), ext));
  return cpu.readSystem64(cpu.get64(tr) + BigInt(offset));
};
