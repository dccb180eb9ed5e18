/** LAR, LSL, VERR, VERW: what a selector would give, without loading it. */
import type { Cpu } from '../cpu.ts';
import {
  ATTR_S,
  ATTR_WRITABLE,
  CALL_GATE16,
  CALL_GATE32,
  type Descriptor,
  dpl,
  findDescriptor,
  isCode,
  isNull,
  isProtected,
  LDT,
  limit,
  systemType,
  TASK_GATE,
  TSS16,
  TSS16_BUSY,
  TSS32,
  TSS32_BUSY,
} from './descriptor.ts';
import { fault, UD } from './fault.ts';
import { ignoresPrivilege } from './segment-load.ts';

/** System types with a limit, and those that LAR accepts besides; long mode knows fewer. */
const HAS_LIMIT = [TSS16, LDT, TSS16_BUSY, TSS32, TSS32_BUSY];
const HAS_LIMIT_LONG = [LDT, TSS32, TSS32_BUSY];
const HAS_RIGHTS = [...HAS_LIMIT, CALL_GATE16, TASK_GATE, CALL_GATE32];
const HAS_RIGHTS_LONG = [...HAS_LIMIT_LONG, CALL_GATE32];

/** The descriptor when the selector is visible at the current privilege, else undefined. #UD outside protected mode. */
const visible = (cpu: Cpu, selector: number): Descriptor | undefined => {
  if (!isProtected(cpu)) throw fault(UD);
  if (isNull(selector)) return undefined;
  const d = findDescriptor(cpu, selector);
  if (d === undefined) return undefined;
  if (!ignoresPrivilege(d.attr) && (cpu.cpl > dpl(d.attr) || (selector & 3) > dpl(d.attr))) return undefined;
  return d;
};

const typed = (
  cpu: Cpu,
  selector: number,
  legacy: readonly number[],
  long: readonly number[],
): Descriptor | undefined => {
  const d = visible(cpu, selector);
  if (d === undefined) return undefined;
  const type = systemType(d.attr);
  return type === undefined || (cpu.longMode ? long : legacy).includes(type) ? d : undefined;
};

/** LAR's result, or undefined for ZF = 0. */
export const accessRights = (cpu: Cpu, selector: number): number | undefined => {
  const d = typed(cpu, selector, HAS_RIGHTS, HAS_RIGHTS_LONG);
  return d === undefined ? undefined : d.high & 0x00ff_ff00;
};

/** LSL's result in bytes, or undefined for ZF = 0. */
export const segmentLimit = (cpu: Cpu, selector: number): number | undefined => {
  const d = typed(cpu, selector, HAS_LIMIT, HAS_LIMIT_LONG);
  return d === undefined ? undefined : limit(d);
};

/** VERR (`write` false) and VERW: ZF. */
export const verify = (cpu: Cpu, selector: number, write: boolean): boolean => {
  const d = visible(cpu, selector);
  if (d === undefined || (d.attr & ATTR_S) === 0) return false;
  if (isCode(d.attr)) return !write && (d.attr & ATTR_WRITABLE) !== 0;
  return !write || (d.attr & ATTR_WRITABLE) !== 0;
};
