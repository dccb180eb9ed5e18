/**
 * Writes of a guest's kernel to a page table that is mapped read-only: the instruction is decoded, its write computed, and given to memory management,
 * which validates it as a hypercall's. `xen:arch/x86/pv/ro-page-fault.c`
 */
import { type Cpu, GuestFault, type Insn } from '../../../cpu/index.ts';
import * as S from '../../../cpu/state.ts';
import { injectPageFault } from '../inject.ts';
import type { PvDomain } from '../pv-domain.ts';
import type { PvVcpu } from '../pv-vcpu.ts';
import { type Alu, alu } from './alu.ts';
import { decodeTrapped } from './decode.ts';
import { instructionDone } from './done.ts';

/** A write under way. */
interface TableWrite {
  readonly domain: PvDomain;
  readonly pv: PvVcpu;
  readonly cpu: Cpu;
  readonly insn: Insn;
  readonly linear: bigint;
  readonly size: 1 | 2 | 4 | 8;
  /** What is there. */
  readonly old: bigint;
}

/** `again`: something else was there meanwhile, or repetitions are left; `refused`: not ours, or not valid. */
type Outcome = 'done' | 'again' | 'refused';
type Emulation = (w: TableWrite) => Outcome;

const put = (w: TableWrite, value: bigint, expected?: bigint): 'done' | 'failed' | 'refused' =>
  w.domain.mm.writeTable(w.pv, w.linear, w.size, BigInt.asUintN(w.size * 8, value), expected);

/** Register operand of the written width. */
function source({ cpu, insn, size }: TableWrite, register = insn.reg): bigint {
  if (size === 1 && !insn.rex && register >= 4 && register < 8) return (cpu.gpr(register - 4) >> 8n) & 0xffn;
  return BigInt.asUintN(size * 8, cpu.gpr(register));
}

function setRegister({ cpu, insn, size }: TableWrite, register: number, value: bigint): void {
  if (size > 1) {
    cpu.setGpr(register, value, size === 2 ? 16 : size === 4 ? 32 : 64);
    return;
  }
  const high = !insn.rex && register >= 4 && register < 8;
  cpu.set8(S.gpr(high ? register - 4 : register) + (high ? 1 : 0), Number(value));
}

const store =
  (value: (w: TableWrite) => bigint): Emulation =>
  (w) =>
    put(w, value(w)) === 'done' ? 'done' : 'refused';

/** Read, modify, write; flags are set once the write is made. */
const modify =
  (operation: Alu, operand: (w: TableWrite) => bigint): Emulation =>
  (w) => {
    const flags = w.cpu.eflags;
    const result = operation(w.old, operand(w), w.size * 8, flags);
    if (put(w, result.value, w.old) !== 'done') return 'refused';
    w.cpu.setArithmeticFlags(result.flags);
    return 'done';
  };

const immediate = (w: TableWrite): bigint => BigInt.asUintN(w.size * 8, w.insn.immediate);
const none = (): bigint => 0n;

const exchange: Emulation = (w) => {
  if (put(w, source(w), w.old) !== 'done') return 'refused';
  setRegister(w, w.insn.reg, w.old);
  return 'done';
};

const exchangeAdd: Emulation = (w) => {
  const result = alu.ADD(w.old, source(w), w.size * 8);
  if (put(w, result.value, w.old) !== 'done') return 'refused';
  setRegister(w, w.insn.reg, w.old);
  w.cpu.setArithmeticFlags(result.flags);
  return 'done';
};

const compareExchange: Emulation = (w) => {
  const expected = source(w, S.RAX);
  const compared = alu.CMP(expected, w.old, w.size * 8);
  if (expected === w.old) {
    if (put(w, source(w), expected) !== 'done') return 'refused';
  } else setRegister(w, S.RAX, w.old);
  w.cpu.setArithmeticFlags(compared.flags);
  return 'done';
};

/** CMPXCHG8B: the only doubled form that fits a page-table entry. */
const compareExchange8: Emulation = (w) => {
  const { cpu } = w;
  const pair = (high: number, low: number): bigint =>
    (BigInt(cpu.get32(S.gpr(high))) << 32n) | BigInt(cpu.get32(S.gpr(low)));
  const expected = pair(S.RDX, S.RAX);
  const same = expected === w.old;
  if (same) {
    if (put(w, pair(S.RCX, S.RBX), expected) !== 'done') return 'refused';
  } else {
    cpu.setGpr(S.RAX, w.old & 0xffff_ffffn);
    cpu.setGpr(S.RDX, w.old >> 32n);
  }
  const flags = cpu.eflags;
  cpu.setArithmeticFlags(same ? flags | S.ZF : flags & ~S.ZF);
  return 'done';
};

/** One repetition of STOS or MOVS. */
const string =
  (value: (w: TableWrite) => bigint, movesSource: boolean): Emulation =>
  (w) => {
    const { cpu, insn } = w;
    if (put(w, value(w)) !== 'done') return 'refused';
    const step = (cpu.get32(S.EFLAGS_REST) & S.DF) === 0 ? BigInt(w.size) : -BigInt(w.size);
    const width = insn.addressSize;
    for (const n of movesSource ? [S.RDI, S.RSI] : [S.RDI])
      cpu.setGpr(n, BigInt.asUintN(width, cpu.gpr(n) + step), width);
    if (insn.repeat === 0) return 'done';
    const left = BigInt.asUintN(width, cpu.gpr(S.RCX)) - 1n;
    cpu.setGpr(S.RCX, left, width);
    return left > 0n ? 'again' : 'done';
  };

/** MOVS: what its source holds. */
function stringSource({ cpu, insn, size }: TableWrite): bigint {
  const offset = BigInt.asUintN(insn.addressSize, cpu.gpr(S.RSI));
  const at = cpu.mem.segmented(insn.memory?.segment ?? S.DS, offset, size, false);
  return size === 8 ? cpu.readLinear64(at) : BigInt(cpu.mem.read(at, size));
}

/** Names of arithmetic rows whose first operand is the memory one, and what the second is by opcode. */
const ARITHMETIC = ['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR'] as const;
const BIT_TESTS = ['BTS', 'BTR', 'BTC'] as const;

const byName: Readonly<Record<string, Emulation>> = {
  MOV: store((w) =>
    w.insn.row.operands.startsWith('E') && w.insn.row.operands.includes(',I') ? immediate(w) : source(w),
  ),
  MOVNTI: store(source),
  XCHG: exchange,
  XADD: exchangeAdd,
  CMPXCHG: compareExchange,
  CMPXCHG8B: compareExchange8,
  INC: modify(alu.INC, none),
  DEC: modify(alu.DEC, none),
  NOT: modify(alu.NOT, none),
  NEG: modify(alu.NEG, none),
  STOS: string((w) => source(w, S.RAX), false),
  MOVS: string(stringSource, true),
  ...Object.fromEntries(
    ARITHMETIC.map((name) => [
      name,
      modify(alu[name], (w) => (w.insn.row.operands.includes(',I') ? immediate(w) : source(w))),
    ]),
  ),
  ...Object.fromEntries(
    BIT_TESTS.map((name) => [
      name,
      modify(alu[name], (w) => (w.insn.row.operands.includes(',I') ? w.insn.immediate & 0xffn : source(w))),
    ]),
  ),
};

/** Bytes the instruction writes; undefined for what cannot be a page-table entry. */
function writtenSize(insn: Insn): 1 | 2 | 4 | 8 | undefined {
  const { row } = insn;
  if (row.name === 'CMPXCHG8B') return 8;
  if (/^[EMOXY]b/.test(row.operands)) return 1;
  return insn.operandSize === 16 ? 2 : insn.operandSize === 32 ? 4 : 8;
}

/** Linear address the instruction writes to. */
function target(cpu: Cpu, insn: Insn, size: number): bigint | undefined {
  if (insn.row.name === 'STOS' || insn.row.name === 'MOVS')
    return cpu.mem.segmented(S.ES, BigInt.asUintN(insn.addressSize, cpu.gpr(S.RDI)), size, true);
  return insn.memory === undefined ? undefined : cpu.effectiveAddress(insn, size, true);
}

/** Bit tests with a register reach beyond their operand: by whole words. */
function bitOffset(cpu: Cpu, insn: Insn, size: number): bigint {
  if (!insn.row.name.startsWith('BT') || insn.row.operands.includes(',I')) return 0n;
  const bits = size * 8;
  const offset = BigInt.asIntN(bits, cpu.gpr(insn.reg));
  return (offset >> BigInt(Math.log2(bits))) * BigInt(size);
}

/** True when the write at `fault` (the address of the page fault) was made, or another fault took its place. */
export function emulateTableWrite(domain: PvDomain, pv: PvVcpu, cpu: Cpu, fault: bigint): boolean {
  const insn = decodeTrapped(cpu);
  const emulation = insn && byName[insn.row.name];
  const size = insn && writtenSize(insn);
  if (insn === undefined || emulation === undefined || size === undefined) return false;
  try {
    const base = target(cpu, insn, size);
    if (base === undefined) return false;
    const linear = BigInt.asUintN(cpu.code64 ? 64 : 32, base + bitOffset(cpu, insn, size));
    if ((linear & BigInt(size - 1)) !== 0n || linear >> 12n !== fault >> 12n) return false;
    const old = size === 8 ? cpu.readLinear64(linear) : BigInt(cpu.mem.read(linear, size));
    const outcome = emulation({ domain, pv, cpu, insn, linear, size, old });
    if (outcome === 'refused') return false;
    if (outcome === 'done') instructionDone(domain, pv, cpu, cpu.advance(insn.length));
    return true;
  } catch (e) {
    if (!(e instanceof GuestFault)) throw e;
    if (e.vector !== 14) return false;
    injectPageFault(domain, pv, cpu, cpu.get64(S.CR2), e.code ?? 0);
    return true;
  } finally {
    cpu.mem.endRoutine();
  }
}
