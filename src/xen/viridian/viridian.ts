/**
 * Hyper-V enlightenments of an HVM domain (`xen:arch/x86/hvm/viridian/viridian.c`): CPUID leaves 0x40000000 to 0x40000006 and MSRs
 * 0x40000000 to 0x400001ff. The CPUID and MSR sinks call {@link Viridian.cpuid}, {@link Viridian.readMsr} and {@link Viridian.writeMsr}.
 */
import { type VcpuId, vcpuId } from '../../base/int.ts';
import * as B from './bits.ts';
import type { ViridianFeatures, ViridianHost } from './host.ts';
import { type ViridianCall, viridianHypercall } from './hypercalls.ts';
import { ReferenceTime, type ReferenceTimeState } from './reference-time.ts';
import { type StimerState, SyntheticTimers } from './stimer.ts';
import { Synic, type SynicState } from './synic.ts';

/** LAPIC timer input. */
const APIC_HZ = 100_000_000n;

interface VcpuPart {
  readonly synic: Synic;
  readonly timers: SyntheticTimers;
  readonly crash: bigint[];
}

export interface ViridianState {
  readonly version: 1;
  readonly guestOsId: bigint;
  readonly hypercallPage: bigint;
  readonly time: ReferenceTimeState;
  readonly vcpus: readonly {
    readonly synic: SynicState;
    readonly timers: readonly StimerState[];
    readonly crash: readonly bigint[];
  }[];
}

export class Viridian implements ViridianFeatures {
  readonly time: ReferenceTime;
  private readonly host: ViridianHost;
  private readonly mask: number;
  private readonly vcpus: readonly VcpuPart[];
  private guestOsId = 0n;
  private hypercallPage = 0n;

  /** `mask` is HVM_PARAM_VIRIDIAN. */
  constructor(host: ViridianHost, mask: number) {
    this.host = host;
    this.mask = mask;
    this.time = new ReferenceTime(host);
    this.vcpus = Array.from({ length: host.vcpus }, (_, id) => {
      const synic = new Synic(vcpuId(id), host, this);
      return {
        synic,
        timers: new SyntheticTimers(host, this.time, synic),
        crash: new Array<bigint>(B.CRASH_PARAMETERS).fill(0n),
      };
    });
  }

  has(feature: B.ViridianFeature): boolean {
    return ((this.mask >> B.FEATURES[feature]) & 1) !== 0;
  }

  /** Fills eax, ebx, ecx, edx of a leaf from 0x40000000; leaves without content are zero. */
  cpuid(leaf: number, out: Uint32Array): void {
    out.fill(0);
    const set = (eax: number, ebx = 0, ecx = 0, edx = 0): void =>
      out.set([eax, ebx, ecx, edx].map((word) => word >>> 0));
    switch (leaf - B.CPUID_FIRST) {
      case 0:
        set(B.CPUID_LAST, text('Micr'), text('osof'), text('t Hv'));
        break;
      case 1:
        set(text('Hv#1'));
        break;
      case 2:
        if (this.guestOsId !== 0n) set(B.VERSION_BUILD, B.VERSION);
        break;
      case 3:
        set(this.privileges(), 0, 0, this.capabilities());
        break;
      case 4:
        // Recommendations wait until the guest says it is an OS of at least the NT line (id 4).
        if (this.guestOsId !== 0n && osOf(this.guestOsId) >= 4n) set(this.recommendations(), B.SPIN_RETRIES);
        break;
      case 5:
        if (this.has('no_vp_limit')) set(0xffff_ffff);
        break;
      case 6:
        set(B.NESTED_PAGING);
    }
  }

  /** Whether an MSR index belongs here. */
  ownsMsr(index: number): boolean {
    return index >= B.MSR_FIRST && index <= B.MSR_LAST;
  }

  /** RDMSR; undefined is #GP: unknown, write-only, or the feature is off. */
  readMsr(vcpu: VcpuId, index: number): bigint | undefined {
    const part = this.part(vcpu);
    const frequency = (hz: bigint): bigint | undefined => (this.has('no_freq') ? undefined : hz);
    switch (index) {
      case B.GUEST_OS_ID:
        return this.guestOsId;
      case B.HYPERCALL:
        return this.hypercallPage;
      case B.VP_INDEX:
        return BigInt(vcpu);
      case B.TSC_FREQUENCY:
        return frequency(this.host.tscKhz * 1000n);
      case B.APIC_FREQUENCY:
        return frequency(APIC_HZ);
      case B.TIME_REF_COUNT:
        return this.has('time_ref_count') ? this.time.now() : undefined;
      case B.REFERENCE_TSC:
        return this.has('reference_tsc') ? this.time.page : undefined;
      case B.CRASH_CTL:
        return B.CRASH_NOTIFY;
    }
    if (isCrashParameter(index)) return part.crash[index - B.CRASH_P0];
    const timer = stimerOf(index);
    if (timer) {
      if (!this.has('stimer')) return undefined;
      return timer.count ? part.timers.readCount(timer.index) : part.timers.readConfig(timer.index);
    }
    return part.synic.read(index);
  }

  /** WRMSR; false is #GP: unknown, read-only, or the feature is off. */
  writeMsr(vcpu: VcpuId, index: number, value: bigint): boolean {
    const part = this.part(vcpu);
    switch (index) {
      case B.GUEST_OS_ID:
        this.guestOsId = value;
        return true;
      case B.HYPERCALL:
        this.hypercallPage = value;
        if ((value & B.PAGE_ENABLED) !== 0n) this.fillHypercallPage(value >> 12n);
        return true;
      case B.VP_INDEX:
        return true;
      case B.REFERENCE_TSC:
        if (!this.has('reference_tsc')) return false;
        this.time.writePage(value);
        return true;
      case B.CRASH_CTL:
        if ((value & B.CRASH_NOTIFY) !== 0n) this.host.crashed(vcpu, [...part.crash]);
        return true;
    }
    if (isCrashParameter(index)) {
      part.crash[index - B.CRASH_P0] = value;
      return true;
    }
    const timer = stimerOf(index);
    if (timer) {
      if (!this.has('stimer')) return false;
      if (timer.count) part.timers.writeCount(timer.index, value);
      else part.timers.writeConfig(timer.index, value);
      return true;
    }
    const done = part.synic.write(index, value);
    if (done && (index === B.EOM || index === B.SIMP)) part.timers.poll();
    return done;
  }

  /** Before interrupts of a vCPU are looked at: delivers timer messages that waited for their slot. */
  poll(vcpu: VcpuId): void {
    this.part(vcpu).timers.poll();
  }

  /** Whether a vector needs no EOI on a vCPU. */
  isAutoEoi(vcpu: VcpuId, vector: number): boolean {
    return this.has('synic') && this.part(vcpu).synic.isAutoEoi(vector);
  }

  /** A hypercall with bit 31 of eax set, as the page makes it. 64-bit: rcx, rdx, r8; 32-bit: edx:eax, ebx:ecx, edi:esi. */
  hypercall(vcpu: VcpuId, call: ViridianCall): bigint {
    return viridianHypercall(this.host, vcpu, call);
  }

  private part(vcpu: VcpuId): VcpuPart {
    const part = this.vcpus[vcpu];
    if (!part) throw new RangeError(`vCPU ${vcpu} does not exist`);
    return part;
  }

  private select(...pairs: readonly (readonly [B.ViridianFeature, number])[]): number {
    return pairs.reduce((bits, [feature, bit]) => (this.has(feature) ? bits | bit : bits), 0);
  }

  private privileges(): number {
    return (
      B.ACCESS_INTR_CTRL |
      B.ACCESS_HYPERCALL |
      B.ACCESS_VP_INDEX |
      (this.has('no_freq') ? 0 : B.ACCESS_FREQUENCY) |
      this.select(
        ['time_ref_count', B.ACCESS_TIME_REF_COUNT],
        ['reference_tsc', B.ACCESS_REFERENCE_TSC],
        ['synic', B.ACCESS_SYNIC],
        ['stimer', B.ACCESS_STIMER],
      )
    );
  }

  private capabilities(): number {
    return this.select(
      ['cpu_hotplug', B.CPU_DYNAMIC_PARTITIONING],
      ['crash_ctl', B.CRASH_MSRS],
      ['synic', B.SINT_POLLING],
    );
  }

  private recommendations(): number {
    return (
      B.RECOMMEND_RELAXED_TIMING |
      B.RECOMMEND_MSR_APIC |
      this.select(
        ['hcall_remote_tlb_flush', B.RECOMMEND_REMOTE_TLB_FLUSH],
        ['hcall_ipi', B.RECOMMEND_CLUSTER_IPI],
        ['ex_processor_masks', B.RECOMMEND_EX_PROCESSOR_MASKS],
      )
    );
  }

  /** or eax, 0x80000000; vmcall or vmmcall; ret; int3 to the end. A frame that is no RAM is left alone. */
  private fillHypercallPage(gfn: bigint): void {
    const page = this.host.writablePage(gfn);
    if (!page) return;
    page.fill(0xcc);
    page.set([0x0d, 0x00, 0x00, 0x00, 0x80, 0x0f, 0x01, this.host.intel ? 0xc1 : 0xd9, 0xc3]);
  }

  save(): ViridianState {
    return {
      version: 1,
      guestOsId: this.guestOsId,
      hypercallPage: this.hypercallPage,
      time: this.time.save(),
      vcpus: this.vcpus.map(({ synic, timers, crash }) => ({
        synic: synic.save(),
        timers: timers.save(),
        crash: [...crash],
      })),
    };
  }

  load(state: ViridianState): void {
    this.guestOsId = state.guestOsId;
    this.hypercallPage = state.hypercallPage;
    this.time.load(state.time);
    for (const [id, saved] of state.vcpus.entries()) {
      const part = this.part(vcpuId(id));
      part.synic.load(saved.synic);
      part.timers.load(saved.timers);
      part.crash.splice(0, B.CRASH_PARAMETERS, ...saved.crash);
    }
  }
}

/** Four characters as a little-endian word. */
const text = (four: string): number => [...four].reduce((word, char, i) => word | (char.charCodeAt(0) << (8 * i)), 0);

/** OS field of the guest OS id, bits 47-40. */
const osOf = (id: bigint): bigint => (id >> 40n) & 0xffn;

const isCrashParameter = (index: number): boolean => index >= B.CRASH_P0 && index < B.CRASH_P0 + B.CRASH_PARAMETERS;

function stimerOf(index: number): { readonly index: number; readonly count: boolean } | undefined {
  const offset = index - B.STIMER0_CONFIG;
  return offset >= 0 && offset < 2 * B.STIMERS ? { index: offset >> 1, count: (offset & 1) === 1 } : undefined;
}
