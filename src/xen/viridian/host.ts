/** What the Hyper-V interface asks of the domain it is part of. */
import type { VcpuId } from '../../base/int.ts';
import type { Clock, EventQueue, Lapic } from '../../machine/index.ts';
import type { ViridianFeature } from './bits.ts';

export interface ViridianHost {
  readonly vcpus: number;
  readonly clock: Clock;
  readonly events: EventQueue;
  /** Guest TSC rate in kHz. */
  readonly tscKhz: bigint;
  /** TSC readings can be extrapolated: it is not emulated. Otherwise the reference page says so. */
  readonly tscIsStable: boolean;
  /** Guest TSC of vCPU 0. */
  readTsc(): bigint;
  lapic(vcpu: VcpuId): Lapic;
  /** The 4096 bytes behind a frame number, if it is guest RAM that may be written. */
  writablePage(gfn: bigint): Uint8Array | undefined;
  /** Reads guest-physical memory; undefined when part of it is not RAM. */
  readPhysical(address: bigint, length: number): Uint8Array | undefined;
  /** Forgets translations on vCPUs. */
  flushTlb(vcpus: readonly VcpuId[]): void;
  /** The vCPU spins: let others run. */
  yield(vcpu: VcpuId): void;
  /** The guest reports its own crash, with five parameters. */
  crashed(vcpu: VcpuId, parameters: readonly bigint[]): void;
  /** Hypercall instruction of the page: VMCALL or VMMCALL. */
  readonly intel: boolean;
}

/** Which features a domain has. */
export interface ViridianFeatures {
  has(feature: ViridianFeature): boolean;
}
