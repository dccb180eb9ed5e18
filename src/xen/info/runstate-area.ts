/**
 * Runstate areas: where a guest reads what its vCPUs were doing without a hypercall.
 *
 * The virtual form is a plain copy unless the guest asked for the update flag (vm_assist); the physical form always brackets the body with bit 63
 * of the entry time and replaces servicing of the virtual one. A guest that reads its own area finds itself running, since the area is written
 * when a vCPU is put on the processor and when it leaves. `xen:public/vcpu.h#VCPUOP_register_runstate_memory_area`
 */
import type { Layout } from '../../abi/xen/struct.ts';
import { encode } from '../../abi/xen/struct.ts';
import { vcpu_runstate_info, XEN_RUNSTATE_UPDATE } from '../../abi/xen/vcpu.ts';
import type { VcpuId } from '../../base/int.ts';
import { runstateOf } from '../run-state.ts';
import type { Vcpu } from '../vcpu.ts';
import type { GuestArea } from './area.ts';
import type { GuestInfo } from './guest-info.ts';
import { mapPhysArea, releaseArea } from './phys-area.ts';

/** vm_assist type that asks for the update flag in the virtual form. */
const VMASST_runstate_update_flag = 1n << 5n;

/** A linear address of the guest and the layout its registrar used. */
export interface VirtualArea {
  readonly address: bigint;
  readonly layout: Layout;
}

interface PhysicalArea {
  readonly area: GuestArea;
  readonly layout: Layout;
}

/** A 64-bit PV guest in user mode may not have its kernel's addresses: the area is written when it is back in its kernel. */
function deferWrite(vcpu: Vcpu): void {
  const pv = vcpu.domain.pv?.vcpus[vcpu.id];
  if (pv !== undefined && !pv.kernelMode) pv.runstateDeferred = true;
}

export class RunstateAreas {
  private readonly info: GuestInfo;
  private readonly virtual = new Map<VcpuId, VirtualArea>();
  private readonly physical = new Map<VcpuId, PhysicalArea>();

  constructor(info: GuestInfo) {
    this.info = info;
  }

  /** Registers the virtual form and writes it once through the caller's address space; write errors are ignored. */
  registerVirtual(vcpu: Vcpu, caller: Vcpu, area: VirtualArea): void {
    this.virtual.set(vcpu.id, area);
    this.info.access.virtual('runstate', vcpu.id, 'VCPUOP_register_runstate_memory_area');
    caller.cpu.tryWriteLinear(area.address, encode(vcpu_runstate_info, runstateOf(vcpu), area.layout));
  }

  /** Registers the physical form (all ones: unregisters); written now only by the vCPU itself. Errors as {@link mapPhysArea}. */
  registerPhysical(vcpu: Vcpu, self: boolean, address: bigint, layout: Layout): number {
    const area = mapPhysArea(this.info, address, vcpu_runstate_info.size(layout));
    if (typeof area === 'number') return area;
    releaseArea(this.info, this.physical.get(vcpu.id)?.area);
    if (area.kind === 'unset') this.physical.delete(vcpu.id);
    else {
      this.physical.set(vcpu.id, { area, layout });
      if (self) this.writePhysical(vcpu, area, layout);
    }
    return 0;
  }

  /** Rewrites the area of a vCPU that enters or leaves the processor. */
  update(vcpu: Vcpu): void {
    const physical = this.physical.get(vcpu.id);
    if (physical !== undefined) {
      this.writePhysical(vcpu, physical.area, physical.layout);
      return;
    }
    const virtual = this.virtual.get(vcpu.id);
    if (virtual === undefined) return;
    this.info.access.virtual('runstate', vcpu.id, 'context switch');
    const value = runstateOf(vcpu);
    const { cpu } = vcpu;
    if ((vcpu.domain.vmAssist & VMASST_runstate_update_flag) === 0n) {
      if (!cpu.tryWriteLinear(virtual.address, encode(vcpu_runstate_info, value, virtual.layout))) deferWrite(vcpu);
      return;
    }
    const at = virtual.address + BigInt(vcpu_runstate_info.offset('state_entry_time', virtual.layout)) + 7n;
    const high = new Uint8Array(1);
    if (!cpu.tryReadLinear(at, high)) {
      deferWrite(vcpu);
      return;
    }
    high[0] |= 0x80;
    cpu.tryWriteLinear(at, high);
    const marked = { ...value, state_entry_time: value.state_entry_time | XEN_RUNSTATE_UPDATE };
    cpu.tryWriteLinear(virtual.address, encode(vcpu_runstate_info, marked, virtual.layout));
    high[0] = Number(value.state_entry_time >> 56n);
    cpu.tryWriteLinear(at, high);
  }

  unmap(vcpu: VcpuId): void {
    releaseArea(this.info, this.physical.get(vcpu)?.area);
    this.physical.delete(vcpu);
    this.virtual.delete(vcpu);
  }

  private writePhysical(vcpu: Vcpu, area: GuestArea, layout: Layout): void {
    const view = this.info.access.view(area, 'runstate', vcpu.id, 'context switch', 'write');
    const value = runstateOf(vcpu);
    const marked = value.state_entry_time | XEN_RUNSTATE_UPDATE;
    vcpu_runstate_info.set(view, 0, 'state_entry_time', marked, layout);
    vcpu_runstate_info.write(view, 0, { ...value, state_entry_time: marked }, layout);
    vcpu_runstate_info.set(view, 0, 'state_entry_time', value.state_entry_time, layout);
  }
}
