/** Breakpoints and debug status (key `sdm:3B "Debug Registers"`). */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { deliverException } from './deliver.ts';
import { DB } from './fault.ts';

/** DR6: register access detected, single step, task switch. */
export const DR6_BD = 0x2000,
  DR6_BS = 0x4000,
  DR6_BT = 0x8000;
/** Bits of DR6 and DR7 that read as one whatever is written. */
export const DR6_FIXED = 0xffff_0ff0,
  DR7_FIXED = 0x400;
export const DR6_WRITABLE = 0xe00f,
  DR7_WRITABLE = 0xffff_23ff;
export const DR7_GD = 0x2000;
/** Local enables, cleared by a task switch. */
export const DR7_LOCAL = 0x155;

/** R/W field of a breakpoint: instruction, data write, I/O, data read or write. */
const EXECUTE = 0,
  WRITE = 1,
  IO = 2;
/** Bytes by LEN field. */
const LENGTH = [1, 2, 8, 4];

const CR4_DE = 8;

/** Bits 0-3 of DR6 for the armed breakpoints of the wanted kinds that a range of addresses touches. */
const matching = (cpu: Cpu, address: bigint, size: number, wants: (kind: number) => boolean): number => {
  const dr7 = cpu.get32(S.DR7);
  let hit = 0;
  for (let n = 0; n < 4; n++) {
    if (((dr7 >>> (n * 2)) & 3) === 0) continue;
    const control = (dr7 >>> (16 + n * 4)) & 15;
    const kind = control & 3;
    if (!wants(kind)) continue;
    const length = kind === EXECUTE ? 1 : LENGTH[control >> 2];
    const first = cpu.get64(S.DR0 + n * 8) & ~BigInt(length - 1);
    if (address < first + BigInt(length) && first < address + BigInt(size)) hit |= 1 << n;
  }
  return hit;
};

/**
 * Delivers the #DB fault of an instruction breakpoint at RIP; true when it did. EFLAGS.RF and a preceding MOV SS hold it off; RF
 * is used up.
 */
export const checkBreakpoints = (cpu: Cpu, movSsShadow: boolean): boolean => {
  const rest = cpu.get32(S.EFLAGS_REST);
  if ((rest & S.RF) !== 0) {
    cpu.set32(S.EFLAGS_REST, rest & ~S.RF);
    return false;
  }
  if (movSsShadow) return false;
  const linear = (cpu.get64(S.CS_BASE) + cpu.rip) & cpu.get64(S.LINEAR_MASK);
  const hit = matching(cpu, linear, 1, (kind) => kind === EXECUTE);
  if (hit === 0) return false;
  cpu.set32(S.DR6, cpu.get32(S.DR6) | hit);
  deliverException(cpu, DB, undefined);
  return true;
};

/** DR6 bits of the data breakpoints that an access touches; the trap follows the instruction. */
export const dataBreakpoint = (cpu: Cpu, linear: bigint, size: number, write: boolean): number =>
  matching(cpu, linear, size, (kind) => kind === 3 || (write && kind === WRITE));

/** Notes I/O breakpoints (CR4.DE) that a port access touches. */
export const portBreakpoint = (cpu: Cpu, port: number, size: number): void => {
  if ((cpu.get32(S.DR7) & 0xff) === 0 || (cpu.get32(S.CR4) & CR4_DE) === 0) return;
  const hit = matching(cpu, BigInt(port), size, (kind) => kind === IO);
  if (hit !== 0) cpu.set32(S.PENDING_DEBUG, cpu.get32(S.PENDING_DEBUG) | hit);
};

/** Any breakpoint enabled. EFLAGS.RF means nothing without one, so it is kept only then. */
export const breakpointsArmed = (cpu: Cpu): boolean => (cpu.get32(S.DR7) & 0xff) !== 0;
