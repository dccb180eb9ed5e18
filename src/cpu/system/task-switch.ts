/** Hardware task switches (key `sdm:3A "Task Switching"`). */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { loadPdptes } from './control.ts';
import { breakpointsArmed, DR6_BT, DR7_LOCAL } from './debug.ts';
import {
  BUSY,
  base,
  type Descriptor,
  dpl,
  findDescriptor,
  isCode,
  isConforming,
  isNull,
  isPresent,
  isWritableData,
  LDT,
  limit,
  loadHidden,
  loadNull,
  loadVm86,
  markBusy,
  readDescriptor,
  selectorCode,
  selectorOf,
  systemType,
  TSS16,
  TSS32,
} from './descriptor.ts';
import { fault, GP, NP, SSV, TS } from './fault.ts';
import { ignoresPrivilege } from './segment-load.ts';
import { currentStack, mergeSp, pushFrame } from './stack.ts';

const CR0_TS = 8,
  CR0_PG = 0x8000_0000,
  CR4_PAE = 0x20;

export interface TaskSwitch {
  /** The new task's TSS descriptor, checked by {@link checkTaskDescriptor} or the caller. */
  readonly descriptor: Descriptor;
  readonly source: 'jump' | 'call' | 'interrupt' | 'return';
  readonly ext: number;
  /** Saved as the old task's EIP. */
  readonly nextRip: bigint;
  /** Saved as the old task's EFLAGS. */
  readonly flags: number;
  /** Error code of an exception, pushed in the new task. */
  readonly code?: number | undefined;
}

/** The TSS behind a task gate: in the GDT (#GP), available (#GP), present (#NP). */
export const checkTaskDescriptor = (cpu: Cpu, selector: number, ext: number): Descriptor => {
  if ((selector & 4) !== 0) throw fault(GP, selectorCode(selector, ext));
  const d = readDescriptor(cpu, selector, GP, ext);
  const type = systemType(d.attr);
  if (type !== TSS16 && type !== TSS32) throw fault(GP, selectorCode(selector, ext));
  if (!isPresent(d.attr)) throw fault(NP, selectorCode(selector, ext));
  return d;
};

/** Where fields of the two TSS forms are. */
interface Layout {
  readonly slot: 2 | 4;
  readonly ip: number;
  readonly segments: number;
  readonly segmentCount: number;
  readonly ldt: number;
  /** Lowest valid limit. */
  readonly minimum: number;
  /** First and last byte written when the task is left. */
  readonly saved: readonly [number, number];
}
const LAYOUT32: Layout = {
  slot: 4,
  ip: 0x20,
  segments: 0x48,
  segmentCount: 6,
  ldt: 0x60,
  minimum: 0x67,
  saved: [0x20, 0x5f],
};
const LAYOUT16: Layout = {
  slot: 2,
  ip: 0x0e,
  segments: 0x22,
  segmentCount: 4,
  ldt: 0x2a,
  minimum: 0x2b,
  saved: [0x0e, 0x29],
};
const layoutOf = (attr: number): Layout => ((attr & 8) !== 0 ? LAYOUT32 : LAYOUT16);

interface Image {
  readonly ip: number;
  readonly flags: number;
  readonly gprs: readonly number[];
  /** Selectors ES CS SS DS FS GS. */
  readonly segments: readonly number[];
  readonly ldt: number;
  readonly cr3: number;
  readonly trap: boolean;
}

const readImage = (cpu: Cpu, tss: bigint, layout: Layout): Image => {
  const wide = layout.slot === 4;
  const slot = (offset: number): number =>
    wide ? cpu.readSystem32(tss + BigInt(offset)) : cpu.readSystem16(tss + BigInt(offset));
  const { ip, slot: size } = layout;
  return {
    ip: slot(ip),
    flags: slot(ip + size),
    gprs: [0, 1, 2, 3, 4, 5, 6, 7].map((n) => slot(ip + size * (2 + n))),
    segments: [0, 1, 2, 3, 4, 5].map((n) =>
      n < layout.segmentCount ? cpu.readSystem16(tss + BigInt(layout.segments + n * size)) : 0,
    ),
    ldt: cpu.readSystem16(tss + BigInt(layout.ldt)),
    cr3: wide ? cpu.readSystem32(tss + 0x1cn) : 0,
    trap: wide && (cpu.readSystem16(tss + 0x64n) & 1) !== 0,
  };
};

const saveImage = (cpu: Cpu, tss: bigint, layout: Layout, ip: bigint, flags: number): void => {
  const wide = layout.slot === 4;
  const put = (offset: number, value: bigint): void => {
    const at = tss + BigInt(offset);
    if (wide) cpu.writeSystem32(at, Number(value & 0xffff_ffffn));
    else cpu.writeSystem16(at, Number(value & 0xffffn));
  };
  const { slot: size } = layout;
  put(layout.ip, ip);
  put(layout.ip + size, BigInt(flags >>> 0));
  for (let n = 0; n < 8; n++) put(layout.ip + size * (2 + n), cpu.gpr(n));
  for (let n = 0; n < layout.segmentCount; n++)
    cpu.writeSystem16(tss + BigInt(layout.segments + n * size), selectorOf(cpu, n));
};

/**
 * Leaves the current task for another. Faults found before the switch (#TS for a short TSS, #PF) leave the old task as it is; those
 * met while the new task's segments load are raised in the new task, whose registers are set by then.
 */
export const switchTask = (cpu: Cpu, what: TaskSwitch): void => {
  const { descriptor: d, source, ext } = what;
  const layout = layoutOf(d.attr);
  if (limit(d) < layout.minimum) throw fault(TS, selectorCode(d.selector, ext));
  const tss = base(d);
  const tr = S.seg(S.TR);
  const oldTss = cpu.get64(tr);
  const oldSelector = selectorOf(cpu, S.TR);
  const oldLayout = layoutOf(cpu.get32(tr + S.SEG_ATTR));
  const nests = source === 'call' || source === 'interrupt';
  cpu.mem.system(() => {
    const [first, last] = oldLayout.saved;
    cpu.probeLinear(oldTss + BigInt(first), last - first + 1, true);
    if (nests) cpu.probeLinear(tss, 2, true);
  });
  const image = readImage(cpu, tss, layout);
  const paging = (cpu.get32(S.CR0) & CR0_PG) !== 0;
  const switchesCr3 = paging && layout === LAYOUT32;
  if (source === 'jump' || source === 'return') {
    const old = findDescriptor(cpu, oldSelector);
    if (old !== undefined) markBusy(cpu, old.address, false);
  }
  saveImage(cpu, oldTss, oldLayout, what.nextRip, source === 'return' ? what.flags & ~S.NT : what.flags);
  if (nests) cpu.writeSystem16(tss, oldSelector);
  if (source !== 'return') markBusy(cpu, d.address, true);

  cpu.setSegment(S.TR, d.selector, tss, limit(d), d.attr | BUSY);
  cpu.set32(S.CR0, cpu.get32(S.CR0) | CR0_TS);
  cpu.set32(S.DR7, cpu.get32(S.DR7) & ~DR7_LOCAL);
  if (switchesCr3) {
    const pae = (cpu.get32(S.CR4) & CR4_PAE) !== 0;
    const entries = pae ? loadPdptes(cpu, BigInt(image.cr3)) : undefined;
    cpu.set64(S.CR3, BigInt(image.cr3));
    entries?.forEach((entry, n) => {
      cpu.set64(S.PDPTE + n * 8, entry);
    });
    cpu.flushTlb(false);
  }
  cpu.rip = BigInt(image.ip);
  for (let n = 0; n < 8; n++) cpu.setGpr(n, BigInt(image.gprs[n]), layout.slot === 4 ? 32 : 16);
  const flags = (layout.slot === 4 ? image.flags & 0x3f_7fd5 : image.flags & 0x7fd5) | 2 | (nests ? S.NT : 0);
  enterImage(cpu, image, breakpointsArmed(cpu) ? flags : flags & ~S.RF, ext);
  if (BigInt(image.ip) > BigInt(cpu.get32(S.seg(S.CS) + S.SEG_LIMIT))) throw fault(GP, ext);
  if (what.code !== undefined) {
    const stack = currentStack(cpu, ext);
    cpu.set64(S.gpr(S.RSP), mergeSp(cpu, stack, pushFrame(cpu, stack, layout.slot, [BigInt(what.code)])));
  }
  // A single-step trap of the new task comes behind its first instruction.
  cpu.delivered = true;
  if (image.trap) cpu.set32(S.PENDING_DEBUG, cpu.get32(S.PENDING_DEBUG) | DR6_BT);
};

/** Loads LDTR and the segment registers of the new task; the visible parts first, then each hidden part with its checks. */
const enterImage = (cpu: Cpu, image: Image, flags: number, ext: number): void => {
  const { segments, ldt } = image;
  const vm = (flags & S.VM) !== 0;
  const level = vm ? 3 : segments[S.CS] & 3;
  // Until a hidden part is loaded its register is unusable; CS keeps the old one so that a fault here can be taken.
  for (const n of [S.ES, S.SS, S.DS, S.FS, S.GS]) cpu.setSegment(n, segments[n], 0n, 0, S.ATTR_UNUSABLE);
  cpu.set16(S.seg(S.CS) + S.SEG_SELECTOR, segments[S.CS]);
  cpu.setSegment(S.LDTR, ldt, 0n, 0, S.ATTR_UNUSABLE);
  cpu.eflags = flags;
  cpu.updateMode(level);
  if (vm) for (let n = 0; n < 6; n++) loadVm86(cpu, n, segments[n]);
  cpu.updateMode(level);
  if (!isNull(ldt)) {
    const d = (ldt & 4) === 0 ? findDescriptor(cpu, ldt) : undefined;
    if (d === undefined || systemType(d.attr) !== LDT || !isPresent(d.attr)) throw fault(TS, selectorCode(ldt, ext));
    cpu.setSegment(S.LDTR, ldt, base(d), limit(d), d.attr);
  }
  if (vm) return;
  loadCode(cpu, segments[S.CS], ext);
  cpu.updateMode(level);
  loadStack(cpu, segments[S.SS], level, ext);
  for (const n of [S.ES, S.DS, S.FS, S.GS]) loadData(cpu, n, segments[n], level, ext);
  cpu.updateMode(level);
};

const loadCode = (cpu: Cpu, selector: number, ext: number): void => {
  const code = selectorCode(selector, ext);
  if (isNull(selector)) throw fault(TS, code);
  const d = readDescriptor(cpu, selector, TS, ext);
  const rpl = selector & 3;
  if (!isCode(d.attr) || (isConforming(d.attr) ? dpl(d.attr) > rpl : dpl(d.attr) !== rpl)) throw fault(TS, code);
  if (!isPresent(d.attr)) throw fault(NP, code);
  loadHidden(cpu, S.CS, selector, d);
};

const loadStack = (cpu: Cpu, selector: number, level: number, ext: number): void => {
  const code = selectorCode(selector, ext);
  if (isNull(selector)) throw fault(TS, code);
  const d = readDescriptor(cpu, selector, TS, ext);
  if (!isWritableData(d.attr) || dpl(d.attr) !== level || (selector & 3) !== level) throw fault(TS, code);
  if (!isPresent(d.attr)) throw fault(SSV, code);
  loadHidden(cpu, S.SS, selector, d);
};

const loadData = (cpu: Cpu, n: number, selector: number, level: number, ext: number): void => {
  if (isNull(selector)) {
    loadNull(cpu, n, selector);
    return;
  }
  const code = selectorCode(selector, ext);
  const d = readDescriptor(cpu, selector, TS, ext);
  const readable = isWritableData(d.attr) || (d.attr & 0x18) === 0x10 || (isCode(d.attr) && (d.attr & 2) !== 0);
  if (!readable) throw fault(TS, code);
  if (!ignoresPrivilege(d.attr) && (level > dpl(d.attr) || (selector & 3) > dpl(d.attr))) throw fault(TS, code);
  if (!isPresent(d.attr)) throw fault(NP, code);
  loadHidden(cpu, n, selector, d);
};
