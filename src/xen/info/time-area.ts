/**
 * Time: the clock in vcpu_info and the secondary copy a guest may register by virtual or physical address.
 * Updated at registration, when a vCPU is put on the processor, about once a second and when its time-stamp counter changes.
 */
import type { VcpuId } from '../../base/int.ts';
import type { Vcpu } from '../vcpu.ts';
import type { GuestArea } from './area.ts';
import type { GuestInfo } from './guest-info.ts';
import { mapPhysArea, releaseArea } from './phys-area.ts';
import type { ClockState } from './pvclock.ts';
import { TIME_INFO_SIZE, timeScale, VCPU_INFO_TIME, writeTimeInfo } from './pvclock.ts';

/** Where guest time-stamps come from; replaced by the assembly. */
export interface TscSource {
  /** Frequency in kHz, the same for every vCPU. */
  readonly khz: number;
  /** Time-stamp of a vCPU (offset included) at the current system time. */
  read(vcpu: Vcpu): bigint;
}

/** Nanosecond counter: the default until the machine says otherwise. */
const nanosecondTsc: TscSource = { khz: 1_000_000, read: (vcpu) => vcpu.domain.now() };

export class TimeAreas {
  private readonly info: GuestInfo;
  private readonly virtual = new Map<VcpuId, bigint>();
  private readonly physical = new Map<VcpuId, GuestArea>();
  private source: TscSource = nanosecondTsc;
  private scale = timeScale(BigInt(nanosecondTsc.khz) * 1000n);

  constructor(info: GuestInfo) {
    this.info = info;
  }

  get tsc(): TscSource {
    return this.source;
  }

  set tsc(source: TscSource) {
    this.source = source;
    this.scale = timeScale(BigInt(source.khz) * 1000n);
  }

  /** What the clock of a vCPU would be written as now. */
  clock(vcpu: Vcpu): ClockState {
    return { ...this.scale, tsc: this.source.read(vcpu), systemTime: this.info.domain.now(), stable: true };
  }

  /** Writes vcpu_info.time and the secondary area; errors of the virtual form are ignored. */
  update(vcpu: Vcpu): void {
    const clock = this.clock(vcpu);
    writeTimeInfo(this.info.vcpuInfo(vcpu.id, 'update_vcpu_system_time', 'write'), VCPU_INFO_TIME, clock);
    const physical = this.physical.get(vcpu.id);
    if (physical !== undefined) this.writeSecondary(vcpu, physical, clock);
    this.writeVirtual(vcpu, clock);
  }

  /** Writes the area at a linear address; a 64-bit PV guest in user mode, which may not have it mapped, gets it when it is back in its kernel. */
  writeVirtual(vcpu: Vcpu, clock = this.clock(vcpu)): void {
    const address = this.virtual.get(vcpu.id);
    if (address === undefined) return;
    this.info.access.virtual('time', vcpu.id, 'update_vcpu_system_time');
    const copy = new Uint8Array(TIME_INFO_SIZE);
    if (!vcpu.cpu.tryReadLinear(address, copy)) {
      const pv = vcpu.domain.pv?.vcpus[vcpu.id];
      if (pv !== undefined && !pv.kernelMode) pv.timeDeferred = true;
      return;
    }
    writeTimeInfo(new DataView(copy.buffer), 0, clock);
    vcpu.cpu.tryWriteLinear(address, copy);
  }

  /** Registers the virtual form. */
  registerVirtual(vcpu: Vcpu, address: bigint): void {
    this.virtual.set(vcpu.id, address);
    this.update(vcpu);
  }

  /** Registers the physical form (all ones: unregisters) and writes it. Errors as {@link mapPhysArea}. */
  registerPhysical(vcpu: Vcpu, address: bigint): number {
    const area = mapPhysArea(this.info, address, TIME_INFO_SIZE);
    if (typeof area === 'number') return area;
    releaseArea(this.info, this.physical.get(vcpu.id));
    if (area.kind === 'unset') this.physical.delete(vcpu.id);
    else {
      this.physical.set(vcpu.id, area);
      this.writeSecondary(vcpu, area, this.clock(vcpu));
    }
    return 0;
  }

  unmap(vcpu: VcpuId): void {
    releaseArea(this.info, this.physical.get(vcpu));
    this.physical.delete(vcpu);
    this.virtual.delete(vcpu);
  }

  private writeSecondary(vcpu: Vcpu, area: GuestArea, clock: ClockState): void {
    writeTimeInfo(this.info.access.view(area, 'time', vcpu.id, 'update_vcpu_system_time', 'write'), 0, clock);
  }
}
