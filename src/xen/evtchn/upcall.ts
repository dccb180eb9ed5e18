/**
 * How a vCPU learns that `evtchn_upcall_pending` was set.
 *
 * PV: on return to the guest when pending and not masked. HVM (the mask is ignored), first that applies: (a) a vector per vCPU (HVMOP
 * set_evtchn_upcall_vector), an edge into an enabled local APIC, again when the guest enables it; (b) a callback vector for the domain, injected
 * before any other interrupt as long as pending is set, no EOI, local APIC or not; (c) vCPU 0 only, a GSI or PCI INTx line that follows pending.
 * `xen:public/hvm/params.h#HVM_PARAM_CALLBACK_IRQ`
 */
import type { VcpuId } from '../../base/int.ts';
import { vcpuId } from '../../base/int.ts';
import type { Domain } from '../domain.ts';
import type { AccessSite } from '../info/area.ts';
import type { Vcpu } from '../vcpu.ts';

/** What HVM_PARAM_CALLBACK_IRQ asks for. */
export type CallbackVia =
  | { readonly kind: 'none' }
  | { readonly kind: 'gsi'; readonly gsi: number }
  | { readonly kind: 'intx'; readonly device: number; readonly pin: number }
  | { readonly kind: 'vector'; readonly vector: number };

/** The interrupt controllers of an HVM domain, as far as events need them. The assembly supplies them. */
export interface InterruptSinks {
  /** The domain has a local APIC, an IO-APIC and a PIC: without them only callback vectors can be chosen. */
  readonly hasPlatformInterrupts: boolean;
  /** Number of GSIs; lines beyond are no callback. */
  readonly gsis: number;
  lapicEnabled(vcpu: VcpuId): boolean;
  /** Edge-triggered interrupt into the local APIC's request register. */
  lapicInject(vcpu: VcpuId, vector: number): void;
  setGsi(gsi: number, level: boolean): void;
  setIntx(device: number, pin: number, level: boolean): void;
}

const noSinks: InterruptSinks = {
  hasPlatformInterrupts: false,
  gsis: 0,
  lapicEnabled: () => false,
  lapicInject: () => {},
  setGsi: () => {},
  setIntx: () => {},
};

export class Upcalls {
  sinks: InterruptSinks = noSinks;
  private readonly domain: Domain;
  private viaValue: CallbackVia = { kind: 'none' };
  /** Level of the GSI or INTx callback. */
  private asserted = false;
  /** Vector of each vCPU; 0 is none. */
  private readonly vectors: Uint8Array;

  constructor(domain: Domain) {
    this.domain = domain;
    this.vectors = new Uint8Array(domain.config.maxVcpus);
  }

  get via(): CallbackVia {
    return this.viaValue;
  }

  /** Sets upcall_pending of a vCPU and, when it was clear, notifies it. */
  markEventsPending(vcpu: Vcpu, site: AccessSite = 'vcpu_mark_events_pending'): void {
    if (this.domain.info.setUpcallPending(vcpu.id, site)) return;
    if (this.domain.isHvm) this.assert(vcpu);
    else vcpu.kick();
  }

  /** HVM: notifies a vCPU whose upcall_pending is set. */
  assert(vcpu: Vcpu): void {
    const vector = this.vectors[vcpu.id];
    if (vector !== 0) {
      if (!this.sinks.lapicEnabled(vcpu.id)) return;
      this.sinks.lapicInject(vcpu.id, vector);
      vcpu.kick();
    } else if (this.viaValue.kind === 'vector') vcpu.kick();
    else if (vcpu.id === 0) this.followPending('hvm_set_callback_irq_level');
  }

  /** HVM: drops the callback line when the guest has cleared upcall_pending of vCPU 0. Called before pending interrupts are looked at. */
  maybeDeassert(): void {
    if (this.asserted && !this.domain.info.upcallPending(vcpuId(0), 'hvm_maybe_deassert_evtchn_irq')) {
      this.followPending('hvm_set_callback_irq_level');
    }
  }

  /** HVM: vector to inject ahead of all others, or -1. Not acknowledged by anything but the guest clearing upcall_pending. */
  pendingVector(vcpu: VcpuId): number {
    if (this.viaValue.kind !== 'vector') return -1;
    return this.domain.info.upcallPending(vcpu, 'hvm_vcpu_has_pending_irq') ? this.viaValue.vector : -1;
  }

  /** HVM: the guest enabled its local APIC; an upcall vector that was held back is raised now. */
  lapicEnabled(vcpu: VcpuId): void {
    if (this.vectors[vcpu] === 0) return;
    if (this.domain.info.upcallPending(vcpu, 'vlapic SPIV enable')) this.sinks.lapicInject(vcpu, this.vectors[vcpu]);
  }

  /** HVMOP_set_evtchn_upcall_vector, after its checks. */
  setUpcallVector(vcpu: VcpuId, vector: number): void {
    this.vectors[vcpu] = vector;
  }

  /** HVM_PARAM_CALLBACK_IRQ was set. Types other than vector are ignored without platform interrupts; online vCPUs are notified again. */
  setCallbackIrq(value: bigint): void {
    const via = this.parse(value);
    if (via.kind !== 'vector' && !this.sinks.hasPlatformInterrupts) return;
    if (this.asserted) this.drive(false);
    this.viaValue = via.kind === 'gsi' && (via.gsi === 0 || via.gsi >= this.sinks.gsis) ? { kind: 'none' } : via;
    if (this.asserted) this.drive(true);
    for (const vcpu of this.domain.vcpus) if (vcpu.isOnline) this.assert(vcpu);
  }

  /** Would the guest be interrupted if it ran now? `local_events_need_delivery` of the hypervisor: SCHEDOP_block and HLT ask. */
  deliverable(vcpu: Vcpu): boolean {
    const { info, isHvm } = this.domain;
    if (isHvm) return vcpu.cpu.hasEvent();
    const site = 'local_events_need_delivery';
    return info.upcallPending(vcpu.id, site) && !info.upcallMask(vcpu.id, site);
  }

  private parse(value: bigint): CallbackVia {
    const low = Number(value & 0xffff_ffffn);
    switch (Number((value >> 56n) & 0xffn)) {
      case 0:
        return value === 0n ? { kind: 'none' } : { kind: 'gsi', gsi: low & 0xff };
      case 1:
        return { kind: 'intx', device: (low >> 11) & 31, pin: low & 3 };
      case 2:
        return { kind: 'vector', vector: low & 0xff };
      default:
        return { kind: 'none' };
    }
  }

  private followPending(site: AccessSite): void {
    const pending = this.domain.info.upcallPending(vcpuId(0), site);
    if (pending === this.asserted) return;
    this.asserted = pending;
    this.drive(pending);
  }

  private drive(level: boolean): void {
    if (this.viaValue.kind === 'gsi') this.sinks.setGsi(this.viaValue.gsi, level);
    else if (this.viaValue.kind === 'intx') this.sinks.setIntx(this.viaValue.device, this.viaValue.pin, level);
  }
}
