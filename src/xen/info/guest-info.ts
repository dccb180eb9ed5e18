/**
 * The areas a domain shares with the hypervisor: shared_info, and per vCPU its vcpu_info, runstate and time areas.
 *
 * vcpu_info of vCPUs below 32 starts in a slot of shared_info, that of the others is unset until registered. Registration happens once in a
 * vCPU's life: neither INIT nor VCPUOP_down nor VCPUOP_initialise undoes it. `xen:public/vcpu.h#VCPUOP_register_vcpu_info`
 */
import { EBUSY, EINVAL, ENXIO } from '../../abi/xen/errno.ts';
import { vcpu_info, XEN_LEGACY_MAX_VCPUS } from '../../abi/xen/xen.ts';
import type { Port, VcpuId } from '../../base/int.ts';
import type { Domain } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';
import type { AccessMode, AccessSite, GuestArea, UnsetPolicy } from './area.ts';
import { GuestAreaAccess, UNSET } from './area.ts';
import { setBit, testBit } from './bits.ts';
import { PageHolds } from './page-holds.ts';
import { writeWallclock } from './pvclock.ts';
import { RunstateAreas } from './runstate-area.ts';
import { TimeAreas } from './time-area.ts';

const PAGE_SIZE = 4096;
const VCPU_INFO_SIZE = 64;
/** Bytes of vcpu_info, both layouts. */
const UPCALL_PENDING = 0;
const UPCALL_MASK = 1;
/** Byte offset of the pending bits in shared_info, both layouts; the mask bits follow them. */
const EVTCHN_PENDING = 2048;

export class GuestInfo {
  readonly domain: Domain;
  readonly holds: PageHolds;
  /** Every access to an area goes through here, and its probe. */
  readonly access: GuestAreaAccess;
  readonly runstate: RunstateAreas;
  readonly time: TimeAreas;
  /** shared_info. */
  readonly shared: DataView;
  /** UTC nanoseconds at system time 0, time offset of the domain included. */
  wallclockBase: bigint;
  private readonly vcpuInfoAreas: GuestArea[] = [];

  constructor(domain: Domain) {
    this.domain = domain;
    this.holds = new PageHolds(domain.p2m);
    this.access = new GuestAreaAccess(domain.rules.get('vcpu-info-unset') as UnsetPolicy, (access) =>
      domain.crash(`vcpu_info of vCPU ${access.vcpu} is not mapped: NULL dereferenced by ${access.site}`),
    );
    this.shared = this.holds.view(domain.sharedInfo);
    this.wallclockBase = domain.config.wallclockBase;
    this.runstate = new RunstateAreas(this);
    this.time = new TimeAreas(this);
    for (let id = 0; id < domain.config.maxVcpus; id++) this.vcpuInfoAreas.push(this.home(id));
  }

  /** Where a vCPU's vcpu_info is. */
  vcpuInfoArea(vcpu: VcpuId): GuestArea {
    return this.vcpuInfoAreas[vcpu];
  }

  /** The 64 bytes of a vcpu_info, for one access. */
  vcpuInfo(vcpu: VcpuId, site: AccessSite, mode: AccessMode): DataView {
    return this.access.view(this.vcpuInfoAreas[vcpu], 'vcpu_info', vcpu, site, mode);
  }

  upcallPending(vcpu: VcpuId, site: AccessSite): boolean {
    return this.vcpuInfo(vcpu, site, 'read').getUint8(UPCALL_PENDING) !== 0;
  }

  /** Sets evtchn_upcall_pending; returns whether it was set. */
  setUpcallPending(vcpu: VcpuId, site: AccessSite): boolean {
    const view = this.vcpuInfo(vcpu, site, 'update');
    const before = view.getUint8(UPCALL_PENDING);
    view.setUint8(UPCALL_PENDING, before | 1);
    return (before & 1) !== 0;
  }

  upcallMask(vcpu: VcpuId, site: AccessSite): boolean {
    return this.vcpuInfo(vcpu, site, 'read').getUint8(UPCALL_MASK) !== 0;
  }

  setUpcallMask(vcpu: VcpuId, masked: boolean, site: AccessSite): void {
    this.vcpuInfo(vcpu, site, 'write').setUint8(UPCALL_MASK, masked ? 1 : 0);
  }

  /** Sets a bit of evtchn_pending_sel; returns its former value. */
  setSelector(vcpu: VcpuId, bit: number, site: AccessSite): boolean {
    const view = this.vcpuInfo(vcpu, site, 'update');
    return setBit(view, vcpu_info.offset('evtchn_pending_sel', this.domain.layout), bit, true);
  }

  /** Writes the faulting address of a PV page fault. */
  setCr2(vcpu: VcpuId, address: bigint): void {
    const view = this.vcpuInfo(vcpu, 'page fault cr2', 'write');
    if (this.domain.layout === 'native') view.setBigUint64(16, address, true);
    else view.setUint32(8, Number(BigInt.asUintN(32, address)), true);
  }

  testPending(port: Port): boolean {
    return testBit(this.shared, EVTCHN_PENDING, port);
  }

  setPending(port: Port, value: boolean): boolean {
    return setBit(this.shared, EVTCHN_PENDING, port, value);
  }

  testMask(port: Port): boolean {
    return testBit(this.shared, this.maskOffset, port);
  }

  setMask(port: Port, value: boolean): boolean {
    return setBit(this.shared, this.maskOffset, port, value);
  }

  /** Writes the wallclock of shared_info. */
  updateWallclock(): void {
    writeWallclock(this.shared, this.wallclockBase, this.domain.layout);
  }

  /** HVM: the caller's mode becomes the layout of the shared areas; the wallclock is written in its new place. */
  latchWidth(compat: boolean): void {
    this.domain.has32bitSharedInfo = compat;
    this.updateWallclock();
  }

  /**
   * VCPUOP_register_vcpu_info. With guest-area-mapping (4.18 on): EINVAL offset beyond the page or the frame number overflows; EBUSY registered;
   * ENXIO crosses the page, misaligned; EINVAL no such frame; EACCES not typeable. Before: ENXIO offset, misaligned; EINVAL registered, another
   * vCPU that is up, frame, type.
   */
  registerVcpuInfo(vcpu: Vcpu, self: boolean, mfn: bigint, offset: number): number {
    const current = this.vcpuInfoAreas[vcpu.id];
    const modern = this.domain.rules.has('guest-area-mapping');
    if (modern) {
      if (offset >= PAGE_SIZE || mfn >= 1n << 52n) return -EINVAL;
      if (current.kind === 'registered') return -EBUSY;
      if (offset + VCPU_INFO_SIZE > PAGE_SIZE || offset % this.alignment !== 0) return -ENXIO;
    } else {
      if (offset > PAGE_SIZE - VCPU_INFO_SIZE || offset % this.alignment !== 0) return -ENXIO;
      if (current.kind === 'registered') return -EINVAL;
      if (!self && vcpu.isOnline) return -EINVAL;
    }
    const held = mfn < 1n << 40n ? this.holds.hold(Number(mfn)) : -EINVAL;
    if (typeof held === 'number') return modern ? held : -EINVAL;
    const view = this.holds.view(held.frame, offset, VCPU_INFO_SIZE);
    this.fill(view, current);
    this.vcpuInfoAreas[vcpu.id] = { kind: 'registered', gfn: Number(mfn), offset, frame: held.frame, view };
    this.markEverythingPending(vcpu);
    if (modern) this.time.update(vcpu);
    return 0;
  }

  /** PV: the vCPU came back to its kernel; areas that could not be written in user mode are. */
  writeDeferred(vcpu: Vcpu): void {
    const pv = this.domain.pv?.vcpus[vcpu.id];
    if (pv?.runstateDeferred === true) {
      pv.runstateDeferred = false;
      this.runstate.update(vcpu);
    }
    if (pv?.timeDeferred === true) {
      pv.timeDeferred = false;
      this.time.writeVirtual(vcpu);
    }
  }

  /** Soft reset and teardown: vcpu_info goes back to its home, all other areas are forgotten. Page contents stay as they are. */
  unmapAll(): void {
    for (const vcpu of this.domain.vcpus) {
      const area = this.vcpuInfoAreas[vcpu.id];
      if (area.kind === 'registered') this.holds.release(area.frame);
      this.vcpuInfoAreas[vcpu.id] = this.home(vcpu.id);
      this.runstate.unmap(vcpu.id);
      this.time.unmap(vcpu.id);
    }
  }

  /** Required alignment of an area: that of an `unsigned long`. */
  get alignment(): number {
    return this.domain.layout === 'native' ? 8 : 4;
  }

  private get maskOffset(): number {
    return EVTCHN_PENDING + (this.domain.layout === 'native' ? 512 : 128);
  }

  private home(id: number): GuestArea {
    if (id >= XEN_LEGACY_MAX_VCPUS) return UNSET;
    return { kind: 'slot', view: this.holds.view(this.domain.sharedInfo, id * VCPU_INFO_SIZE, VCPU_INFO_SIZE) };
  }

  /** A new vcpu_info starts as a copy of the old one, or masked and otherwise zero when there was none. */
  private fill(view: DataView, from: GuestArea): void {
    for (let at = 0; at < VCPU_INFO_SIZE; at += 4)
      view.setUint32(at, from.kind === 'unset' ? 0 : from.view.getUint32(at, true), true);
    if (from.kind === 'unset') view.setUint8(UPCALL_MASK, 1);
  }

  /** Nothing may get lost while the place changes, so everything is announced: the guest gets one spurious upcall. */
  private markEverythingPending(vcpu: Vcpu): void {
    const site = 'VCPUOP_register_vcpu_info';
    const view = this.vcpuInfo(vcpu.id, site, 'update');
    if (this.domain.layout === 'native') view.setBigUint64(8, 0xffff_ffff_ffff_ffffn, true);
    else view.setUint32(4, 0xffff_ffff, true);
    this.domain.upcalls.markEventsPending(vcpu, site);
  }
}
