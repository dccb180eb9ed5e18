/**
 * The event channels of one domain: the port table and every operation of `xen:public/event_channel.h`.
 *
 * Operations return zero or a negated error; those that allocate return the port. Errors are listed in the order they are found out.
 */
import {
  EACCES,
  EAGAIN,
  EBUSY,
  EEXIST,
  EINVAL,
  ENOENT,
  ENOSPC,
  ENOSYS,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
} from '../../abi/xen/errno.ts';
import { EVTCHN_FIFO_LINK_BITS } from '../../abi/xen/event-channel.ts';
import { DOMID_SELF, NR_VIRQS } from '../../abi/xen/xen.ts';
import type { DomId, Port, VcpuId } from '../../base/int.ts';
import { port as asPort, domId, vcpuId } from '../../base/int.ts';
import type { EventAbi, EventHost, XenConsumer } from './channel.ts';
import { EventChannel } from './channel.ts';
import { CONTROL_BLOCK_SIZE, FifoAbi } from './fifo.ts';
import { TwoLevelAbi } from './two-level.ts';
import { virqType } from './virq.ts';

/** Ports become valid in groups of this size, which EVTCHNOP_unmask and EVTCHNOP_status make visible. */
const BUCKET = 64;
const PAGE_SIZE = 4096;
/** Highest port when the tool stack gives no limit. */
export const DEFAULT_MAX_PORT = 1023;

export interface EventChannelOptions {
  readonly domid: DomId;
  readonly maxPort?: number;
  /** Global VIRQs are refused (EBUSY) to domains that do not handle them. */
  readonly globalVirqsRefused: boolean;
  /** Number of physical interrupts the domain may bind; 0 without pirq support. */
  readonly pirqs?: number;
}

export class EventChannels {
  readonly domid: DomId;
  private readonly host: EventHost;
  private readonly options: EventChannelOptions;
  private readonly channels: EventChannel[] = [];
  private readonly twoLevel: TwoLevelAbi;
  private fifo: FifoAbi | undefined;
  /** Port of each VIRQ: per vCPU for per-vCPU types, under vCPU 0 for the others. */
  private readonly virqs = new Map<number, Port>();
  private readonly pirqs = new Map<number, Port>();

  constructor(host: EventHost, options: EventChannelOptions) {
    this.host = host;
    this.options = options;
    this.domid = options.domid;
    this.twoLevel = new TwoLevelAbi(host);
    this.grow();
    this.channels[0].state = { kind: 'reserved' };
  }

  /** The ABI in force. */
  get abi(): EventAbi {
    return this.fifo ?? this.twoLevel;
  }

  /** The channel behind a valid port, bound or free; undefined for ports never reached. */
  channel(port: number): EventChannel | undefined {
    return this.channels[port];
  }

  /** Channels that are bound to something, in port order. */
  *bound(): Iterable<EventChannel> {
    for (const channel of this.channels)
      if (channel.state.kind !== 'free' && channel.state.kind !== 'reserved') yield channel;
  }

  /** EVTCHNOP_alloc_unbound. ESRCH: no such domain; ENOSPC; EPERM: `dom` is another domain. */
  allocUnbound(dom: DomId, remote: DomId): Port | number {
    const owner = this.resolve(dom);
    if (owner === undefined) return -ESRCH;
    const channel = owner.allocate();
    if (typeof channel === 'number') return channel;
    if (owner !== this) return -EPERM;
    owner.bind(channel, { kind: 'unbound', remote: remote === DOMID_SELF ? this.domid : remote });
    return channel.port;
  }

  /** EVTCHNOP_bind_interdomain. ESRCH; ENOSPC; EINVAL: the remote port does not wait for us. The new port is set pending once. */
  bindInterdomain(dom: DomId, remotePort: number, consumer?: XenConsumer): Port | number {
    const remote = this.resolve(dom);
    if (remote === undefined) return -ESRCH;
    const local = this.allocate();
    if (typeof local === 'number') return local;
    const peer = remote.channels[remotePort];
    if (peer?.state.kind !== 'unbound' || peer.state.remote !== this.domid) return -EINVAL;
    local.consumer = consumer;
    this.bind(local, { kind: 'interdomain', remote, port: peer.port });
    peer.state = { kind: 'interdomain', remote: this, port: local.port };
    this.deliver(local);
    return local.port;
  }

  /** EVTCHNOP_bind_virq. EINVAL: number, or a vCPU other than 0 for a per-domain VIRQ; ENOENT; EBUSY: global; EEXIST; ENOSPC. */
  bindVirq(virq: number, vcpu: number): Port | number {
    if (virq >= NR_VIRQS) return -EINVAL;
    const type = virqType(virq);
    if (type !== 'vcpu' && vcpu !== 0) return -EINVAL;
    if (vcpu >= this.host.vcpus) return -ENOENT;
    if (type === 'global' && this.options.globalVirqsRefused) return -EBUSY;
    if (this.virqs.has(virqKey(virq, vcpu))) return -EEXIST;
    const channel = this.allocate();
    if (typeof channel === 'number') return channel;
    channel.notify = vcpuId(vcpu);
    this.bind(channel, { kind: 'virq', virq });
    this.virqs.set(virqKey(virq, vcpu), channel.port);
    return channel.port;
  }

  /** EVTCHNOP_bind_ipi. ENOENT; ENOSPC. */
  bindIpi(vcpu: number): Port | number {
    if (vcpu >= this.host.vcpus) return -ENOENT;
    const channel = this.allocate();
    if (typeof channel === 'number') return channel;
    channel.notify = vcpuId(vcpu);
    this.bind(channel, { kind: 'ipi' });
    return channel.port;
  }

  /** EVTCHNOP_bind_pirq. EINVAL: number; EPERM: not permitted to the (PV) domain; EEXIST; ENOSPC. */
  bindPirq(pirq: number, permitted: boolean): Port | number {
    if (pirq >= (this.options.pirqs ?? 0)) return -EINVAL;
    if (!permitted) return -EPERM;
    if (this.pirqs.has(pirq)) return -EEXIST;
    const channel = this.allocate();
    if (typeof channel === 'number') return channel;
    this.bind(channel, { kind: 'pirq', pirq });
    this.pirqs.set(pirq, channel.port);
    return channel.port;
  }

  /** EVTCHNOP_close. EINVAL: bad, free, reserved or (for the guest) Xen-owned port. The peer becomes unbound again. */
  close(port: number, byGuest = true): number {
    const channel = this.channels[port];
    if (channel === undefined) return -EINVAL;
    if (channel.consumer !== undefined && byGuest) return -EINVAL;
    const { state } = channel;
    switch (state.kind) {
      case 'free':
      case 'reserved':
        return -EINVAL;
      case 'unbound':
      case 'ipi':
        break;
      case 'pirq':
        this.pirqs.delete(state.pirq);
        break;
      case 'virq':
        this.virqs.delete(virqKey(state.virq, virqType(state.virq) === 'vcpu' ? channel.notify : 0));
        break;
      case 'interdomain': {
        this.free(channel);
        state.remote.channels[state.port].state = { kind: 'unbound', remote: this.domid };
        return 0;
      }
    }
    this.free(channel);
    return 0;
  }

  /** EVTCHNOP_send. EINVAL: bad or Xen-owned port, or one that cannot be sent through. Without a peer the event is dropped. */
  send(port: number): number {
    const channel = this.channels[port];
    if (channel === undefined || channel.consumer !== undefined) return -EINVAL;
    const { state } = channel;
    switch (state.kind) {
      case 'interdomain':
        state.remote.deliver(state.remote.channels[state.port]);
        return 0;
      case 'ipi':
        this.setPending(channel);
        return 0;
      case 'unbound':
        return 0;
      default:
        return -EINVAL;
    }
  }

  /** Notifies the guest at the other end of a Xen-owned port; nothing happens while it is not connected. */
  notifyPeer(port: Port): void {
    const state = this.channels[port]?.state;
    if (state?.kind === 'interdomain') state.remote.deliver(state.remote.channels[state.port]);
  }

  /** EVTCHNOP_status. ESRCH; EINVAL: bad port; EPERM: another domain. */
  status(dom: DomId, port: number): EventChannel | number {
    const owner = this.resolve(dom);
    if (owner === undefined) return -ESRCH;
    const channel = owner.channels[port];
    if (channel === undefined) return -EINVAL;
    return owner === this ? channel : -EPERM;
  }

  /** EVTCHNOP_bind_vcpu. ENOENT; EINVAL: bad, free, Xen-owned port, IPI or per-vCPU VIRQ. */
  bindVcpu(port: number, vcpu: number): number {
    if (vcpu >= this.host.vcpus) return -ENOENT;
    const channel = this.channels[port];
    if (channel === undefined || channel.consumer !== undefined) return -EINVAL;
    const { state } = channel;
    if (state.kind === 'virq' ? virqType(state.virq) === 'vcpu' : !rebindable.has(state.kind)) return -EINVAL;
    channel.notify = vcpuId(vcpu);
    return 0;
  }

  /** EVTCHNOP_unmask. EINVAL: bad port; free and reserved ports are accepted and ignored. */
  unmask(port: number): number {
    const channel = this.channels[port];
    if (channel === undefined) return -EINVAL;
    if (channel.usable) this.abi.unmask(channel);
    return 0;
  }

  /** EVTCHNOP_reset by the domain itself. ESRCH; EPERM: another domain. Closes what the guest may close, returns to the 2-level ABI. */
  reset(dom: DomId): number {
    const owner = this.resolve(dom);
    if (owner === undefined) return -ESRCH;
    if (owner !== this) return -EPERM;
    return this.closeAll();
  }

  /** Closes every port the guest owns and goes back to the 2-level ABI. EAGAIN: some could not be closed. */
  closeAll(): number {
    for (const channel of this.channels) {
      if (channel.usable && this.close(channel.port) !== 0) return -EAGAIN;
    }
    this.fifo?.destroy();
    this.fifo = undefined;
    return 0;
  }

  /** Tears the channels of a destroyed domain down, Xen-owned ends included. */
  destroy(): void {
    for (const channel of this.channels) {
      if (channel.state.kind !== 'free' && channel.state.kind !== 'reserved') this.close(channel.port, false);
    }
    this.fifo?.destroy();
    this.fifo = undefined;
  }

  /**
   * EVTCHNOP_init_control. ENOENT; EINVAL: offset crosses the page, misaligned, the vCPU has a control block, bad frame. The first call switches
   * the domain to FIFO; when it fails everything is as before, so that EVTCHNOP_expand_array answers EOPNOTSUPP. Returns the link width.
   */
  initControl(gfn: number, offset: number, vcpu: number): number {
    if (vcpu >= this.host.vcpus) return -ENOENT;
    if (offset > PAGE_SIZE - CONTROL_BLOCK_SIZE) return -EINVAL;
    if (offset % 8 !== 0) return -EINVAL;
    const fifo = this.fifo ?? new FifoAbi(this.host);
    const rc = fifo.mapControlBlock(vcpuId(vcpu), gfn, offset);
    if (rc !== 0) return rc;
    if (this.fifo === undefined) {
      const previous = this.twoLevel.maxPorts();
      fifo.adopt(this.channels.slice(1, previous));
      this.fifo = fifo;
    }
    return EVTCHN_FIFO_LINK_BITS;
  }

  /** EVTCHNOP_expand_array. EOPNOTSUPP: the domain is not in the FIFO ABI; ENOSPC; EINVAL: bad frame. */
  expandArray(gfn: number): number {
    if (this.fifo === undefined) return -EOPNOTSUPP;
    return this.fifo.expandArray(gfn, (port) => this.channels[port]);
  }

  /** EVTCHNOP_set_priority. EINVAL: bad port; ENOSYS: 2-level; EACCES: not a port of the guest's; EINVAL: bad priority. */
  setPriority(port: number, priority: number): number {
    const channel = this.channels[port];
    if (channel === undefined) return -EINVAL;
    const { setPriority } = this.abi;
    if (setPriority === undefined) return -ENOSYS;
    return channel.usable ? setPriority(channel, priority) : -EACCES;
  }

  /** Raises a VIRQ: on its vCPU for per-vCPU ones. False when no port is bound to it, in which case it is lost. */
  raiseVirq(virq: number, vcpu: VcpuId = vcpuId(0)): boolean {
    const perVcpu = virqType(virq) === 'vcpu';
    const port = this.virqs.get(virqKey(virq, perVcpu ? vcpu : 0));
    if (port === undefined) return false;
    this.setPending(this.channels[port]);
    return true;
  }

  /** SCHEDOP_poll's look at a port: is it pending? EINVAL for ports that are not the guest's. Masked ports count. */
  poll(port: number): boolean | number {
    const channel = this.channels[port];
    if (channel === undefined || !channel.usable) return -EINVAL;
    return this.abi.isPending(channel);
  }

  private resolve(dom: DomId): EventChannels | undefined {
    return dom === DOMID_SELF || dom === this.domid ? this : this.host.findDomain(domId(dom));
  }

  /** A free channel with the lowest port, not yet bound to anything; ENOSPC. */
  private allocate(): EventChannel | number {
    const limit = Math.min((this.options.maxPort ?? DEFAULT_MAX_PORT) + 1, this.abi.maxPorts());
    for (let port = 0; port < limit; port++) {
      if (port >= this.channels.length) this.grow();
      const channel = this.channels[port];
      if (channel.state.kind === 'free' && !this.abi.isBusy(channel)) return channel;
    }
    return -ENOSPC;
  }

  private grow(): void {
    for (let i = 0; i < BUCKET; i++) this.channels.push(new EventChannel(asPort(this.channels.length)));
  }

  private bind(channel: EventChannel, state: EventChannel['state']): void {
    channel.state = state;
    this.abi.init(channel);
  }

  private free(channel: EventChannel): void {
    if (channel.usable) this.abi.clearPending(channel);
    channel.state = { kind: 'free' };
    channel.notify = vcpuId(0);
    channel.consumer = undefined;
  }

  private deliver(channel: EventChannel): void {
    if (channel.consumer !== undefined) channel.consumer(channel.port);
    else this.setPending(channel);
  }

  private setPending(channel: EventChannel): void {
    if (channel.usable) this.abi.setPending(channel.notify, channel);
  }
}

const rebindable: ReadonlySet<string> = new Set(['unbound', 'interdomain', 'pirq']);
const virqKey = (virq: number, vcpu: number): number => vcpu * NR_VIRQS + virq;
