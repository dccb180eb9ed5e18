/** The instructions of an HVM guest whose meaning is the hypervisor's: hypercalls, CPUID, MSRs, time, HLT, shutdown conditions. */
import { EPERM } from '../abi/xen/errno.ts';
import { HVM_PARAM_TRIPLE_FAULT_REASON } from '../abi/xen/hvm.ts';
import type { Layout } from '../abi/xen/struct.ts';
import type { TrapOutcome, TrapSink } from '../cpu/index.ts';
import { cpuid } from './cpuid.ts';
import type { CpuidPolicy } from './cpuid-policy.ts';
import type { Domain } from './domain.ts';
import type { HypercallTable, Result } from './hypercall.ts';
import { HypercallContext } from './hypercall.ts';
import type { VcpuMsrs } from './msr.ts';
import { readCall, readViridianCall, writeArguments, writeResult, writeViridianResult } from './registers.ts';
import type { Vcpu } from './vcpu.ts';
import { haltVcpu } from './vcpu-state.ts';
import type { Viridian } from './viridian/viridian.ts';

/** The part of the local APIC that instructions reach. */
export interface ApicPort {
  readonly id: number;
  readonly hardwareEnabled: boolean;
  readCr8(): number;
  writeCr8(value: number): void;
}

/** What belongs to one vCPU besides the processor itself. */
export interface VcpuDevices {
  readonly vcpu: Vcpu;
  readonly msrs: VcpuMsrs;
  readonly apic: ApicPort;
}

/** The processor as instructions hand it over: only its number counts, everything else is reached through the vCPU. */
interface Numbered {
  readonly id: number;
}

/** Bit of the hypercall number that means a Hyper-V call. */
const VIRIDIAN_CALL = 0x8000_0000n;
/** First of Xen's CPUID leaves beside Hyper-V's. */
const XEN_LEAVES_BESIDE = 0x4000_0100;

export class HvmTrapSink implements TrapSink {
  private readonly domain: Domain;
  private readonly table: HypercallTable;
  private readonly policy: CpuidPolicy;
  private readonly devices: readonly VcpuDevices[];
  /** Hyper-V interface, when the domain has it. */
  viridian: Viridian | undefined;
  /** Called when a hypercall or a write to a hypervisor's register may have changed the guest's memory map. */
  afterCall: () => void = () => {};

  constructor(domain: Domain, table: HypercallTable, policy: CpuidPolicy, devices: readonly VcpuDevices[]) {
    this.domain = domain;
    this.table = table;
    this.policy = policy;
    this.devices = devices;
  }

  private of(cpu: Numbered): VcpuDevices {
    return this.devices[cpu.id];
  }

  /**
   * VMCALL. EPERM from virtual-8086 mode and outside supervisor mode; real mode is accepted. The code being executed chooses the layout of
   * structures: 64-bit, or else 32-bit. VMMCALL does not exist on this (Intel) model.
   */
  hypercall(cpu: Numbered, kind: 0 | 1): TrapOutcome {
    if (kind === 1) return 'undefined';
    const { vcpu } = this.of(cpu);
    const width: Layout = vcpu.cpu.code64 ? 'native' : 'compat';
    if (vcpu.cpu.virtual8086 || (vcpu.cpu.protectedMode && vcpu.cpu.cpl !== 0)) {
      writeResult(vcpu.cpu, 'native', -EPERM);
      return 'next';
    }
    const { number, args } = readCall(vcpu.cpu, width);
    if (this.viridian !== undefined && (number & VIRIDIAN_CALL) !== 0n) {
      writeViridianResult(vcpu.cpu, width, this.viridian.hypercall(vcpu.id, readViridianCall(vcpu.cpu, width)));
      return 'next';
    }
    const result = this.table.dispatch(
      new HypercallContext(vcpu, width, number > 0xffffn ? 0xffff : Number(number), args),
    );
    this.afterCall();
    return this.finish(vcpu, width, result);
  }

  private finish(vcpu: Vcpu, width: Layout, result: Result): TrapOutcome {
    let outcome: TrapOutcome = 'next';
    if (typeof result !== 'object') writeResult(vcpu.cpu, width, result);
    else if (result.kind === 'block') writeResult(vcpu.cpu, width, result.result);
    else if (result.kind === 'again') {
      writeArguments(vcpu.cpu, width, result.args);
      outcome = 'again';
    } else this.domain.crash(result.reason);
    if (!vcpu.isRunnable) vcpu.cpu.requestExit();
    return outcome;
  }

  cpuid(cpu: Numbered, leaf: number, subleaf: number, out: Uint32Array): void {
    const { vcpu, apic } = this.of(cpu);
    if (this.viridian !== undefined && leaf >>> 16 === 0x4000 && leaf >>> 0 < XEN_LEAVES_BESIDE) {
      this.viridian.cpuid(leaf >>> 0, out);
      return;
    }
    // The local APIC's id may have been changed by the guest in xAPIC mode; CPUID always tells the initial one.
    cpuid(
      this.policy,
      vcpu,
      { apicId: 2 * vcpu.id, apicEnabled: apic.hardwareEnabled },
      leaf >>> 0,
      subleaf >>> 0,
      out,
    );
  }

  rdmsr(cpu: Numbered, index: number): bigint | undefined {
    return this.of(cpu).msrs.read(index >>> 0);
  }

  wrmsr(cpu: Numbered, index: number, value: bigint): boolean {
    const done = this.of(cpu).msrs.write(index >>> 0, value);
    this.afterCall();
    return done;
  }

  readTsc(cpu: Numbered): bigint {
    return BigInt.asUintN(64, this.domain.now() + this.of(cpu).vcpu.tscOffset);
  }

  readCr8(cpu: Numbered): number {
    return this.of(cpu).apic.readCr8();
  }

  writeCr8(cpu: Numbered, value: number): void {
    this.of(cpu).apic.writeCr8(value);
  }

  halt(cpu: Numbered, interruptible: boolean): void {
    haltVcpu(this.of(cpu).vcpu, interruptible);
  }

  /** Where others could run, spinning gives the slice away. */
  pause(cpu: Numbered): void {
    const { vcpu } = this.of(cpu);
    if (this.domain.vcpus.some((other) => other !== vcpu && other.isRunnable)) vcpu.cpu.requestExit();
  }

  tripleFault(cpu: Numbered): void {
    const reason = Number(this.domain.hvmParams[HVM_PARAM_TRIPLE_FAULT_REASON]);
    this.domain.shutdown(reason, `triple fault on vCPU ${cpu.id}`);
  }

  unknownInstruction(_cpu: Numbered, name: string): void {
    this.domain.audit.count(`instruction ${name}`);
  }
}
