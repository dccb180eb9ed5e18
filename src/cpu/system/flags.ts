/** Which flags an instruction may change, and PUSHF / POPF (key `sdm:POPF/POPFD/POPFQ`). */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { fault, GP } from './fault.ts';
import { moveSp, peek, push, type Slot } from './stack.ts';

/** Flags any code may set. */
export const FREE_FLAGS = S.ARITHMETIC | S.TF | S.DF | S.NT | S.AC | S.ID;

/** Flags that POPF and IRET may change at the present privilege; callers drop those above bit 15 for 16-bit images. */
export const flagsChangeable = (cpu: Cpu): number => {
  const { cpl } = cpu;
  const iopl = (cpu.get32(S.EFLAGS_REST) & S.IOPL) >> 12;
  let mask = FREE_FLAGS;
  if (cpl <= iopl) mask |= S.IF;
  if (cpl === 0) mask |= S.IOPL | S.VIF | S.VIP;
  return mask;
};

/** Virtual-8086 mode without IOPL 3: CLI, STI, PUSHF, POPF, INT n and IRET are #GP(0). */
const checkVm86 = (cpu: Cpu): void => {
  if (cpu.virtual8086 && (cpu.get32(S.EFLAGS_REST) & S.IOPL) !== S.IOPL) throw fault(GP, 0);
};

export const pushFlags = (cpu: Cpu, slot: Slot): void => {
  checkVm86(cpu);
  push(cpu, slot, BigInt((cpu.eflags & ~(S.VM | S.RF)) >>> 0));
};

export const popFlags = (cpu: Cpu, slot: Slot): void => {
  checkVm86(cpu);
  const image = Number(peek(cpu, 0, slot) & 0xffff_ffffn);
  moveSp(cpu, slot);
  let mask = flagsChangeable(cpu) & ~(S.VIF | S.VIP);
  if (slot === 2) mask &= 0xffff;
  const cleared = S.RF | (slot !== 2 && !cpu.virtual8086 ? S.VIF | S.VIP : 0);
  cpu.eflags = (cpu.eflags & ~(mask | cleared)) | (image & mask);
};

/** CLI and STI: CPL at most IOPL, else #GP(0). STI holds interrupts off for one more instruction when IF was clear. */
export const setInterruptFlag = (cpu: Cpu, on: boolean): void => {
  const rest = cpu.get32(S.EFLAGS_REST);
  if (cpu.cpl > (rest & S.IOPL) >> 12) throw fault(GP, 0);
  if (on && (rest & S.IF) === 0) cpu.set32(S.SHADOW, 1);
  cpu.set32(S.EFLAGS_REST, on ? rest | S.IF : rest & ~S.IF);
};
