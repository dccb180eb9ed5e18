/**
 * Instructions of ring 0 that the hypervisor performs for a guest when they raise #GP(0): port I/O, control and debug registers, MSRs, CLTS, WBINVD,
 * CLI, STI, XSETBV, and RDTSC or CPUID where they fault. Everything else keeps its #GP. `xen:arch/x86/pv/emul-priv-op.c`
 */
import { type Cpu, GuestFault, type Insn } from '../../../cpu/index.ts';
import * as S from '../../../cpu/state.ts';
import { readDebugRegister, setDebugRegister } from '../debug-registers.ts';
import { GP, inject, injectPageFault, PF, UD } from '../inject.ts';
import type { PvDomain } from '../pv-domain.ts';
import type { PvVcpu } from '../pv-vcpu.ts';
import { readControl, writeControl } from './control-registers.ts';
import { decodeTrapped } from './decode.ts';
import { instructionDone } from './done.ts';
import { ioplPermits, performPortIo } from './port-io.ts';

/** What became of an instruction: done, an exception in its place, the same again, or not one of ours. */
export type Outcome = 'done' | 'again' | 'protection' | 'undefined' | 'injected' | 'unhandled';

/** The instruction under way. */
export interface Trapped {
  readonly domain: PvDomain;
  readonly pv: PvVcpu;
  readonly cpu: Cpu;
  readonly insn: Insn;
  /** DR6 bits of I/O breakpoints it met. */
  breakpoints: number;
  /** Where the guest goes on. */
  next: bigint;
}

type Emulation = (t: Trapped) => Outcome;

/** Allowed in the guest's kernel only. */
const kernel =
  (inner: Emulation): Emulation =>
  (t) =>
    t.pv.kernelMode ? inner(t) : 'protection';

const gprWidth = ({ insn }: Trapped): 32 | 64 => (insn.codeSize === 64 ? 64 : 32);
const register = (t: Trapped): bigint => BigInt.asUintN(gprWidth(t), t.cpu.gpr(t.insn.rm));

/** edx:eax. */
const pair = (cpu: Cpu): bigint => (BigInt(cpu.get32(S.gpr(S.RDX))) << 32n) | BigInt(cpu.get32(S.gpr(S.RAX)));
const setPair = (cpu: Cpu, value: bigint): void => {
  cpu.setGpr(S.RAX, value & 0xffff_ffffn);
  cpu.setGpr(S.RDX, (value >> 32n) & 0xffff_ffffn);
};

/** CLI and STI do nothing where the virtual IOPL allows them: the guest's event mask is its own business. */
const interruptFlag: Emulation = ({ domain, pv }) => (ioplPermits(domain, pv) ? 'done' : 'unhandled');

/** RDTSC, RDTSCP: the kernel may always, others while CR4.TSD is clear. */
const timeStamp =
  (withAux: boolean): Emulation =>
  ({ domain, pv, cpu }) => {
    if (!pv.kernelMode && (pv.cr4 & 4n) !== 0n) return 'protection';
    setPair(cpu, domain.readTsc(pv));
    if (withAux) cpu.setGpr(S.RCX, BigInt(cpu.get32(S.TSC_AUX)));
    return 'done';
  };

const cpuidLeaves = new Uint32Array(4);

const EMULATIONS: Readonly<Record<string, Emulation>> = {
  'CLI FA': interruptFlag,
  'STI FB': interruptFlag,
  'CLTS 0F 06': kernel(({ domain, pv }) => {
    domain.setTaskSwitched(pv, false);
    return 'done';
  }),
  'WBINVD 0F 09': kernel(() => 'done'),
  'MOV 0F 20 /r': kernel((t) => {
    const value = readControl(t.domain, t.pv, t.cpu, t.insn.reg);
    if (value === undefined) return 'unhandled';
    t.cpu.setGpr(t.insn.rm, value, gprWidth(t));
    return 'done';
  }),
  'MOV 0F 22 /r': kernel((t) => writeControl(t.domain, t.pv, t.cpu, t.insn.reg, register(t))),
  'MOV 0F 21 /r': kernel((t) => {
    const value = readDebugRegister(t.pv, t.insn.reg);
    if (value === undefined) return 'undefined';
    t.cpu.setGpr(t.insn.rm, value, gprWidth(t));
    return 'done';
  }),
  'MOV 0F 23 /r': kernel((t) => {
    const result = setDebugRegister(t.pv, t.insn.reg, register(t));
    return result === 'done' ? 'done' : result === 'absent' ? 'undefined' : 'protection';
  }),
  'WRMSR 0F 30': kernel(({ domain, pv, cpu }) =>
    domain.msrs.write(pv, cpu.get32(S.gpr(S.RCX)), pair(cpu)) ? 'done' : 'unhandled',
  ),
  'RDMSR 0F 32': kernel(({ domain, pv, cpu }) => {
    const value = domain.msrs.read(pv, cpu.get32(S.gpr(S.RCX)));
    if (value === undefined) return 'protection';
    setPair(cpu, value);
    return 'done';
  }),
  'RDTSC 0F 31': timeStamp(false),
  'RDTSCP 0F 01 /F9': timeStamp(true),
  'CPUID 0F A2': ({ domain, pv, cpu }) => {
    if (pv.cpuidFaulting && !pv.kernelMode) return 'protection';
    domain.cpuid(pv, cpu.get32(S.gpr(S.RAX)), cpu.get32(S.gpr(S.RCX)), cpuidLeaves, false);
    [S.RAX, S.RBX, S.RCX, S.RDX].forEach((to, n) => {
      cpu.setGpr(to, BigInt(cpuidLeaves[n]));
    });
    return 'done';
  },
  'XSETBV NP 0F 01 /D1': kernel(({ pv, cpu, insn }) => {
    if ((pv.cr4 & (1n << 18n)) === 0n) return 'undefined';
    return atRing0(cpu, insn) ? 'done' : 'protection';
  }),
};

/** Runs an instruction's own routine as if in ring 0; false when it faults. */
function atRing0(cpu: Cpu, insn: Insn): boolean {
  const level = cpu.cpl;
  cpu.set32(S.CPL, 0);
  try {
    insn.row.call?.(cpu, insn);
    return true;
  } catch (e) {
    if (!(e instanceof GuestFault)) throw e;
    return false;
  } finally {
    cpu.set32(S.CPL, level);
  }
}

/** True when the #GP(0) at RIP was one of these instructions and is dealt with. */
export function emulatePrivileged(domain: PvDomain, pv: PvVcpu, cpu: Cpu): boolean {
  const insn = decodeTrapped(cpu);
  if (insn === undefined) return false;
  // The event mask is mirrored into EFLAGS.IF for the instruction; none of these looks at it.
  domain.domain.info.upcallMask(pv.vcpu.id, 'privileged-operation EFLAGS.IF');
  const trapped: Trapped = { domain, pv, cpu, insn, breakpoints: 0, next: cpu.advance(insn.length) };
  const emulation = EMULATIONS[`${insn.row.name} ${insn.row.encoding}`];
  const outcome = emulation === undefined ? performPortIo(trapped) : emulation(trapped);
  switch (outcome) {
    case 'done':
      instructionDone(domain, pv, cpu, trapped.next, trapped.breakpoints);
      return true;
    case 'again':
    case 'injected':
      return true;
    case 'protection':
      inject(domain, pv, cpu, GP, 0);
      return true;
    case 'undefined':
      inject(domain, pv, cpu, UD, undefined);
      return true;
    case 'unhandled':
      return false;
  }
}

/** Injects the fault an instruction's routine threw. */
export function injectFault({ domain, pv, cpu }: Trapped, fault: GuestFault): Outcome {
  const { vector, code } = fault;
  if (vector === PF) injectPageFault(domain, pv, cpu, cpu.get64(S.CR2), code ?? 0);
  else inject(domain, pv, cpu, vector, code);
  return 'injected';
}
