/** Port I/O. String forms run one repetition a call. */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import { HELPER_PORT_IN, HELPER_PORT_OUT } from '../helpers.ts';
import type { Operand, Semantics } from '../semantics.ts';
import * as S from '../state.ts';
import { checkPort, readPort, writePort } from '../system/port-access.ts';
import { c32, type Val } from '../wasm/value.ts';
import { type Meaning, type Routine, type Row, routine, usual } from './row.ts';

/** Real mode, and protected mode with CPL at most IOPL, may use all ports; whoever else is looked at by the routine. */
const whenPermitted = (s: Semantics): void => {
  const { f } = s;
  const rest = s.state32(S.EFLAGS_REST);
  const level = f.op('i32.and', f.op('i32.shr_u', rest, c32(12)), c32(3));
  const allowed = f.op(
    'i32.and',
    f.op('i32.le_u', s.state32(S.CPL), level),
    f.op('i32.eqz', f.op('i32.and', rest, c32(S.VM))),
  );
  const real = f.op('i32.eqz', f.op('i32.and', s.state32(S.CR0), c32(1)));
  f.if(f.op('i32.eqz', f.op('i32.or', allowed, real)), () => s.routine());
};

/** Port number and, from bit 16, size in bytes. */
const place = (s: Semantics, port: Operand, size: number): Val => {
  const { f } = s;
  const mask = port.width === 16 ? 0xffff : 0xff;
  return f.op('i32.or', f.op('i32.and', f.op('i32.wrap_i64', port.get()), c32(mask)), c32(size << 16));
};

/** The accumulator's part that moves: 32 bits with 64-bit operand size. */
const portWidth = (accumulator: Operand): 8 | 16 | 32 =>
  accumulator.width === 8 ? 8 : accumulator.width === 16 ? 16 : 32;

const inMeaning: Meaning = (s, to, port) => {
  const width = portWidth(to);
  whenPermitted(s);
  s.callSystem(HELPER_PORT_IN, place(s, port, width / 8), c32(0));
  s.setReg(S.RAX, width, s.zx(width, s.f.op('i64.extend_i32_u', s.state32(S.SCRATCH))));
};

const outMeaning: Meaning = (s, port, from) => {
  const width = portWidth(from);
  whenPermitted(s);
  s.callSystem(HELPER_PORT_OUT, place(s, port, width / 8), s.f.op('i32.wrap_i64', s.reg(S.RAX, width)));
};

/** Bytes moved by the wide forms. */
const wideSize = (insn: Insn): 2 | 4 => (insn.operandSize === 16 ? 2 : 4);

const immediatePort = (_cpu: Cpu, insn: Insn): number => Number(insn.immediate & 0xffn);
const dxPort = (cpu: Cpu): number => cpu.get16(S.gpr(S.RDX));

const input =
  (port: (cpu: Cpu, insn: Insn) => number, wide: boolean): Routine =>
  (cpu, insn) => {
    const size = wide ? wideSize(insn) : 1;
    const number = port(cpu, insn);
    checkPort(cpu, number, size);
    const value = readPort(cpu, number, size);
    if (size === 1) cpu.set8(S.gpr(S.RAX), value);
    else cpu.setGpr(S.RAX, BigInt(value), size === 2 ? 16 : 32);
    return undefined;
  };

const output =
  (port: (cpu: Cpu, insn: Insn) => number, wide: boolean): Routine =>
  (cpu, insn) => {
    const size = wide ? wideSize(insn) : 1;
    const number = port(cpu, insn);
    checkPort(cpu, number, size);
    const value = cpu.get32(S.gpr(S.RAX));
    writePort(cpu, number, size, size === 1 ? value & 0xff : size === 2 ? value & 0xffff : value);
    return undefined;
  };

/** Runs `move` once, steps the index register by DF and the count by REP; 'again' while repetitions are left. */
const repeated =
  (index: number, wide: boolean, move: (cpu: Cpu, insn: Insn, size: 1 | 2 | 4) => void): Routine =>
  (cpu, insn) => {
    const { addressSize } = insn;
    const count = BigInt.asUintN(addressSize, cpu.gpr(S.RCX));
    const repeats = insn.repeat !== 0;
    if (repeats && count === 0n) return undefined;
    const size = wide ? wideSize(insn) : 1;
    move(cpu, insn, size);
    const step = (cpu.get32(S.EFLAGS_REST) & S.DF) === 0 ? BigInt(size) : -BigInt(size);
    cpu.setGpr(index, BigInt.asUintN(addressSize, cpu.gpr(index) + step), addressSize);
    if (!repeats) return undefined;
    cpu.setGpr(S.RCX, count - 1n, addressSize);
    return count > 1n ? 'again' : undefined;
  };

/** The port is read only when the destination can be written, so a fault loses no data. */
const insert = (cpu: Cpu, insn: Insn, size: 1 | 2 | 4): void => {
  const port = dxPort(cpu);
  checkPort(cpu, port, size);
  const at = cpu.mem.segmented(S.ES, BigInt.asUintN(insn.addressSize, cpu.gpr(S.RDI)), size, true);
  cpu.probeLinear(at, size, true);
  const value = readPort(cpu, port, size);
  if (size === 1) cpu.writeLinear8(at, value);
  else if (size === 2) cpu.writeLinear16(at, value);
  else cpu.writeLinear32(at, value);
};

const extract = (cpu: Cpu, insn: Insn, size: 1 | 2 | 4): void => {
  const port = dxPort(cpu);
  checkPort(cpu, port, size);
  const segment = insn.memory?.segment ?? S.DS;
  const at = cpu.mem.segmented(segment, BigInt.asUintN(insn.addressSize, cpu.gpr(S.RSI)), size, false);
  const value = size === 1 ? cpu.readLinear8(at) : size === 2 ? cpu.readLinear16(at) : cpu.readLinear32(at);
  writePort(cpu, port, size, value);
};

const PORT = { weight: 6 } as const;
const INS = { ends: true, rep: 'rep', ref: 'sdm:INS/INSB/INSW/INSD' } as const;
const OUTS = { ends: true, rep: 'rep', ref: 'sdm:OUTS/OUTSB/OUTSW/OUTSD' } as const;

export const ioRows: readonly Row[] = [
  routine('INS', '6C', 'Yb,DX', INS, repeated(S.RDI, false, insert)),
  routine('INS', '6D', 'Yz,DX', INS, repeated(S.RDI, true, insert)),
  routine('OUTS', '6E', 'DX,Xb', OUTS, repeated(S.RSI, false, extract)),
  routine('OUTS', '6F', 'DX,Xz', OUTS, repeated(S.RSI, true, extract)),
  usual('IN', 'E4 ib', 'AL,Ib', PORT, inMeaning, input(immediatePort, false)),
  usual('IN', 'E5 ib', 'rAX,Ib', PORT, inMeaning, input(immediatePort, true)),
  usual('IN', 'EC', 'AL,DX', PORT, inMeaning, input(dxPort, false)),
  usual('IN', 'ED', 'rAX,DX', PORT, inMeaning, input(dxPort, true)),
  usual('OUT', 'E6 ib', 'Ib,AL', PORT, outMeaning, output(immediatePort, false)),
  usual('OUT', 'E7 ib', 'Ib,rAX', PORT, outMeaning, output(immediatePort, true)),
  usual('OUT', 'EE', 'DX,AL', PORT, outMeaning, output(dxPort, false)),
  usual('OUT', 'EF', 'DX,rAX', PORT, outMeaning, output(dxPort, true)),
];
