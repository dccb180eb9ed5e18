/** Port I/O. String forms run one repetition a call. */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import * as S from '../state.ts';
import { checkPort, readPort, writePort } from '../system/port-access.ts';
import { type Routine, type Row, routine } from './row.ts';

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

const ENDS = { ends: true } as const;
const INS = { ends: true, rep: 'rep', ref: 'sdm:INS/INSB/INSW/INSD' } as const;
const OUTS = { ends: true, rep: 'rep', ref: 'sdm:OUTS/OUTSB/OUTSW/OUTSD' } as const;

export const ioRows: readonly Row[] = [
  routine('INS', '6C', 'Yb,DX', INS, repeated(S.RDI, false, insert)),
  routine('INS', '6D', 'Yz,DX', INS, repeated(S.RDI, true, insert)),
  routine('OUTS', '6E', 'DX,Xb', OUTS, repeated(S.RSI, false, extract)),
  routine('OUTS', '6F', 'DX,Xz', OUTS, repeated(S.RSI, true, extract)),
  routine('IN', 'E4 ib', 'AL,Ib', ENDS, input(immediatePort, false)),
  routine('IN', 'E5 ib', 'rAX,Ib', ENDS, input(immediatePort, true)),
  routine('IN', 'EC', 'AL,DX', ENDS, input(dxPort, false)),
  routine('IN', 'ED', 'rAX,DX', ENDS, input(dxPort, true)),
  routine('OUT', 'E6 ib', 'Ib,AL', ENDS, output(immediatePort, false)),
  routine('OUT', 'E7 ib', 'Ib,rAX', ENDS, output(immediatePort, true)),
  routine('OUT', 'EE', 'DX,AL', ENDS, output(dxPort, false)),
  routine('OUT', 'EF', 'DX,rAX', ENDS, output(dxPort, true)),
];
