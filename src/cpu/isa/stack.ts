/** PUSH, POP, LEAVE, and the multi-word stack instructions. */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import * as S from '../state.ts';
import { BR, fault } from '../system/fault.ts';
import { c64 } from '../wasm/value.ts';
import { insn, type Meaning, type Routine, type Row, routine } from './row.ts';

const push: Meaning = (s, src) => s.push(src.width, src.get());
const pop: Meaning = (s, d) => {
  const value = s.stackRead(d.width);
  d.probe();
  s.moveStack(c64(d.width / 8));
  d.set(value);
};
const pushImmediate: Meaning = (s, imm) => s.push(s.width, imm.get());

const leave: Meaning = (s) => {
  const { f } = s;
  const width = s.width as 16 | 32 | 64;
  const mask = s.state64(S.STACK_MASK);
  const frame = f.op('i64.and', s.reg(S.RBP, 64), mask);
  s.segmentCheck(S.SS, frame, width / 8, false);
  const linear = f.op('i64.and', f.op('i64.add', frame, s.state64(S.STACK_BASE)), s.state64(S.LINEAR_MASK));
  const value = s.memory(linear, width, true).get();
  const top = f.op('i64.and', f.op('i64.add', frame, c64(width / 8)), mask);
  const kept = f.op('i64.and', s.reg(S.RSP, 64), f.op('i64.xor', mask, c64(-1n)));
  s.setReg(S.RSP, 64, f.op('i64.or', kept, top));
  s.setReg(S.RBP, width, value);
};

const stackWidth = (cpu: Cpu): bigint => cpu.get64(S.STACK_MASK);

const setStack = (cpu: Cpu, offset: bigint): void => {
  const mask = stackWidth(cpu);
  cpu.set64(S.gpr(S.RSP), (cpu.gpr(S.RSP) & ~mask & 0xffff_ffff_ffff_ffffn) | (offset & mask));
};

/** Linear address of a stack slot, after the SS limit check. */
const slot = (cpu: Cpu, offset: bigint, size: number, write: boolean): bigint =>
  cpu.mem.segmented(S.SS, offset & stackWidth(cpu), size, write);

const write = (cpu: Cpu, linear: bigint, width: number, value: bigint): void => {
  if (width === 16) cpu.writeLinear16(linear, Number(value & 0xffffn));
  else if (width === 32) cpu.writeLinear32(linear, Number(value & 0xffff_ffffn));
  else cpu.writeLinear64(linear, BigInt.asUintN(64, value));
};
const read = (cpu: Cpu, linear: bigint, width: number): bigint =>
  width === 16
    ? BigInt(cpu.readLinear16(linear))
    : width === 32
      ? BigInt(cpu.readLinear32(linear))
      : cpu.readLinear64(linear);

/** PUSHA: eight registers, rSP as it was; nothing is stored unless all of it can be. */
const pusha: Routine = (cpu, { operandSize }) => {
  const bytes = operandSize / 8;
  const sp = cpu.gpr(S.RSP);
  const places = Array.from({ length: 8 }, (_, i) => slot(cpu, sp - BigInt(bytes * (i + 1)), bytes, true));
  for (const at of places) cpu.probeLinear(at, bytes, true);
  for (let i = 0; i < 8; i++) write(cpu, places[i], operandSize, cpu.gpr(i));
  setStack(cpu, sp - BigInt(bytes * 8));
  return undefined;
};

const popa: Routine = (cpu, { operandSize }) => {
  const bytes = operandSize / 8;
  const sp = cpu.gpr(S.RSP);
  const values = Array.from({ length: 8 }, (_, i) =>
    read(cpu, slot(cpu, sp + BigInt(bytes * i), bytes, false), operandSize),
  );
  for (let i = 0; i < 8; i++) if (7 - i !== S.RSP) cpu.setGpr(7 - i, values[i], operandSize);
  setStack(cpu, sp + BigInt(bytes * 8));
  return undefined;
};

/** ENTER: a frame with up to 31 copied frame pointers (key `sdm:ENTER`). */
const enter: Routine = (cpu, d: Insn) => {
  const { operandSize } = d;
  const bytes = BigInt(operandSize / 8);
  const level = d.immediate2 & 31;
  const size = d.immediate & 0xffffn;
  const mask = stackWidth(cpu);
  const sp = cpu.gpr(S.RSP);
  const bp = cpu.gpr(S.RBP);
  const pushes = level === 0 ? 1 : level + 1;
  const places = Array.from({ length: pushes }, (_, i) => slot(cpu, sp - bytes * BigInt(i + 1), Number(bytes), true));
  const sources = Array.from({ length: Math.max(0, level - 1) }, (_, i) =>
    slot(cpu, bp - bytes * BigInt(i + 1), Number(bytes), false),
  );
  // Everything that may fault comes first; the new top of stack must be writable as well.
  for (const at of places) cpu.probeLinear(at, Number(bytes), true);
  for (const at of sources) cpu.probeLinear(at, Number(bytes), false);
  cpu.probeLinear(slot(cpu, sp - bytes * BigInt(pushes) - size, Number(bytes), true), 1, true);
  const frame = (sp - bytes) & mask;
  write(cpu, places[0], operandSize, bp);
  // One after the other: the frames may overlap.
  sources.forEach((from, i) => {
    write(cpu, places[i + 1], operandSize, read(cpu, from, operandSize));
  });
  if (level > 0) write(cpu, places[level], operandSize, frame);
  cpu.setGpr(S.RBP, frame, mask === 0xffffn ? 16 : mask === 0xffff_ffffn ? 32 : 64);
  setStack(cpu, sp - bytes * BigInt(pushes) - size);
  return undefined;
};

const bound: Routine = (cpu, d) => {
  const { operandSize } = d;
  const bytes = operandSize / 8;
  const at = cpu.effectiveAddress(d, bytes * 2, false);
  const index = BigInt.asIntN(operandSize, cpu.gpr(d.reg));
  const low = BigInt.asIntN(operandSize, read(cpu, at, operandSize));
  const high = BigInt.asIntN(operandSize, read(cpu, at + BigInt(bytes), operandSize));
  if (index < low || index > high) throw fault(BR);
  return undefined;
};

export const stackRows: readonly Row[] = [
  insn('PUSH', '50+r', 'Zv', { size64: 'd64', weight: 60 }, push),
  insn('POP', '58+r', 'Zv', { size64: 'd64', weight: 60 }, pop),
  insn('PUSH', 'FF /6', 'Ev', { size64: 'd64', weight: 6 }, push),
  insn('POP', '8F /0', 'Ev', { size64: 'd64' }, pop),
  insn('PUSH', '6A ib', 'Ib', { size64: 'd64', signed: true, weight: 10 }, pushImmediate),
  insn('PUSH', '68 iz', 'Iz', { size64: 'd64', weight: 4 }, pushImmediate),
  insn('LEAVE', 'C9', '', { size64: 'd64', weight: 10 }, leave),
  routine('PUSHA', '60', '', { not64: true }, pusha),
  routine('POPA', '61', '', { not64: true }, popa),
  routine('ENTER', 'C8 iw ib', 'Iw,Ib', { size64: 'd64' }, enter),
  routine('BOUND', '62 /r', 'Gv,M', { not64: true }, bound),
];
