/**
 * Model-specific registers of HVM guests that are not the processor's own state. Unknown ones are #GP, as on Xen without msr_relaxed.
 */
import * as M from '../abi/x86/msr.ts';
import { gfn as asGfn } from '../base/int.ts';
import type { CpuidPolicy } from './cpuid-policy.ts';
import { writeHypercallPage } from './hypercall-page.ts';
import { MAX_GFN } from './memory/p2m.ts';
import { Mtrr } from './mtrr.ts';
import type { Vcpu } from './vcpu.ts';
import type { Viridian } from './viridian/viridian.ts';

/** The part of the local APIC that MSRs reach; the platform's LAPIC satisfies it. */
export interface ApicMsrs {
  readonly apicBase: bigint;
  writeApicBase(value: bigint): boolean;
  readonly x2apic: boolean;
  /** `offset` is the xAPIC register offset; undefined and false mean #GP. */
  x2apicRead(offset: number): bigint | undefined;
  x2apicWrite(offset: number, value: bigint): boolean;
  readTscDeadline(): bigint;
  writeTscDeadline(value: bigint): void;
}

/** The vCPU's time-stamp counter. */
export interface TscPort {
  read(): bigint;
  write(value: bigint): void;
}

/** Fast strings; branch trace store and precise event sampling are unavailable. */
const MISC_ENABLE = 0x1801n;
/** Machine check as guests see it: two banks, no MCG_CTL. */
const MCG_CAP = 0x100_0802n;
const MC_BANKS = 2;
const FEATURE_CONTROL_LOCKED = 1n;
const CPUID_FAULTING = 1n << 31n;

/** Performance counters: absent, but the hypervisor lets guests read zeros and drops writes. */
const pmu: readonly (readonly [number, number])[] = [
  [0xc1, 0xc8],
  [0x186, 0x18d],
  [0x309, 0x30b],
  [0x38d, 0x390],
  [0x3f1, 0x3f1],
  [0x600, 0x600],
];
const isPmu = (index: number): boolean => pmu.some(([first, last]) => index >= first && index <= last);

export class VcpuMsrs {
  readonly mtrr: Mtrr;
  private readonly vcpu: Vcpu;
  private readonly policy: CpuidPolicy;
  private readonly apic: ApicMsrs;
  private readonly tsc: TscPort;
  private mcgStatus = 0n;
  private readonly mcCtl2 = [0n, 0n];
  /** Hyper-V registers, when the domain has that interface. */
  viridian: Viridian | undefined;
  /** CPUID faults outside supervisor mode (MSR_MISC_FEATURES_ENABLES bit 0). */
  cpuidFaulting = false;

  constructor(vcpu: Vcpu, policy: CpuidPolicy, apic: ApicMsrs, tsc: TscPort) {
    this.vcpu = vcpu;
    this.policy = policy;
    this.apic = apic;
    this.tsc = tsc;
    this.mtrr = new Mtrr(vcpu.domain.config.pvh);
  }

  /** Undefined means #GP(0). */
  read(index: number): bigint | undefined {
    if (index >= M.IA32_X2APIC_FIRST && index <= M.IA32_X2APIC_LAST) {
      return this.apic.x2apic ? this.apic.x2apicRead((index - M.IA32_X2APIC_FIRST) << 4) : undefined;
    }
    if (index >>> 16 === 0x4000) return this.readHypervisor(index);
    if (isPmu(index)) return 0n;
    const mtrr = this.mtrr.read(index);
    if (mtrr !== undefined) return mtrr;
    switch (index) {
      case M.IA32_APIC_BASE:
        return this.apic.apicBase;
      case M.IA32_TSC:
        return this.tsc.read();
      case M.IA32_TSC_ADJUST:
        return this.vcpu.tscAdjust;
      case M.IA32_MISC_ENABLE:
        return MISC_ENABLE;
      case M.IA32_TSC_DEADLINE:
        return this.policy.has('TSC_DEADLINE') ? this.apic.readTscDeadline() : undefined;
      case M.IA32_FEATURE_CONTROL:
        return FEATURE_CONTROL_LOCKED;
      case M.IA32_PLATFORM_ID:
      case M.IA32_BIOS_SIGN_ID:
      case M.IA32_PERF_STATUS:
      case M.IA32_PERF_CTL:
        return 0n;
      case M.MSR_PLATFORM_INFO:
        return CPUID_FAULTING;
      case M.MSR_MISC_FEATURES_ENABLES:
        return this.cpuidFaulting ? 1n : 0n;
      case M.IA32_MCG_CAP:
        return MCG_CAP;
      case M.IA32_MCG_STATUS:
        return this.mcgStatus;
      default:
        return this.readBank(index);
    }
  }

  /** False means #GP(0). */
  write(index: number, value: bigint): boolean {
    if (index >= M.IA32_X2APIC_FIRST && index <= M.IA32_X2APIC_LAST) {
      return this.apic.x2apic && this.apic.x2apicWrite((index - M.IA32_X2APIC_FIRST) << 4, value);
    }
    if (index >>> 16 === 0x4000) return this.writeHypervisor(index, value);
    if (isPmu(index)) return true;
    const mtrr = this.mtrr.write(index, value);
    if (mtrr !== undefined) return mtrr;
    switch (index) {
      case M.IA32_APIC_BASE:
        return this.apic.writeApicBase(value);
      case M.IA32_TSC:
        this.vcpu.tscAdjust = BigInt.asUintN(64, this.vcpu.tscAdjust + value - this.tsc.read());
        this.tsc.write(value);
        return true;
      case M.IA32_TSC_ADJUST:
        this.tsc.write(this.tsc.read() + value - this.vcpu.tscAdjust);
        this.vcpu.tscAdjust = value;
        return true;
      case M.IA32_MISC_ENABLE:
        // Writes that change nothing are tolerated.
        return value === MISC_ENABLE;
      case M.IA32_TSC_DEADLINE:
        if (!this.policy.has('TSC_DEADLINE')) return false;
        this.apic.writeTscDeadline(value);
        return true;
      case M.IA32_BIOS_SIGN_ID:
      case M.IA32_PERF_CTL:
        return true;
      case M.MSR_MISC_FEATURES_ENABLES:
        if (value > 1n) return false;
        this.cpuidFaulting = value === 1n;
        return true;
      case M.IA32_MCG_STATUS:
        this.mcgStatus = value;
        return true;
      case M.IA32_MCG_CAP:
        // A capability register: the hypervisor ignores the write.
        return true;
      default:
        return this.writeBank(index, value);
    }
  }

  private readBank(index: number): bigint | undefined {
    const ctl2 = index - 0x280;
    if (ctl2 >= 0 && ctl2 < MC_BANKS) return this.mcCtl2[ctl2];
    const bank = (index - M.IA32_MC0_CTL) >> 2;
    if (bank < 0 || bank >= MC_BANKS) return undefined;
    return (index & 3) === 0 ? (1n << 64n) - 1n : 0n;
  }

  private writeBank(index: number, value: bigint): boolean {
    const ctl2 = index - 0x280;
    if (ctl2 >= 0 && ctl2 < MC_BANKS) {
      this.mcCtl2[ctl2] = value & 0x4000_7fffn;
      return true;
    }
    const bank = (index - M.IA32_MC0_CTL) >> 2;
    if (bank < 0 || bank >= MC_BANKS) return false;
    // Status, address and misc registers may only be cleared.
    return (index & 3) === 0 || value === 0n;
  }

  /** First of the hypervisor's own registers: the hypercall page. */
  private get hypercallMsr(): number {
    return this.viridian === undefined ? 0x4000_0000 : 0x4000_0200;
  }

  private readHypervisor(index: number): bigint | undefined {
    if (this.viridian?.ownsMsr(index) === true) return this.viridian.readMsr(this.vcpu.id, index);
    return index === this.hypercallMsr ? 0n : undefined;
  }

  private writeHypervisor(index: number, value: bigint): boolean {
    if (this.viridian?.ownsMsr(index) === true) return this.viridian.writeMsr(this.vcpu.id, index, value);
    return index === this.hypercallMsr && this.placeHypercallPage(value);
  }

  /** #GP: a page index other than 0, or no writable RAM at the frame. Latches the width of the shared areas from the writer's mode. */
  private placeHypercallPage(value: bigint): boolean {
    const gfn = value >> 12n;
    const { domain, cpu } = this.vcpu;
    if ((value & 0xfffn) !== 0n || gfn > BigInt(MAX_GFN)) return false;
    const frame = domain.p2m.ramAt(Number(gfn));
    if (frame === 0 || !domain.memory.isWritable(asGfn(Number(gfn)))) return false;
    writeHypercallPage(domain.memory.frameBytes(frame));
    // Translations of what the page held before are stale.
    domain.memory.onRemap();
    domain.info.latchWidth(!cpu.code64);
    return true;
  }
}
