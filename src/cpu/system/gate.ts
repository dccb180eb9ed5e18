/**
 * Interrupt, trap and task gates of protected mode and the 64-bit gates of long mode
 * (key `sdm:INT n/INTO/INT3/INT1`, key `sdm:3A "64-Bit Mode Stack Frame"`).
 */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import type { Delivery } from './deliver.ts';
import {
  ATTR_DB,
  ATTR_L,
  canonical,
  checkTarget,
  type Descriptor,
  dpl,
  IDT,
  INTERRUPT_GATE16,
  INTERRUPT_GATE32,
  isCode,
  isConforming,
  isNull,
  isPresent,
  loadHidden,
  loadNull,
  markAccessed,
  readDescriptor,
  selectorCode,
  selectorOf,
  TASK_GATE,
  TRAP_GATE16,
  TRAP_GATE32,
} from './descriptor.ts';
import { fault, GP, NP, SSV } from './fault.ts';
import {
  currentStack,
  innerStack,
  longStack,
  longStackPointer,
  mergeSp,
  pushFrame,
  type StackTarget,
  stackAt,
} from './stack.ts';
import { checkTaskDescriptor, switchTask } from './task-switch.ts';

/** Flags every gate clears; interrupt gates clear IF too. */
const CLEARED = S.TF | S.NT | S.RF | S.VM;

const gateCode = (what: Delivery): number => what.vector * 8 + IDT + what.ext;

/** The code segment a gate leads to, checked; `cpl` is the level of the interrupted code. */
const targetSegment = (cpu: Cpu, selector: number, ext: number): Descriptor => {
  if (isNull(selector)) throw fault(GP, ext);
  const d = readDescriptor(cpu, selector, GP, ext);
  if (!isCode(d.attr) || dpl(d.attr) > cpu.cpl) throw fault(GP, selectorCode(selector, ext));
  if (cpu.longMode && (d.attr & (ATTR_L | ATTR_DB)) !== ATTR_L) throw fault(GP, selectorCode(selector, ext));
  if (!isPresent(d.attr)) throw fault(NP, selectorCode(selector, ext));
  return d;
};

/** Registers change here, after everything that may fault. */
const commit = (cpu: Cpu, d: Descriptor, level: number, offset: bigint, clearsIf: boolean): void => {
  loadHidden(cpu, S.CS, (d.selector & 0xfffc) | level, d);
  cpu.rip = offset;
  cpu.eflags = cpu.eflags & ~(CLEARED | (clearsIf ? S.IF : 0));
  cpu.updateMode(level);
};

/** Delivery in protected mode outside long mode, virtual-8086 mode included. */
export const enterThroughGate = (cpu: Cpu, what: Delivery): void => {
  const { vector, ext } = what;
  if (vector * 8 + 7 > cpu.get32(S.IDTR + 8)) throw fault(GP, gateCode(what));
  const entry = cpu.get64(S.IDTR) + BigInt(vector * 8);
  const low = cpu.readSystem32(entry),
    high = cpu.readSystem32(entry + 4n);
  const type = (high >>> 8) & 0x1f;
  const isTask = type === TASK_GATE;
  const wide = type === INTERRUPT_GATE32 || type === TRAP_GATE32;
  if (!isTask && !wide && type !== INTERRUPT_GATE16 && type !== TRAP_GATE16) throw fault(GP, gateCode(what));
  if (what.checksDpl && ((high >>> 13) & 3) < cpu.cpl) throw fault(GP, gateCode(what));
  if ((high & 0x8000) === 0) throw fault(NP, gateCode(what));
  const selector = low >>> 16;
  if (isTask) {
    const d = checkTaskDescriptor(cpu, selector, ext);
    switchTask(cpu, { descriptor: d, source: 'interrupt', ext, nextRip: what.rip, flags: what.flags, code: what.code });
    return;
  }
  const d = targetSegment(cpu, selector, ext);
  const inner = !isConforming(d.attr) && dpl(d.attr) < cpu.cpl;
  const vm = cpu.virtual8086;
  if (vm && (!inner || dpl(d.attr) !== 0)) throw fault(GP, selectorCode(selector, ext));
  const offset = BigInt(wide ? ((low & 0xffff) | (high & 0xffff_0000)) >>> 0 : low & 0xffff);
  const clearsIf = type === INTERRUPT_GATE16 || type === INTERRUPT_GATE32;
  const level = inner ? dpl(d.attr) : cpu.cpl;
  const frame: bigint[] = [];
  let stack: StackTarget;
  let inward: ReturnType<typeof innerStack> | undefined;
  if (inner) {
    inward = innerStack(cpu, level, ext);
    stack = stackAt(inward.descriptor, inward.sp, level, selectorCode(inward.selector, ext));
    if (vm) for (const n of [S.GS, S.FS, S.DS, S.ES]) frame.push(BigInt(selectorOf(cpu, n)));
    frame.push(BigInt(selectorOf(cpu, S.SS)), cpu.gpr(S.RSP));
  } else stack = currentStack(cpu, ext);
  frame.push(BigInt(what.flags), BigInt(selectorOf(cpu, S.CS)), what.rip);
  if (what.code !== undefined) frame.push(BigInt(what.code));
  checkTarget(cpu, d, offset, ext);
  markAccessed(cpu, d);
  if (inward !== undefined) markAccessed(cpu, inward.descriptor);
  const sp = pushFrame(cpu, stack, wide ? 4 : 2, frame);
  if (inward !== undefined) {
    loadHidden(cpu, S.SS, inward.selector, inward.descriptor);
    if (vm) for (const n of [S.GS, S.FS, S.DS, S.ES]) loadNull(cpu, n, 0);
  }
  cpu.set64(S.gpr(S.RSP), mergeSp(cpu, stack, sp));
  commit(cpu, d, level, offset, clearsIf);
};

/** Delivery in long mode: 16-byte gates, a 16-byte aligned stack, and SS:RSP always saved. */
export const enterThroughLongGate = (cpu: Cpu, what: Delivery): void => {
  const { vector, ext } = what;
  if (vector * 16 + 15 > cpu.get32(S.IDTR + 8)) throw fault(GP, gateCode(what));
  const entry = cpu.get64(S.IDTR) + BigInt(vector * 16);
  if (!canonical(BigInt.asUintN(64, entry))) throw fault(GP, gateCode(what));
  const low = cpu.readSystem32(entry),
    high = cpu.readSystem32(entry + 4n),
    top = cpu.readSystem32(entry + 8n);
  const type = (high >>> 8) & 0x1f;
  if (type !== INTERRUPT_GATE32 && type !== TRAP_GATE32) throw fault(GP, gateCode(what));
  if (what.checksDpl && ((high >>> 13) & 3) < cpu.cpl) throw fault(GP, gateCode(what));
  if ((high & 0x8000) === 0) throw fault(NP, gateCode(what));
  const d = targetSegment(cpu, low >>> 16, ext);
  const inner = !isConforming(d.attr) && dpl(d.attr) < cpu.cpl;
  const level = inner ? dpl(d.attr) : cpu.cpl;
  const ist = high & 7;
  const pointer = inner || ist !== 0 ? longStackPointer(cpu, level, ist, ext) : cpu.gpr(S.RSP);
  if (!canonical(pointer)) throw fault(SSV, ext);
  const stack = longStack(pointer & ~15n, level, ext);
  const frame = [
    BigInt(selectorOf(cpu, S.SS)),
    cpu.gpr(S.RSP),
    BigInt(what.flags),
    BigInt(selectorOf(cpu, S.CS)),
    what.rip,
  ];
  if (what.code !== undefined) frame.push(BigInt(what.code));
  const offset = (BigInt(top) << 32n) | BigInt(((low & 0xffff) | (high & 0xffff_0000)) >>> 0);
  if (!canonical(offset)) throw fault(GP, ext);
  markAccessed(cpu, d);
  const sp = pushFrame(cpu, stack, 8, frame);
  if (inner) loadNull(cpu, S.SS, level);
  cpu.set64(S.gpr(S.RSP), sp);
  commit(cpu, d, level, offset, type === INTERRUPT_GATE32);
};
