/** One machine with one domain: memory, devices, processors, hypervisor and scheduler, put together. */

import { HVM_PARAM_TRIPLE_FAULT_REASON, HVM_PARAM_VIRIDIAN } from '../abi/xen/hvm.ts';
import { type DomId, domId, type VcpuId, vcpuId } from '../base/int.ts';
import type { InterpreterModules, InterruptLine } from '../cpu/index.ts';
import { CodeCache, Cpu, createInterpreter } from '../cpu/index.ts';
import * as STATE from '../cpu/state.ts';
import { GSI_COUNT, GuestMemory, HVM_EMULATION, Platform, PV_EMULATION, PVH_EMULATION } from '../machine/index.ts';
import { cpuModel } from './cpu-model.ts';
import { TSC_KHZ } from './cpuid.ts';
import { CpuidPolicy } from './cpuid-policy.ts';
import { Domain, SHUTDOWN_reboot } from './domain.ts';
import type { EventChannels } from './evtchn/event-channels.ts';
import { toolstackEvents } from './evtchn/host.ts';
import { attachGuestInterfaces } from './guest-interfaces.ts';
import type { HypercallTable } from './hypercall.ts';
import { Audit } from './hypercall.ts';
import { hypercallTable } from './hypercalls/index.ts';
import { VcpuMsrs } from './msr.ts';
import { platformSinks } from './platform-sinks.ts';
import {
  addPvVcpu,
  createPvControl,
  createPvDomain,
  createPvTrapOwner,
  createPvTrapSink,
  pvOverheadPages,
  upcallLine,
} from './pv/create.ts';
import type { PvControl } from './pv/pv-control.ts';
import { Rules } from './rules.ts';
import { DEFAULT_SCHEDULE, Scheduler, type SchedulerOptions } from './scheduler.ts';
import { MachineTime } from './system-time.ts';
import { HvmTrapSink, type VcpuDevices } from './trap-sink.ts';
import { Vcpu } from './vcpu.ts';
import type { Viridian } from './viridian/viridian.ts';
import { createViridian } from './viridian-host.ts';

const PAGE = 4096;
/** Frames beside the guest's RAM: shared_info, grant table and its status, a reserve for special pages. */
const EXTRA_FRAMES = 64;
const DEFAULT_CODE_BYTES = 32 * 1024 * 1024;

export type Engine = 'auto' | 'interpret' | 'translate';
/**
 * Arrivals at a place before its region is translated. Making a region costs as much as interpreting some 100 000 instructions, so
 * a kernel that boots, where little is hot, takes a quarter less time with 10 000 than with 1000; loops get there at once.
 */
const HOT_THRESHOLD: Readonly<Record<Engine, number>> = { auto: 10_000, interpret: 0, translate: 1 };

export type MachineType = 'pvh' | 'hvm' | 'pv64' | 'pv32';

const EMULATION = { pvh: PVH_EMULATION, hvm: HVM_EMULATION, pv64: PV_EMULATION, pv32: PV_EMULATION } as const;

const isPv = (type: MachineType): type is 'pv64' | 'pv32' => type === 'pv64' || type === 'pv32';

export interface MachineConfig {
  readonly type: MachineType;
  readonly domid?: number;
  readonly maxVcpus: number;
  /** RAM the domain may own, special pages included, in bytes. */
  readonly maxMemory: number;
  readonly rules?: Rules;
  readonly uuid?: Uint8Array;
  /** `cpuid` option of a domain configuration. */
  readonly cpuid?: string;
  /** HVM_PARAM_VIRIDIAN; 0 for none. */
  readonly viridian?: number;
  readonly maxEventChannels?: number;
  readonly maxGrantFrames?: number;
  readonly maxMaptrackFrames?: number;
  readonly maxGrantVersion?: number;
  /** The hypervisor emulates instructions behind its debugging prefix. */
  readonly forcedEmulation?: boolean;
  readonly consoleIo?: boolean;
  readonly pirqs?: boolean;
  /** `arm`: vcpu_op answers as on Arm. */
  readonly vcpuOps?: 'x86' | 'arm';
  /** UTC in ns at system time 0. */
  readonly wallclockBase?: bigint;
  readonly schedule?: Partial<SchedulerOptions>;
  /** The interpreter when it was built ahead, or is shared. */
  readonly interpreter?: InterpreterModules;
  /** How guest code runs: interpreted, translated at first sight, or translated when hot (the default). Guests see no difference. */
  readonly engine?: Engine;
  readonly codeBytes?: number;
}

export class XenMachine {
  readonly domain: Domain;
  readonly memory: GuestMemory;
  readonly time = new MachineTime();
  readonly platform: Platform;
  readonly table: HypercallTable;
  readonly scheduler: Scheduler;
  readonly policy = new CpuidPolicy();
  readonly cpus: readonly Cpu[];
  /** Event channels of the control domain, which the tool stack is. */
  readonly toolstack: EventChannels;
  readonly viridian: Viridian | undefined;
  /** What a builder of PV domains uses. */
  readonly pvControl: PvControl | undefined;
  private readonly devices: VcpuDevices[] = [];
  readonly code: CodeCache;
  private remapped = false;

  constructor(config: MachineConfig) {
    const { maxVcpus } = config;
    const id: DomId = domId(config.domid ?? 1);
    const rules = config.rules ?? new Rules();
    const grantFrames = config.maxGrantFrames ?? 64;
    const maxPages = Math.ceil(config.maxMemory / PAGE);
    this.memory = new GuestMemory({
      cpuBytes: maxVcpus * STATE.CPU_BLOCK,
      codeBytes: config.codeBytes ?? DEFAULT_CODE_BYTES,
      frames:
        maxPages +
        2 * grantFrames +
        EXTRA_FRAMES +
        (isPv(config.type) ? pvOverheadPages(config.type === 'pv64' ? 64 : 32, maxPages, grantFrames, maxVcpus) : 0),
    });
    if (config.cpuid !== undefined) this.policy.configure(config.cpuid);
    this.policy.viridian = (config.viridian ?? 0) !== 0;
    this.domain = new Domain(
      {
        id,
        type: isPv(config.type) ? config.type : 'hvm',
        pvh: config.type === 'pvh',
        maxVcpus,
        maxEventChannels: config.maxEventChannels ?? 1023,
        maxGrantFrames: grantFrames,
        maxMaptrackFrames: config.maxMaptrackFrames ?? 1024,
        maxGrantVersion: config.maxGrantVersion ?? 2,
        uuid: config.uuid ?? new Uint8Array(16),
        viridian: this.policy.viridian,
        pirqs: config.pirqs ?? false,
        vcpuOps: config.vcpuOps ?? 'x86',
        consoleIo: config.consoleIo ?? false,
        maxPages,
        wallclockBase: config.wallclockBase ?? 0n,
      },
      { memory: this.memory, rules, time: this.time, audit: new Audit() },
    );
    const { domain } = this;
    domain.controlBits = { cr4: this.policy.cr4Mask, efer: this.policy.eferMask };
    domain.hvmParams[HVM_PARAM_TRIPLE_FAULT_REASON] = BigInt(SHUTDOWN_reboot);
    this.platform = new Platform({
      vcpus: maxVcpus,
      emulation: EMULATION[config.type],
      sinks: platformSinks(domain),
      wallClockBase: config.wallclockBase ?? 0n,
      legacyPorts: config.type === 'hvm',
      clock: this.time.clock,
      events: this.time.events,
    });
    this.memory.devices = this.platform;
    domain.onAcpiIoPorts = (version) => {
      if (version > 1n) return false;
      this.platform.setAcpiPortsLocation(version === 0n ? 0 : 1);
      return true;
    };
    this.toolstack = toolstackEvents(domId(0), (other) => (other === id ? domain.evtchn : undefined));
    attachGuestInterfaces(domain, {
      events: (other) => (other === 0 ? this.toolstack : undefined),
      grants: () => undefined,
    });
    this.table = hypercallTable();

    this.code = new CodeCache(this.memory.memory, this.memory.codeBase, this.memory.codeBytes, {
      forcedEmulation: config.forcedEmulation ?? false,
    });
    const interpreter = createInterpreter(this.memory.memory, config.interpreter);
    this.code.translateWith(interpreter.compiler);
    this.memory.count = interpreter.count;
    const pv = isPv(config.type) ? createPvDomain(domain, config.type === 'pv64' ? 64 : 32, this.policy) : undefined;
    domain.pv = pv;
    if (pv !== undefined)
      pv.mm.modifier.onWrite = (mfn, offset, length) => {
        this.code.written(mfn, offset, length);
      };
    const sink = pv === undefined ? this.hvmSink() : createPvTrapSink(pv);
    const owner = pv === undefined ? {} : { owner: createPvTrapOwner(pv, this.table, () => this.afterCall()) };
    this.pvControl = pv && createPvControl(domain, pv);
    const model = cpuModel(this.policy, config.forcedEmulation ?? false);
    this.cpus = Array.from({ length: maxVcpus }, (_, n) => {
      const physical = this.memory;
      const ports = {
        physical,
        ports: this.platform.portIo,
        interrupts: this.interrupts(vcpuId(n)),
        traps: sink,
        model,
        ...owner,
        hotThreshold: HOT_THRESHOLD[config.engine ?? 'auto'],
      };
      const cpu = new Cpu(n, this.memory.cpuBase + n * STATE.CPU_BLOCK, ports, this.code, interpreter.run);
      this.code.attach(cpu);
      interpreter.attach(cpu);
      this.addVcpu(cpu, vcpuId(n));
      return cpu;
    });
    if (sink instanceof HvmTrapSink && this.policy.viridian) {
      domain.hvmParams[HVM_PARAM_VIRIDIAN] = BigInt(config.viridian ?? 0);
      this.viridian = createViridian(domain, this.platform, (vcpu) => this.tscOf(vcpu), config.viridian ?? 0);
      sink.viridian = this.viridian;
      for (const device of this.devices) device.msrs.viridian = this.viridian;
      this.viridian.time.thaw();
    }
    domain.info.time.tsc = { khz: TSC_KHZ, read: (vcpu) => this.tscOf(vcpu.id) };
    domain.upcalls.sinks = {
      hasPlatformInterrupts: config.type === 'hvm',
      gsis: GSI_COUNT,
      lapicEnabled: (vcpu) => this.platform.lapic(vcpu)?.enabled ?? false,
      lapicInject: (vcpu, vector) => this.platform.lapic(vcpu)?.request(vector, false),
      setGsi: (gsi, level) => (level ? this.platform.routing.assertGsi(gsi) : this.platform.routing.deassertGsi(gsi)),
      setIntx: (device, pin, level) =>
        level ? this.platform.routing.assertIntx(device, pin) : this.platform.routing.deassertIntx(device, pin),
    };
    this.memory.onRemap = () => {
      this.remapped = true;
    };
    this.scheduler = new Scheduler(domain, this.time, (vcpu) => this.select(vcpu), {
      ...DEFAULT_SCHEDULE,
      ...config.schedule,
    });
  }

  /** Time-stamp counter of a vCPU now. */
  tscOf(vcpu: VcpuId): bigint {
    return BigInt.asUintN(64, this.domain.now() + this.domain.vcpus[vcpu].tscOffset);
  }

  private hvmSink(): HvmTrapSink {
    const sink = new HvmTrapSink(this.domain, this.table, this.policy, this.devices);
    sink.afterCall = () => this.afterCall();
    return sink;
  }

  private afterCall(): void {
    this.settleMemory();
    this.scheduler.turn();
  }

  private addVcpu(cpu: Cpu, id: VcpuId): void {
    const { domain } = this;
    const vcpu = new Vcpu(domain, id, cpu);
    domain.vcpus.push(vcpu);
    if (domain.pv !== undefined) addPvVcpu(domain.pv, vcpu, cpu);
    const apic = this.platform.lapic(id);
    if (apic === undefined) return;
    const tsc = {
      read: () => this.tscOf(id),
      write: (value: bigint) => {
        vcpu.tscOffset = value - domain.now();
        domain.info.time.update(vcpu);
      },
    };
    this.devices.push({ vcpu, apic, msrs: new VcpuMsrs(vcpu, this.policy, apic, tsc) });
  }

  /** Event-channel callback vectors come before the 8259's and the local APIC's interrupts, and need no acknowledgement. */
  private interrupts(id: VcpuId): InterruptLine {
    const { upcalls, pv } = this.domain;
    if (pv !== undefined) return upcallLine(pv, id);
    const platform = this.platform.interruptLine(id);
    return {
      pending: () => {
        this.viridian?.poll(id);
        upcalls.maybeDeassert();
        const vector = upcalls.pendingVector(id);
        return vector >= 0 ? vector : platform.pending();
      },
      acknowledge: () => {
        const vector = upcalls.pendingVector(id);
        return vector >= 0 ? vector : platform.acknowledge();
      },
    };
  }

  private select(vcpu: Vcpu): void {
    this.platform.current = vcpu.id;
    this.settleMemory();
  }

  /** After the guest's memory map changed: nothing that was derived from the old one may be used. */
  private settleMemory(): void {
    if (!this.remapped) return;
    this.remapped = false;
    this.code.flush();
    for (const cpu of this.cpus) cpu.flushTlb(true);
  }
}
