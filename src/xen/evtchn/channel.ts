/**
 * One event channel and the ABI it is delivered through.
 *
 * A channel's kind follows `xen:public/event_channel.h#EVTCHNOP_status`; what "pending" and "masked" mean is a matter of the ABI the domain has
 * chosen (2-level or FIFO), which is one small interface.
 */
import type { DomId, Port, VcpuId } from '../../base/int.ts';
import { vcpuId } from '../../base/int.ts';
import type { EventChannels } from './event-channels.ts';

/** What a port is bound to. */
export type ChannelState =
  | { readonly kind: 'free' }
  /** Port 0. */
  | { readonly kind: 'reserved' }
  /** Waits for `remote` to bind it. */
  | { readonly kind: 'unbound'; readonly remote: DomId }
  | { readonly kind: 'interdomain'; readonly remote: EventChannels; readonly port: Port }
  | { readonly kind: 'pirq'; readonly pirq: number }
  | { readonly kind: 'virq'; readonly virq: number }
  | { readonly kind: 'ipi' };

/** Called when the other end of a Xen-owned channel is notified. */
export type XenConsumer = (port: Port) => void;

/** Default priority of a channel (`xen:public/event_channel.h#EVTCHN_FIFO_PRIORITY_DEFAULT`). */
export const DEFAULT_PRIORITY = 7;

export class EventChannel {
  readonly port: Port;
  state: ChannelState = { kind: 'free' };
  notify: VcpuId = vcpuId(0);
  /** Set on ends that belong to the hypervisor or the tool stack: the guest may neither close, send, poll nor rebind them. */
  consumer: XenConsumer | undefined;
  priority = DEFAULT_PRIORITY;
  /** Pending while no event word exists yet (FIFO array page missing). */
  pendingEarly = false;
  /** FIFO queue the event was last linked on. */
  lastVcpu: VcpuId = vcpuId(0);
  lastPriority = 0;

  constructor(port: Port) {
    this.port = port;
  }

  /** A guest can be notified through it. */
  get usable(): boolean {
    return this.consumer === undefined && this.state.kind !== 'free' && this.state.kind !== 'reserved';
  }
}

/** How events become visible to the guest. `setPriority` and `isBusy` exist in the FIFO ABI only. */
export interface EventAbi {
  /** Ports below this number can be used. */
  maxPorts(): number;
  init(channel: EventChannel): void;
  setPending(vcpu: VcpuId, channel: EventChannel): void;
  clearPending(channel: EventChannel): void;
  unmask(channel: EventChannel): void;
  isPending(channel: EventChannel): boolean;
  isMasked(channel: EventChannel): boolean;
  /** The guest still has the event of a closed port on a queue: the port may not be reused. */
  isBusy(channel: EventChannel): boolean;
  /** Undefined when the ABI has no priorities. */
  readonly setPriority: ((channel: EventChannel, priority: number) => number) | undefined;
}

/** A guest page that events are written to. It stays the same page when the guest remaps its frame number. */
export interface HeldPage {
  readonly frame: number;
  readonly view: DataView;
}

/** What the event channels of a domain need from it. */
export interface EventHost {
  /** Number of vCPUs, all of which exist. */
  readonly vcpus: number;
  /** Width in bits of a word of the pending and mask arrays: 64, or 32 with a 32-bit shared_info. */
  wordBits(): 32 | 64;
  /** Bits of shared_info: `evtchn_pending` and `evtchn_mask`. Each returns the bit's former value. */
  testPending(port: Port): boolean;
  setPendingBit(port: Port, value: boolean): boolean;
  testMask(port: Port): boolean;
  setMaskBit(port: Port, value: boolean): boolean;
  /** Sets a bit of the vCPU's `evtchn_pending_sel`; returns its former value. */
  setSelector(vcpu: VcpuId, bit: number, cause: 'set_pending' | 'unmask'): boolean;
  /** Sets `evtchn_upcall_pending` and, when it was clear, notifies the vCPU in the way its domain has chosen. */
  markEventsPending(vcpu: VcpuId): void;
  /** Wakes vCPUs that poll on this port (or on several). */
  checkPollers(port: Port): void;
  /** Holds a writable RAM page of the domain for the hypervisor; undefined when there is none. */
  holdPage(gfn: number): HeldPage | undefined;
  releasePage(page: HeldPage): void;
  /** An event was lost because the target vCPU has no control block. */
  eventLost(vcpu: VcpuId, port: Port): void;
  /** The event channels of another domain; undefined when no such domain exists. */
  findDomain(domid: DomId): EventChannels | undefined;
}
