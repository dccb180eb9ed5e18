/**
 * 2-level event channels: a bit per port in shared_info, a bit per word of them in the vCPU's `evtchn_pending_sel`.
 *
 * Order of effects when an event is set pending (`xen:public/xen.h#shared_info`): the pending bit (stop if it was set); unless masked the selector
 * bit; when that was newly set, upcall_pending. One selector bit that stays set therefore holds back later upcalls.
 */
import type { VcpuId } from '../../base/int.ts';
import type { EventAbi, EventChannel, EventHost } from './channel.ts';

export class TwoLevelAbi implements EventAbi {
  readonly setPriority = undefined;
  private readonly host: EventHost;

  constructor(host: EventHost) {
    this.host = host;
  }

  maxPorts(): number {
    return this.host.wordBits() ** 2;
  }

  init(): void {}

  setPending(vcpu: VcpuId, channel: EventChannel): void {
    if (this.host.setPendingBit(channel.port, true)) return;
    if (!this.host.testMask(channel.port)) this.select(vcpu, channel, 'set_pending');
    this.host.checkPollers(channel.port);
  }

  clearPending(channel: EventChannel): void {
    this.host.setPendingBit(channel.port, false);
  }

  unmask(channel: EventChannel): void {
    if (this.host.setMaskBit(channel.port, false) && this.host.testPending(channel.port))
      this.select(channel.notify, channel, 'unmask');
  }

  isPending(channel: EventChannel): boolean {
    return channel.port < this.maxPorts() && this.host.testPending(channel.port);
  }

  isMasked(channel: EventChannel): boolean {
    return channel.port >= this.maxPorts() || this.host.testMask(channel.port);
  }

  isBusy(): boolean {
    return false;
  }

  private select(vcpu: VcpuId, channel: EventChannel, cause: 'set_pending' | 'unmask'): void {
    if (!this.host.setSelector(vcpu, Math.floor(channel.port / this.host.wordBits()), cause))
      this.host.markEventsPending(vcpu);
  }
}
