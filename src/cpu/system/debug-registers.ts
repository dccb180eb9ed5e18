/** MOV to and from the debug registers (key `sdm:3B "Debug Registers"`). */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { CR4_DE } from './control.ts';
import { DR6_BD, DR6_FIXED, DR6_WRITABLE, DR7_FIXED, DR7_GD, DR7_WRITABLE } from './debug.ts';
import { DB, fault, GP, UD } from './fault.ts';

/** DR4 and DR5 name DR6 and DR7, unless CR4.DE makes them #UD. Then #GP(0) above CPL 0, then #DB for DR7.GD. */
const checked = (cpu: Cpu, n: number): number => {
  const alias = n === 4 || n === 5;
  if (alias && (cpu.get32(S.CR4) & CR4_DE) !== 0) throw fault(UD);
  if (cpu.cpl !== 0) throw fault(GP, 0);
  if ((cpu.get32(S.DR7) & DR7_GD) !== 0) {
    cpu.set32(S.DR6, cpu.get32(S.DR6) | DR6_BD);
    throw fault(DB);
  }
  return alias ? n + 2 : n;
};

const place = (n: number): number => (n === 6 ? S.DR6 : n === 7 ? S.DR7 : S.DR0 + n * 8);

export const readDebug = (cpu: Cpu, n: number): bigint => cpu.get64(place(checked(cpu, n)));

/** Bits 63:32 of DR6 and DR7 must be zero, else #GP(0). */
export const writeDebug = (cpu: Cpu, n: number, value: bigint): void => {
  const register = checked(cpu, n);
  if (register < 4) {
    cpu.set64(place(register), value);
    return;
  }
  if (value >> 32n !== 0n) throw fault(GP, 0);
  const low = Number(value);
  const stored = register === 6 ? (low & DR6_WRITABLE) | DR6_FIXED : (low & DR7_WRITABLE) | DR7_FIXED;
  cpu.set64(place(register), BigInt(stored >>> 0));
  if (register === 7) cpu.updateMode();
};
