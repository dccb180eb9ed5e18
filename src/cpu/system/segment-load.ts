/** Loading segment, LDT and task registers (key `sdm:MOV`, key `sdm:LLDT`, key `sdm:LTR`). */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import {
  ATTR_EXECUTABLE,
  ATTR_S,
  ATTR_WRITABLE,
  BUSY,
  base,
  canonical,
  type Descriptor,
  dpl,
  isCode,
  isConforming,
  isNull,
  isPresent,
  isProtected,
  isWritableData,
  LDT,
  limit,
  loadHidden,
  loadNull,
  loadReal,
  loadVm86,
  markBusy,
  readDescriptor,
  readUpper,
  selectorCode,
  systemType,
  TSS16,
  TSS32,
} from './descriptor.ts';
import { fault, GP, NP, SSV, UD } from './fault.ts';

/** Data, or code that may be read. */
const isReadable = (attr: number): boolean =>
  (attr & ATTR_S) !== 0 && (attr & (ATTR_EXECUTABLE | ATTR_WRITABLE)) !== ATTR_EXECUTABLE;

/** Conforming code is accessible whatever its DPL. */
export const ignoresPrivilege = (attr: number): boolean => isCode(attr) && isConforming(attr);

const loadStack = (cpu: Cpu, selector: number): void => {
  const { cpl } = cpu;
  if (isNull(selector)) {
    if (!cpu.code64 || cpl === 3 || (selector & 3) !== cpl) throw fault(GP, 0);
    loadNull(cpu, S.SS, selector);
    return;
  }
  const d = readDescriptor(cpu, selector);
  if ((selector & 3) !== cpl || !isWritableData(d.attr) || dpl(d.attr) !== cpl) throw fault(GP, selectorCode(selector));
  if (!isPresent(d.attr)) throw fault(SSV, selectorCode(selector));
  loadHidden(cpu, S.SS, selector, d);
};

const loadData = (cpu: Cpu, n: number, selector: number): void => {
  if (isNull(selector)) {
    loadNull(cpu, n, selector);
    return;
  }
  const d = readDescriptor(cpu, selector);
  if (!isReadable(d.attr)) throw fault(GP, selectorCode(selector));
  if (!ignoresPrivilege(d.attr) && ((selector & 3) > dpl(d.attr) || cpu.cpl > dpl(d.attr)))
    throw fault(GP, selectorCode(selector));
  if (!isPresent(d.attr)) throw fault(NP, selectorCode(selector));
  loadHidden(cpu, n, selector, d);
};

/**
 * Loads ES, SS, DS, FS or GS. Errors in order: null SS #GP(0); outside the table, wrong type or privilege #GP(selector); not
 * present #NP(selector), for SS #SS(selector). Nothing changes on a fault.
 */
export const loadSegment = (cpu: Cpu, n: number, selector: number): void => {
  if (!cpu.protectedMode) loadReal(cpu, n, selector);
  else if (cpu.virtual8086) loadVm86(cpu, n, selector);
  else if (n === S.SS) loadStack(cpu, selector);
  else loadData(cpu, n, selector);
  cpu.updateMode();
};

/** Base of an LDT or TSS descriptor; long mode has 16-byte ones. */
const systemBase = (cpu: Cpu, d: Descriptor): bigint => {
  if (!cpu.longMode) return base(d);
  const upper = readUpper(cpu, d);
  if ((upper.rest & 0x1f00) !== 0 || !canonical(upper.base)) throw fault(GP, selectorCode(d.selector));
  return upper.base;
};

const systemDescriptor = (cpu: Cpu, selector: number): Descriptor => {
  if ((selector & 4) !== 0) throw fault(GP, selectorCode(selector));
  return readDescriptor(cpu, selector, GP, 0, cpu.longMode ? 16 : 8);
};

/** LLDT and LTR: #UD outside protected mode, then #GP(0) above CPL 0. */
export const checkSystemInstruction = (cpu: Cpu): void => {
  if (!isProtected(cpu)) throw fault(UD);
  if (cpu.cpl !== 0) throw fault(GP, 0);
};

/** LLDT: #UD outside protected mode, #GP(0) above CPL 0, then the selector's own #GP and #NP. */
export const loadLdt = (cpu: Cpu, selector: number): void => {
  checkSystemInstruction(cpu);
  if (isNull(selector)) {
    loadNull(cpu, S.LDTR, selector);
    return;
  }
  const d = systemDescriptor(cpu, selector);
  if (systemType(d.attr) !== LDT) throw fault(GP, selectorCode(selector));
  if (!isPresent(d.attr)) throw fault(NP, selectorCode(selector));
  cpu.setSegment(S.LDTR, selector, systemBase(cpu, d), limit(d), d.attr);
};

/** LTR: like LLDT, but a null selector is #GP(0); marks the TSS busy. */
export const loadTask = (cpu: Cpu, selector: number): void => {
  checkSystemInstruction(cpu);
  if (isNull(selector)) throw fault(GP, 0);
  const d = systemDescriptor(cpu, selector);
  const type = systemType(d.attr);
  if (type !== TSS32 && (type !== TSS16 || cpu.longMode)) throw fault(GP, selectorCode(selector));
  if (!isPresent(d.attr)) throw fault(NP, selectorCode(selector));
  const at = systemBase(cpu, d);
  markBusy(cpu, d.address, true);
  cpu.setSegment(S.TR, selector, at, limit(d), d.attr | BUSY);
};
