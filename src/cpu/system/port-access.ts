/** Port I/O: permission (key `sdm:1 "I/O Permission Bit Map"`), breakpoints, and the access itself. */
import type { Cpu } from '../cpu.ts';
import { LEAVE } from '../interpret/status.ts';
import * as S from '../state.ts';
import { portBreakpoint } from './debug.ts';
import { fault, GP } from './fault.ts';

/** Offset of the bit map's base in a 32-bit or 64-bit TSS. */
const MAP_BASE = 0x66;

/** Code above IOPL, and all of virtual-8086 mode, needs clear bits in the TSS's map, else #GP(0). */
export const checkPort = (cpu: Cpu, port: number, size: number): void => {
  if (!cpu.protectedMode) return;
  const rest = cpu.get32(S.EFLAGS_REST);
  if (!cpu.virtual8086 && cpu.cpl <= (rest & S.IOPL) >> 12) return;
  const tr = S.seg(S.TR);
  const limit = cpu.get32(tr + S.SEG_LIMIT);
  if ((cpu.get32(tr + S.SEG_ATTR) & 0x8d) !== 0x89 || limit < MAP_BASE + 1) throw fault(GP, 0);
  const tss = cpu.get64(tr);
  const at = cpu.readSystem16(tss + BigInt(MAP_BASE)) + (port >> 3);
  // Two bytes are always read, so the map ends with a byte of ones.
  if (at + 1 > limit) throw fault(GP, 0);
  const bits = cpu.readSystem16(tss + BigInt(at)) >>> (port & 7);
  if ((bits & ((1 << size) - 1)) !== 0) throw fault(GP, 0);
};

/** IN without permission checks: `place` is the port and, from bit 16, the size; the value goes to SCRATCH. A system helper. */
export const portIn = (cpu: Cpu, place: number): number => {
  cpu.set32(S.SCRATCH, readPort(cpu, place & 0xffff, place >>> 16));
  return cpu.attention ? LEAVE : 0;
};

/** OUT without permission checks: `place` as for {@link portIn}. A system helper. */
export const portOut = (cpu: Cpu, place: number, value: number): number => {
  writePort(cpu, place & 0xffff, place >>> 16, value);
  return cpu.attention ? LEAVE : 0;
};

/** Reads a port whose permission was checked. Unsigned. */
export const readPort = (cpu: Cpu, port: number, size: number): number => {
  portBreakpoint(cpu, port, size);
  return cpu.ports.in(port, size) >>> 0;
};

export const writePort = (cpu: Cpu, port: number, size: number, value: number): void => {
  portBreakpoint(cpu, port, size);
  cpu.ports.out(port, size, value >>> 0);
};
