/** Model-specific registers that are processor state; the platform answers for the rest (key `sdm:4`). */
import * as MSR from '../../abi/x86/msr.ts';
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { EFER_LMA, EFER_LME } from './control.ts';
import { canonical } from './descriptor.ts';
import { fault, GP } from './fault.ts';

interface Register {
  /** Place in the state block. */
  readonly at: number;
  /** Values that may be written; others are #GP(0). */
  readonly accepts: (value: bigint) => boolean;
}

const any = (): boolean => true;
const low32 = (value: bigint): boolean => value >> 32n === 0n;

/** Memory types: uncacheable, write combining, write through, write protected, write back, uncached. */
const isPat = (value: bigint): boolean => {
  for (let n = 0n; n < 64n; n += 8n) {
    const type = (value >> n) & 0xffn;
    if (type > 7n || type === 2n || type === 3n) return false;
  }
  return true;
};

const OWN: ReadonlyMap<number, Register> = new Map([
  [MSR.IA32_STAR, { at: S.STAR, accepts: any }],
  [MSR.IA32_LSTAR, { at: S.LSTAR, accepts: canonical }],
  [MSR.IA32_CSTAR, { at: S.CSTAR, accepts: canonical }],
  [MSR.IA32_FMASK, { at: S.SFMASK, accepts: low32 }],
  [MSR.IA32_FS_BASE, { at: S.seg(S.FS), accepts: canonical }],
  [MSR.IA32_GS_BASE, { at: S.seg(S.GS), accepts: canonical }],
  [MSR.IA32_KERNEL_GS_BASE, { at: S.KERNEL_GS_BASE, accepts: canonical }],
  [MSR.IA32_SYSENTER_CS, { at: S.SYSENTER_CS, accepts: any }],
  [MSR.IA32_SYSENTER_ESP, { at: S.SYSENTER_ESP, accepts: canonical }],
  [MSR.IA32_SYSENTER_EIP, { at: S.SYSENTER_EIP, accepts: canonical }],
  [MSR.IA32_PAT, { at: S.PAT, accepts: isPat }],
  [MSR.IA32_TSC_AUX, { at: S.TSC_AUX, accepts: low32 }],
  // LBR and BTF.
  [MSR.IA32_DEBUGCTL, { at: S.DEBUGCTL, accepts: (value) => (value & ~3n) === 0n }],
]);

/** EFER: reserved bits and a change of LME under paging are #GP(0); LMA is read-only. */
const writeEfer = (cpu: Cpu, value: bigint): void => {
  const old = cpu.get32(S.EFER);
  if ((value & ~(cpu.model.eferMask | BigInt(EFER_LMA))) !== 0n) throw fault(GP, 0);
  const next = (Number(value) & ~EFER_LMA) | (old & EFER_LMA);
  if (((next ^ old) & EFER_LME) !== 0 && cpu.paging) throw fault(GP, 0);
  cpu.set64(S.EFER, BigInt(next));
  cpu.flushTlb(true);
  cpu.updateMode();
};

/** RDMSR at any privilege; #GP(0) when nobody knows the register. */
export const readMsr = (cpu: Cpu, index: number): bigint => {
  if (index === MSR.IA32_EFER) return cpu.get64(S.EFER);
  const own = OWN.get(index);
  if (own !== undefined) return cpu.get64(own.at);
  const value = cpu.traps.rdmsr(cpu, index);
  if (value === undefined) throw fault(GP, 0);
  return value;
};

/** WRMSR at any privilege; #GP(0) when the register or the value is refused. */
export const writeMsr = (cpu: Cpu, index: number, value: bigint): void => {
  if (index === MSR.IA32_EFER) {
    writeEfer(cpu, value);
    return;
  }
  const own = OWN.get(index);
  if (own !== undefined) {
    if (!own.accepts(value)) throw fault(GP, 0);
    cpu.set64(own.at, value);
  } else if (!cpu.traps.wrmsr(cpu, index, value)) throw fault(GP, 0);
};
