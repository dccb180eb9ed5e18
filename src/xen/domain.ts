/** A domain: identity, memory, vCPUs and the parts that other files own. */

import type { Layout } from '../abi/xen/struct.ts';
import type { DomId } from '../base/int.ts';
import type { Frame, GuestMemory } from '../machine/index.ts';
import type { EventChannels } from './evtchn/event-channels.ts';
import type { Upcalls } from './evtchn/upcall.ts';
import type { GrantTable } from './grant/grant-table.ts';
import type { Audit } from './hypercall.ts';
import type { GuestInfo } from './info/guest-info.ts';
import { P2m } from './memory/p2m.ts';
import type { PvDomain } from './pv/pv-domain.ts';
import type { Rules } from './rules.ts';
import type { Vcpu } from './vcpu.ts';

/** PV width is fixed for life; the width of an HVM caller is that of its code segment at each hypercall. */
export type GuestType = 'pv64' | 'pv32' | 'hvm';

export interface Alarm {
  cancel(): void;
}

/** Virtual time. Nanoseconds of system time. */
export interface SystemTime {
  now(): bigint;
  /** Runs `callback` once when system time reaches `deadline` (at once, but not before this call returns, when it has passed). */
  alarm(deadline: bigint, callback: () => void): Alarm;
}

export const SHUTDOWN_poweroff = 0;
export const SHUTDOWN_reboot = 1;
export const SHUTDOWN_suspend = 2;
export const SHUTDOWN_crash = 3;
export const SHUTDOWN_watchdog = 4;
export const SHUTDOWN_soft_reset = 5;

export interface Shutdown {
  readonly reason: number;
  /** For crashes that Xen decides: why. */
  readonly message?: string;
}

/** One range of the guest's physical memory map; types as in E820. */
export interface MemoryMapEntry {
  readonly addr: bigint;
  readonly size: bigint;
  readonly type: number;
}

export interface DomainConfig {
  readonly id: DomId;
  readonly type: GuestType;
  /** HVM without a device model and without emulated platform devices but the LAPIC. */
  readonly pvh: boolean;
  readonly maxVcpus: number;
  /** Largest usable event channel port (toolstack setting `max_event_channels`, default 1023). */
  readonly maxEventChannels: number;
  readonly maxGrantFrames: number;
  readonly maxMaptrackFrames: number;
  /** 1 or 2. */
  readonly maxGrantVersion: number;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  readonly viridian: boolean;
  /** Which vcpu_op the domain has: that of x86 (the default), or Arm's, which passes two operations and refuses the rest. */
  readonly vcpuOps?: 'x86' | 'arm';
  /** XENFEAT_hvm_pirqs and the pirq physdev operations. */
  readonly pirqs: boolean;
  /** Guest may use console_io. */
  readonly consoleIo: boolean;
  /** Pages the domain may own at most, and UTC nanoseconds at system time 0. */
  readonly maxPages: number;
  readonly wallclockBase: bigint;
}

/** Most vCPUs of a domain (keys `xen:public/hvm/hvm_info_table.h#HVM_MAX_VCPUS`, `xen:arch/x86/include/asm/config.h#MAX_VIRT_CPUS`). */
export const HVM_MAX_VCPUS = 128,
  MAX_VIRT_CPUS = 8192;

export class Domain {
  readonly id: DomId;
  readonly config: DomainConfig;
  readonly memory: GuestMemory;
  readonly p2m: P2m;
  readonly rules: Rules;
  readonly time: SystemTime;
  readonly audit: Audit;
  readonly vcpus: Vcpu[] = [];
  /** Frame of shared_info. It has no guest frame number until the guest maps it (HVM). */
  readonly sharedInfo: Frame;
  /** Guest physical memory map for XENMEM_memory_map; empty when none was installed. */
  memoryMap: readonly MemoryMapEntry[] = [];
  /** Latched width of the shared areas of an HVM domain (`has_32bit_shinfo`). */
  has32bitSharedInfo = false;
  /** HVM parameters by index. */
  readonly hvmParams = new BigUint64Array(64);
  vmAssist = 0n;
  pauseCount = 0;
  shutdownState: Shutdown | undefined;
  /** Reason the next shutdown will have whatever it says: the first one given since the domain last ran freely. */
  shutdownCode: number | undefined;
  /** Called once when the domain has shut down. */
  onShutdown: (shutdown: Shutdown) => void = () => {};
  /** HVM_PARAM_ACPI_IOPORTS_LOCATION: 0 or 1 chooses where the ACPI ports are; false for other values. */
  onAcpiIoPorts: (version: bigint) => boolean = (version) => version <= 1n;
  /** Bytes the guest wrote with console_io. */
  onConsoleOutput: (bytes: Uint8Array) => void = () => {};
  /** Bytes the guest wrote to port 0xe9. */
  onDebugOutput: (bytes: Uint8Array) => void = () => {};

  /** Assigned once by the assembly, before any guest code runs. */
  evtchn!: EventChannels;
  grants!: GrantTable;
  info!: GuestInfo;
  upcalls!: Upcalls;
  /** What only a PV domain has. */
  pv: PvDomain | undefined;
  /** Bits of CR4 and EFER that the CPUID policy lets an HVM guest set. */
  controlBits: { readonly cr4: bigint; readonly efer: bigint } = { cr4: ~0n, efer: ~0n };

  /** Throws a RangeError for more vCPUs than the kind of domain can have, or none. */
  constructor(config: DomainConfig, parts: { memory: GuestMemory; rules: Rules; time: SystemTime; audit: Audit }) {
    const most = config.type === 'hvm' ? HVM_MAX_VCPUS : MAX_VIRT_CPUS;
    if (config.maxVcpus < 1 || config.maxVcpus > most)
      throw new RangeError(`a domain of this kind has 1 to ${most} vCPUs, not ${config.maxVcpus}`);
    this.config = config;
    this.id = config.id;
    this.memory = parts.memory;
    this.rules = parts.rules;
    this.time = parts.time;
    this.audit = parts.audit;
    this.p2m = new P2m(this.memory, config.maxPages);
    this.sharedInfo = this.p2m.allocateSpecial();
  }

  get isHvm(): boolean {
    return this.config.type === 'hvm';
  }

  /** Layout of shared_info, vcpu_info, runstate and time areas. */
  get layout(): Layout {
    if (this.isHvm) return this.has32bitSharedInfo ? 'compat' : 'native';
    return this.config.type === 'pv32' ? 'compat' : 'native';
  }

  /** System time, ns. */
  now(): bigint {
    return this.time.now();
  }

  vcpu(id: number | bigint): Vcpu | undefined {
    return this.vcpus[Number(id)];
  }

  pause(): void {
    this.pauseCount++;
    for (const vcpu of this.vcpus) vcpu.settle();
  }

  unpause(): void {
    if (this.pauseCount === 0) throw new RangeError(`domain ${this.id} is not paused`);
    this.pauseCount--;
    for (const vcpu of this.vcpus) vcpu.wake();
  }

  /**
   * Ends or suspends the domain: every vCPU is held until the toolstack resumes it. Later calls keep the first reason, and a reason that the guest
   * gave before (SCHEDOP_shutdown_code) takes the place of this one.
   */
  shutdown(given: number, message?: string): void {
    this.shutdownCode ??= given;
    if (this.shutdownState !== undefined) return;
    const reason = this.shutdownCode;
    this.shutdownState = message === undefined ? { reason } : { reason, message };
    this.pause();
    this.onShutdown(this.shutdownState);
  }

  crash(message: string): void {
    this.shutdown(SHUTDOWN_crash, message);
  }

  /** The toolstack continues a suspended or soft-reset domain. */
  resume(): void {
    if (this.shutdownState === undefined) return;
    this.shutdownState = undefined;
    this.shutdownCode = undefined;
    this.unpause();
  }
}
