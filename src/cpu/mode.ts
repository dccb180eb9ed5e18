/**
 * State that follows from other state: what compiled code reads instead of looking at control registers, segments and flags itself.
 *
 * Every interrupt, system call and segment load comes through here, so 64-bit fields are copied as halves and nothing is allocated.
 */
import type { Cpu } from './cpu.ts';
import { CR0_AM } from './mmu/walk.ts';
import * as S from './state.ts';
import { breakpointsArmed } from './system/debug.ts';

const CR0_EM = 4,
  CR0_TS = 8,
  CR4_OSFXSR = 0x200;
/** Attributes of a flat data segment, and which of them count: present, a data segment, expand-up, writable. */
const FLAT_DATA = 0x92,
  FLAT_MASK = S.ATTR_UNUSABLE | 0x9e;

const setMask = (cpu: Cpu, offset: number, bits: 16 | 32 | 64): void => {
  cpu.set32(offset, bits === 16 ? 0xffff : 0xffff_ffff);
  cpu.set32(offset + 4, bits === 64 ? 0xffff_ffff : 0);
};

/** Copies the base of a segment; 64-bit code has none. */
const setBase = (cpu: Cpu, offset: number, segment: number, code64: boolean): void => {
  const at = S.seg(segment) + S.SEG_BASE;
  cpu.set32(offset, code64 ? 0 : cpu.get32(at));
  cpu.set32(offset + 4, code64 ? 0 : cpu.get32(at + 4));
};

/** ES, SS and DS have base 0 and a limit of 4 GiB. CS does not count: its base and limit are applied where control arrives. */
const isFlat = (cpu: Cpu): boolean => {
  for (const n of DATA_SEGMENTS) {
    const at = S.seg(n);
    if (cpu.get32(at) !== 0 || cpu.get32(at + S.SEG_LIMIT) !== 0xffff_ffff) return false;
    if ((cpu.get32(at + S.SEG_ATTR) & FLAT_MASK) !== FLAT_DATA) return false;
  }
  return true;
};
const DATA_SEGMENTS = [S.ES, S.SS, S.DS] as const;

/** The TLB set that holds what the privilege level may do; none when each access has to be looked at. */
const tlbSet = (cpu: Cpu, level: number): number => {
  const ac = (cpu.get32(S.EFLAGS_REST) & S.AC) !== 0;
  if (breakpointsArmed(cpu)) return S.TLB_NEVER;
  if (level === 3) return ac && (cpu.get32(S.CR0) & CR0_AM) !== 0 ? S.TLB_NEVER : S.TLB_USER;
  return ac ? S.TLB_SUPERVISOR_AC : S.TLB_SUPERVISOR;
};

/** Recomputes all of it for a privilege level; real mode has level 0, virtual-8086 mode level 3. */
export const deriveMode = (cpu: Cpu, cpl: number): void => {
  const level = !cpu.protectedMode ? 0 : cpu.virtual8086 ? 3 : cpl;
  cpu.set32(S.CPL, level);
  const { code64 } = cpu;
  const stack32 = (cpu.get32(S.seg(S.SS) + S.SEG_ATTR) & 0x4000) !== 0;
  const flat = code64 || isFlat(cpu);
  const size = code64 ? S.MODE_64 : cpu.codeSize === 32 ? S.MODE_32 : S.MODE_16;
  const real = !cpu.protectedMode || cpu.virtual8086;
  cpu.set32(
    S.MODE,
    size |
      (stack32 && !code64 ? S.MODE_STACK32 : 0) |
      (flat ? 0 : S.MODE_SEGMENTED) |
      (level === 3 ? S.MODE_USER : 0) |
      (real ? S.MODE_REAL : 0),
  );
  setMask(cpu, S.LINEAR_MASK, code64 ? 64 : 32);
  setMask(cpu, S.STACK_MASK, code64 ? 64 : stack32 ? 32 : 16);
  setBase(cpu, S.STACK_BASE, S.SS, code64);
  setBase(cpu, S.STRING_BASE, S.ES, code64);
  setBase(cpu, S.CS_BASE, S.CS, code64);
  const blocked = (cpu.get32(S.CR0) & (CR0_EM | CR0_TS)) !== 0 || (cpu.get32(S.CR4) & CR4_OSFXSR) === 0;
  cpu.set32(S.SSE_BLOCKED, blocked ? 1 : 0);
  cpu.set32(S.TLB, cpu.base + S.TLB_SETS + tlbSet(cpu, level) * S.TLB_SET);
};
