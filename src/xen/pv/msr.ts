/** Model-specific registers as a PV guest's kernel finds them through the hypervisor (`xen:arch/x86/pv/emul-priv-op.c#read_msr`, `xen:arch/x86/msr.c`). */
import * as M from '../../abi/x86/msr.ts';
import * as S from '../../cpu/state.ts';
import type { CpuidPolicy } from '../cpuid-policy.ts';
import { canonical } from './address-space.ts';
import { writePvHypercallPage } from './hypercall-page.ts';
import { GP, unhandled } from './inject.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

/** Fast strings, branch trace store and precise sampling unavailable, xTPR messages off. */
const MISC_ENABLE = 0x80_1801n;
/** The memory types the hypervisor itself uses. */
const XEN_MSR_PAT = 0x501_0007_0406n;
const FEATURE_CONTROL_LOCK = 1n;
const APIC_DEFAULT_BASE = 0xfee0_0000n;
const IA32_PERF_CAPABILITIES = 0x345,
  IA32_THERM_STATUS = 0x19c;
/** Two banks of machine checks, as for every guest. */
const MCG_CAP = 0x100_0802n;
const MC_BANKS = 2;
const IA32_MC0_CTL2 = 0x280;
/** Write only, in effect: it reads as 0. */
const HYPERCALL_PAGE_MSR = 0x4000_0000;
/** SCE, LME, LMA. */
const EFER_LONG = 0x501n;

/** Registers that a processor of this model has though no guest may use them: they read as 0 while the guest has no #GP handler. */
const HOST_ONLY: ReadonlySet<number> = new Set([
  M.IA32_SPEC_CTRL,
  M.IA32_ARCH_CAPABILITIES,
  M.IA32_SYSENTER_CS,
  M.IA32_SYSENTER_ESP,
  M.IA32_SYSENTER_EIP,
  M.IA32_DEBUGCTL,
  M.IA32_MTRRCAP,
  M.IA32_MTRR_DEF_TYPE,
  M.IA32_STAR,
  M.IA32_LSTAR,
  M.IA32_CSTAR,
  M.IA32_FMASK,
  M.IA32_TSC_ADJUST,
  M.IA32_TSC_DEADLINE,
]);

/** Performance counters read as 0 and ignore writes. */
const COUNTERS: readonly (readonly [number, number])[] = [
  [0xc1, 0xc8],
  [0x186, 0x18d],
  [0x309, 0x30b],
  [0x38d, 0x390],
];
const isCounter = (index: number): boolean => COUNTERS.some(([first, last]) => index >= first && index <= last);

export class PvMsrs {
  private readonly domain: PvDomain;
  private readonly policy: CpuidPolicy;
  private mcgStatus = 0n;

  constructor(domain: PvDomain, policy: CpuidPolicy) {
    this.domain = domain;
    this.policy = policy;
  }

  /** Undefined means #GP(0). */
  read(pv: PvVcpu, index: number): bigint | undefined {
    const value = this.known(pv, index);
    if (value === undefined && HOST_ONLY.has(index) && unhandled(pv, GP)) return 0n;
    return value;
  }

  private known(pv: PvVcpu, index: number): bigint | undefined {
    if (isCounter(index)) return 0n;
    const { cpu } = pv;
    switch (index) {
      case M.IA32_APIC_BASE:
        return M.APIC_BASE_ENABLE | APIC_DEFAULT_BASE | (pv.vcpu.id === 0 ? M.APIC_BASE_BSP : 0n);
      case M.IA32_FS_BASE:
        return pv.width === 64 ? cpu.get64(S.seg(S.FS)) : undefined;
      case M.IA32_GS_BASE:
        return pv.width === 64 ? cpu.get64(S.seg(S.GS)) : undefined;
      case M.IA32_KERNEL_GS_BASE:
        return pv.width === 64 ? pv.gsBaseUser : undefined;
      case M.IA32_TSC:
        return this.domain.readTsc(pv);
      case M.IA32_EFER:
        return pv.width === 64 ? cpu.get64(S.EFER) : cpu.get64(S.EFER) & ~EFER_LONG;
      case M.IA32_PAT:
        return XEN_MSR_PAT;
      case M.IA32_MISC_ENABLE:
        return MISC_ENABLE;
      case M.IA32_FEATURE_CONTROL:
        return FEATURE_CONTROL_LOCK;
      case M.IA32_PLATFORM_ID:
      case M.IA32_BIOS_SIGN_ID:
      case M.IA32_PERF_STATUS:
      case M.IA32_PERF_CTL:
      case IA32_PERF_CAPABILITIES:
      case IA32_THERM_STATUS:
        return 0n;
      case M.MSR_PLATFORM_INFO:
        return M.PLATFORM_INFO_CPUID_FAULTING;
      case M.MSR_MISC_FEATURES_ENABLES:
        return pv.cpuidFaulting ? M.MISC_FEATURES_CPUID_FAULTING : 0n;
      case M.IA32_TSC_AUX:
        return this.policy.has('RDTSCP') ? cpu.get64(S.TSC_AUX) : undefined;
      case HYPERCALL_PAGE_MSR:
        return 0n;
      case M.IA32_MCG_CAP:
        return MCG_CAP;
      case M.IA32_MCG_STATUS:
        return this.mcgStatus;
      default:
        return bankRead(index);
    }
  }

  /** False means #GP(0). */
  write(pv: PvVcpu, index: number, value: bigint): boolean {
    if (isCounter(index)) return true;
    const { cpu } = pv;
    switch (index) {
      case M.IA32_FS_BASE:
      case M.IA32_GS_BASE:
      case M.IA32_KERNEL_GS_BASE:
        return this.writeBase(pv, index, value);
      case M.IA32_EFER:
        return value === this.known(pv, index);
      case M.IA32_MISC_ENABLE:
      case M.IA32_BIOS_SIGN_ID:
      case M.IA32_PERF_CTL:
      case M.IA32_MCG_CAP:
        return true;
      case M.MSR_MISC_FEATURES_ENABLES:
        if ((value & ~M.MISC_FEATURES_CPUID_FAULTING) !== 0n) return false;
        pv.cpuidFaulting = value !== 0n;
        return true;
      case M.IA32_TSC_AUX:
        if (!this.policy.has('RDTSCP') || value >> 32n !== 0n) return false;
        cpu.set64(S.TSC_AUX, value);
        return true;
      case M.IA32_MCG_STATUS:
        this.mcgStatus = value;
        return true;
      case HYPERCALL_PAGE_MSR:
        return this.placeHypercallPage(value);
      default:
        return bankRead(index) !== undefined && ((index & 3) === 0 || index < M.IA32_MC0_CTL || value === 0n);
    }
  }

  /** Bases that are not canonical are refused. */
  private writeBase(pv: PvVcpu, index: number, value: bigint): boolean {
    if (pv.width === 32 || !canonical(value)) return false;
    if (index === M.IA32_FS_BASE) pv.cpu.set64(S.seg(S.FS), value);
    else if (index === M.IA32_GS_BASE) pv.cpu.set64(S.seg(S.GS), value);
    else {
      pv.gsBaseUser = value;
      pv.cpu.set64(S.KERNEL_GS_BASE, value);
    }
    return true;
  }

  /** The frame must be the domain's, and not in use as a page or descriptor table. */
  private placeHypercallPage(value: bigint): boolean {
    const { domain } = this.domain;
    const mfn = value >> 12n;
    if ((value & 0xfffn) !== 0n || mfn >= 1n << 40n) return false;
    const held = domain.info.holds.hold(Number(mfn));
    if (typeof held === 'number') return false;
    writePvHypercallPage(domain.memory.frameBytes(held.frame), this.domain.width);
    domain.info.holds.release(held.frame);
    domain.memory.onRemap();
    return true;
  }
}

function bankRead(index: number): bigint | undefined {
  if (index >= IA32_MC0_CTL2 && index < IA32_MC0_CTL2 + MC_BANKS) return 0n;
  const bank = (index - M.IA32_MC0_CTL) >> 2;
  if (bank < 0 || bank >= MC_BANKS) return undefined;
  return (index & 3) === 0 ? (1n << 64n) - 1n : 0n;
}
