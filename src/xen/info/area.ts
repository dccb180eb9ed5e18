/**
 * Guest areas: memory of the guest that the hypervisor writes on its own initiative, namely vcpu_info, runstate and time areas.
 *
 * An area is a sum type, not a pointer, and every access goes through {@link GuestAreaAccess.view}, which must say what happens when there is
 * nothing behind it. That is the subject of the March 2024 discussion of VCPUOP_initialise: who touches vcpu_info before it exists?
 */
import type { VcpuId } from '../../base/int.ts';

export type AreaKind = 'vcpu_info' | 'runstate' | 'time';

export type GuestArea =
  /** The vCPU's place in shared_info (vcpu_info of vCPUs below 32). */
  | { readonly kind: 'slot'; readonly view: DataView }
  /** A place the guest registered. `page` is held until the area is unmapped, whatever the guest does with `gfn` meanwhile. */
  | {
      readonly kind: 'registered';
      readonly gfn: number;
      readonly offset: number;
      readonly frame: number;
      readonly view: DataView;
    }
  | { readonly kind: 'unset' };

export const UNSET: GuestArea = { kind: 'unset' };

/** Places in the hypervisor that touch guest areas. */
export type AccessSite =
  | 'event_2l set_pending'
  | 'event_2l unmask'
  | 'vcpu_mark_events_pending'
  | 'local_events_need_delivery'
  | 'SCHEDOP_block'
  | 'HLT'
  | 'hvm_set_callback_irq_level'
  | 'hvm_maybe_deassert_evtchn_irq'
  | 'hvm_vcpu_has_pending_irq'
  | 'vlapic SPIV enable'
  | 'test_guest_events'
  | 'create_bounce_frame'
  | 'iret'
  | 'privileged-operation EFLAGS.IF'
  | 'page fault cr2'
  | 'update_vcpu_system_time'
  | 'VCPUOP_register_vcpu_info'
  | 'register phys area'
  | 'VCPUOP_register_runstate_memory_area'
  | 'context switch'
  | 'toolstack';

export type AccessMode = 'read' | 'write' | 'update';

/** What is behind an area at an access; `virtual`: a linear address the guest registered, looked up anew each time. */
export type AreaMapping = GuestArea['kind'] | 'virtual';

/** One access, as the probe sees it. */
export interface AreaAccess {
  readonly area: AreaKind;
  readonly vcpu: VcpuId;
  readonly site: AccessSite;
  readonly mode: AccessMode;
  readonly mapping: AreaMapping;
}

/** What an access to an unset area does: write to a page no guest can read (and read back what was written), or fault like a NULL pointer. */
export type UnsetPolicy = 'sink' | 'fault';

/** Places that test the pointer first, so that they would do nothing rather than follow NULL. */
const TESTED: ReadonlySet<AccessSite> = new Set<AccessSite>(['update_vcpu_system_time']);

export class GuestAreaAccess {
  /** Probe: called on every access when set. */
  onAccess: ((access: AreaAccess) => void) | undefined;
  /** Under the fault policy: the hypervisor would have dereferenced a NULL pointer here. */
  onFault: (access: AreaAccess) => void;
  readonly policy: UnsetPolicy;
  /** One sink for all vCPUs of the domain: a stuck bit left by one is seen by the others, as with the hypervisor's dummy. */
  private readonly sink = new DataView(new ArrayBuffer(64));

  constructor(policy: UnsetPolicy, onFault: (access: AreaAccess) => void) {
    this.policy = policy;
    this.onFault = onFault;
  }

  /** Tells the probe of an access that does not go through a mapping: to a registered linear address. */
  virtual(kind: AreaKind, vcpu: VcpuId, site: AccessSite): void {
    this.onAccess?.({ area: kind, vcpu, site, mode: 'write', mapping: 'virtual' });
  }

  /** The bytes of an area, for one access by one site. Hot: runs on every event and every look at pending interrupts. */
  view(area: GuestArea, kind: AreaKind, vcpu: VcpuId, site: AccessSite, mode: AccessMode): DataView {
    if (this.onAccess !== undefined) this.onAccess({ area: kind, vcpu, site, mode, mapping: area.kind });
    if (area.kind !== 'unset') return area.view;
    if (this.policy === 'fault' && !TESTED.has(site)) this.onFault({ area: kind, vcpu, site, mode, mapping: 'unset' });
    return this.sink;
  }
}
