/** Segment and system descriptors in guest memory (key `sdm:3A "Segment Descriptors"`). */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { fault, GP } from './fault.ts';

/** Error code bits (key `sdm:3A "Error Code"`). */
export const EXT = 1,
  IDT = 2;

/** Access-rights bits of {@link Descriptor.attr}; the layout is that of the hidden part, see state.ts. */
export const ATTR_WRITABLE = 0x02,
  ATTR_CONFORMING = 0x04,
  ATTR_EXECUTABLE = 0x08,
  ATTR_S = 0x10,
  ATTR_PRESENT = 0x80;
export const ATTR_ACCESSED = 0x01,
  ATTR_L = 0x2000,
  ATTR_DB = 0x4000;

/** System descriptor types. */
export const TSS16 = 1,
  LDT = 2,
  TSS16_BUSY = 3,
  CALL_GATE16 = 4,
  TASK_GATE = 5,
  INTERRUPT_GATE16 = 6,
  TRAP_GATE16 = 7;
export const TSS32 = 9,
  TSS32_BUSY = 11,
  CALL_GATE32 = 12,
  INTERRUPT_GATE32 = 14,
  TRAP_GATE32 = 15;
/** Turns an available TSS type into the busy one. */
export const BUSY = 2;

export interface Descriptor {
  readonly selector: number;
  /** Linear address of the eight bytes. */
  readonly address: bigint;
  readonly low: number;
  readonly high: number;
  /** Access rights; gains the accessed bit when {@link markAccessed} sets it in memory. */
  attr: number;
}

export const dpl = (attr: number): number => (attr >> 5) & 3;
export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;

/** Base of a segment descriptor, 32 bits. */
export const base = (d: Descriptor): bigint =>
  BigInt(((d.low >>> 16) | ((d.high & 0xff) << 16) | (d.high & 0xff00_0000)) >>> 0);

/** Limit in bytes, granularity applied. */
export const limit = (d: Descriptor): number => {
  const raw = (d.low & 0xffff) | (d.high & 0xf_0000);
  return (d.high & 0x80_0000) === 0 ? raw : ((raw << 12) | 0xfff) >>> 0;
};

/** System descriptor type, or undefined for code and data. */
export const systemType = (attr: number): number | undefined => ((attr & ATTR_S) === 0 ? attr & 15 : undefined);
export const isCode = (attr: number): boolean => (attr & (ATTR_S | ATTR_EXECUTABLE)) === (ATTR_S | ATTR_EXECUTABLE);
export const isConforming = (attr: number): boolean => (attr & ATTR_CONFORMING) !== 0;
export const isWritableData = (attr: number): boolean =>
  (attr & (ATTR_S | ATTR_EXECUTABLE | ATTR_WRITABLE)) === (ATTR_S | ATTR_WRITABLE);
export const isPresent = (attr: number): boolean => (attr & ATTR_PRESENT) !== 0;

export const canonical = (address: bigint): boolean => {
  const top = address >> 47n;
  return top === 0n || top === 0x1ffffn;
};

/** The descriptor a selector names, or undefined when `bytes` at its index do not fit in the table. May raise #PF. */
export const findDescriptor = (cpu: Cpu, selector: number, bytes = 8): Descriptor | undefined => {
  const index = selector & 0xfff8;
  let table: number, tableLimit: number;
  if ((selector & 4) === 0) {
    table = S.GDTR;
    tableLimit = cpu.get32(S.GDTR + 8);
  } else {
    table = S.seg(S.LDTR);
    if ((cpu.get32(table + S.SEG_ATTR) & (S.ATTR_UNUSABLE | ATTR_PRESENT)) !== ATTR_PRESENT) return undefined;
    tableLimit = cpu.get32(table + S.SEG_LIMIT);
  }
  if (index + bytes - 1 > tableLimit) return undefined;
  const address = cpu.get64(table) + BigInt(index);
  const low = cpu.readSystem32(address);
  const high = cpu.readSystem32(address + 4n);
  return { selector, address, low, high, attr: (high >>> 8) & 0xf0ff };
};

/** Selector part of an error code. */
export const selectorCode = (selector: number, ext = 0): number => (selector & 0xfffc) | ext;

/** Like {@link findDescriptor}; outside the table: `vector` with the selector. */
export const readDescriptor = (cpu: Cpu, selector: number, vector: number = GP, ext = 0, bytes = 8): Descriptor => {
  const d = findDescriptor(cpu, selector, bytes);
  if (d === undefined) throw fault(vector, selectorCode(selector, ext));
  return d;
};

/** Upper eight bytes of a 16-byte system descriptor: base bits 63..32, and the dword that must have type 0. */
export const readUpper = (cpu: Cpu, d: Descriptor): { base: bigint; rest: number } => ({
  base: (BigInt(cpu.readSystem32(d.address + 8n)) << 32n) | base(d),
  rest: cpu.readSystem32(d.address + 12n),
});

/** Sets the accessed bit of a code or data descriptor in memory when it is clear; may raise #PF, so call it before committing. */
export const markAccessed = (cpu: Cpu, d: Descriptor): void => {
  if ((d.attr & ATTR_ACCESSED) !== 0) return;
  cpu.writeSystem8(d.address + 5n, (d.attr & 0xff) | ATTR_ACCESSED);
  d.attr |= ATTR_ACCESSED;
};

/** Sets or clears the busy bit of a TSS descriptor in memory. */
export const markBusy = (cpu: Cpu, address: bigint, busy: boolean): void => {
  const old = cpu.readSystem8(address + 5n);
  cpu.writeSystem8(address + 5n, busy ? old | BUSY : old & ~BUSY);
};

/** Loads a code or data segment register's hidden part from a descriptor and marks it accessed. */
export const loadHidden = (cpu: Cpu, n: number, selector: number, d: Descriptor): void => {
  markAccessed(cpu, d);
  cpu.setSegment(n, selector, base(d), limit(d), d.attr);
};

/** Makes a segment register hold a null selector. */
export const loadNull = (cpu: Cpu, n: number, selector: number): void =>
  cpu.setSegment(n, selector, 0n, 0, S.ATTR_UNUSABLE | (n === S.SS ? (selector & 3) << 5 : 0));

/** Real-mode load: base follows the selector; limit and size stay (so a limit set in protected mode survives). */
export const loadReal = (cpu: Cpu, n: number, selector: number): void => {
  const at = S.seg(n);
  const kept = cpu.get32(at + S.SEG_ATTR) & 0xf000;
  cpu.setSegment(n, selector, BigInt(selector << 4), cpu.get32(at + S.SEG_LIMIT), kept | (n === S.CS ? 0x9b : 0x93));
};

/** Virtual-8086 load: 64 KiB at selector * 16, privilege level 3. */
export const loadVm86 = (cpu: Cpu, n: number, selector: number): void =>
  cpu.setSegment(n, selector, BigInt(selector << 4), 0xffff, 0xf3);

/** True in protected mode proper: neither real nor virtual-8086 mode. */
export const isProtected = (cpu: Cpu): boolean => cpu.protectedMode && !cpu.virtual8086;

export const selectorOf = (cpu: Cpu, n: number): number => cpu.get16(S.seg(n) + S.SEG_SELECTOR);

/**
 * Checks where control arrives in a code segment: canonical for 64-bit code, inside the limit otherwise; else #GP(`ext`).
 */
export const checkTarget = (cpu: Cpu, d: Descriptor, offset: bigint, ext = 0): void => {
  const ok = cpu.longMode && (d.attr & ATTR_L) !== 0 ? canonical(offset) : offset <= BigInt(limit(d));
  if (!ok) throw fault(GP, ext);
};

/** L and D both set name no code size in long mode. */
export const hasBadSize = (cpu: Cpu, attr: number): boolean =>
  cpu.longMode && (attr & (ATTR_L | ATTR_DB)) === (ATTR_L | ATTR_DB);
