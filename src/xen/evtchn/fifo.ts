/**
 * FIFO event channels: one 32-bit event word per port in pages of the guest, sixteen queues per vCPU whose heads are in its control block.
 *
 * Event word: bit 31 PENDING, 30 MASKED, 29 LINKED, 28 BUSY, 16-0 LINK (next port of the queue). Order of effects: PENDING; unless masked or
 * already linked, LINKED and the port is appended (to the tail's LINK while the tail is still linked, else to the head); then the ready bit of
 * the queue; when that was newly set, upcall_pending. `xen:public/event_channel.h#evtchn_fifo_control_block`
 */
import { EINVAL, ENOSPC } from '../../abi/xen/errno.ts';
import {
  EVTCHN_FIFO_BUSY,
  EVTCHN_FIFO_LINK_MASK,
  EVTCHN_FIFO_LINKED,
  EVTCHN_FIFO_MASKED,
  EVTCHN_FIFO_MAX_QUEUES,
  EVTCHN_FIFO_NR_CHANNELS,
  EVTCHN_FIFO_PENDING,
  EVTCHN_FIFO_PRIORITY_MIN,
} from '../../abi/xen/event-channel.ts';
import type { Port, VcpuId } from '../../base/int.ts';
import { port as asPort, vcpuId } from '../../base/int.ts';
import type { EventAbi, EventChannel, EventHost, HeldPage } from './channel.ts';
import { DEFAULT_PRIORITY } from './channel.ts';

const WORDS_PER_PAGE = 1024;
const MAX_PAGES = EVTCHN_FIFO_NR_CHANNELS / WORDS_PER_PAGE;
/** Byte offsets in a control block. */
const READY = 0;
const HEADS = 8;
/** Size of a control block: ready word, padding, sixteen heads. */
export const CONTROL_BLOCK_SIZE = HEADS + 4 * EVTCHN_FIFO_MAX_QUEUES;

interface ControlBlock {
  readonly page: HeldPage;
  readonly offset: number;
}

interface VcpuQueues {
  control: ControlBlock | undefined;
  /** Last port of each queue; 0 when it is known to be empty. */
  readonly tails: Uint32Array;
}

export class FifoAbi implements EventAbi {
  readonly setPriority = (channel: EventChannel, priority: number): number => {
    if (priority > EVTCHN_FIFO_PRIORITY_MIN) return -EINVAL;
    channel.priority = priority;
    return 0;
  };
  private readonly host: EventHost;
  private readonly queues: VcpuQueues[] = [];
  private readonly array: HeldPage[] = [];

  constructor(host: EventHost) {
    this.host = host;
    for (let id = 0; id < host.vcpus; id++) {
      this.queues.push({ control: undefined, tails: new Uint32Array(EVTCHN_FIFO_MAX_QUEUES) });
    }
  }

  /** Gives a vCPU its control block. EINVAL: it has one; the frame is not writable RAM. */
  mapControlBlock(vcpu: VcpuId, gfn: number, offset: number): number {
    const queues = this.queues[vcpu];
    if (queues.control !== undefined) return -EINVAL;
    const page = this.host.holdPage(gfn);
    if (page === undefined) return -EINVAL;
    queues.control = { page, offset };
    return 0;
  }

  /** Keeps what was pending in the 2-level ABI and gives every bound port the default priority. */
  adopt(channels: Iterable<EventChannel>): void {
    for (const channel of channels) {
      if (this.host.testPending(channel.port)) channel.pendingEarly = true;
      channel.priority = DEFAULT_PRIORITY;
    }
  }

  /** Appends a page of event words. ENOSPC: 128 pages exist; EINVAL: the frame is not writable RAM. */
  expandArray(gfn: number, channelAt: (port: Port) => EventChannel | undefined): number {
    if (this.array.length >= MAX_PAGES) return -ENOSPC;
    const page = this.host.holdPage(gfn);
    if (page === undefined) return -EINVAL;
    const first = this.array.length * WORDS_PER_PAGE;
    this.array.push(page);
    for (let port = first; port < first + WORDS_PER_PAGE; port++) {
      const channel = channelAt(asPort(port));
      if (channel === undefined) break;
      if (channel.pendingEarly) this.setPending(channel.notify, channel);
    }
    return 0;
  }

  /** Lets go of all guest pages. */
  destroy(): void {
    for (const { control } of this.queues) if (control !== undefined) this.host.releasePage(control.page);
    for (const page of this.array) this.host.releasePage(page);
  }

  maxPorts(): number {
    return EVTCHN_FIFO_NR_CHANNELS;
  }

  init(channel: EventChannel): void {
    channel.priority = DEFAULT_PRIORITY;
  }

  setPending(vcpu: VcpuId, channel: EventChannel): void {
    const { port } = channel;
    if (!this.has(port)) {
      channel.pendingEarly = true;
      return;
    }
    const queues = this.queues[vcpu];
    if (queues.control === undefined) {
      this.host.eventLost(vcpu, port);
      return;
    }
    const wasPending = this.testAndSet(port, EVTCHN_FIFO_PENDING);
    const headChanged =
      (this.read(port) & EVTCHN_FIFO_MASKED) === 0 &&
      !this.testAndSet(port, EVTCHN_FIFO_LINKED) &&
      this.append(vcpu, queues, queues.control, channel);
    if (headChanged && this.markReady(queues.control, channel.priority)) this.host.markEventsPending(vcpu);
    if (!wasPending) this.host.checkPollers(port);
  }

  clearPending(channel: EventChannel): void {
    if (this.has(channel.port)) this.write(channel.port, this.read(channel.port) & ~EVTCHN_FIFO_PENDING);
  }

  unmask(channel: EventChannel): void {
    if (!this.has(channel.port)) return;
    const word = this.read(channel.port) & ~EVTCHN_FIFO_MASKED;
    this.write(channel.port, word);
    if ((word & EVTCHN_FIFO_PENDING) !== 0) this.setPending(channel.notify, channel);
  }

  isPending(channel: EventChannel): boolean {
    return this.has(channel.port) && (this.read(channel.port) & EVTCHN_FIFO_PENDING) !== 0;
  }

  isMasked(channel: EventChannel): boolean {
    return !this.has(channel.port) || (this.read(channel.port) & EVTCHN_FIFO_MASKED) !== 0;
  }

  isBusy(channel: EventChannel): boolean {
    return this.has(channel.port) && (this.read(channel.port) & EVTCHN_FIFO_LINKED) !== 0;
  }

  /** Puts a port that was just marked linked on its queue. True when it became the head. */
  private append(vcpu: VcpuId, queues: VcpuQueues, control: ControlBlock, channel: EventChannel): boolean {
    const { port, priority } = channel;
    const oldTails = this.queues[channel.lastVcpu].tails;
    if (oldTails[channel.lastPriority] === port) oldTails[channel.lastPriority] = 0;
    channel.lastVcpu = vcpuId(vcpu);
    channel.lastPriority = priority;
    const tail = queues.tails[priority];
    const linked = tail !== 0 && this.setLink(tail, port);
    if (!linked) control.page.view.setUint32(control.offset + HEADS + priority * 4, port, true);
    queues.tails[priority] = port;
    return !linked;
  }

  /** Points a tail at its successor while the guest has not yet unlinked it. */
  private setLink(tail: number, link: number): boolean {
    const word = this.read(tail);
    if ((word & EVTCHN_FIFO_LINKED) === 0) return false;
    this.write(tail, (word & ~(EVTCHN_FIFO_BUSY | EVTCHN_FIFO_LINK_MASK)) | link);
    return true;
  }

  /** Sets the ready bit of a queue; true when it was clear. */
  private markReady(control: ControlBlock, priority: number): boolean {
    const at = control.offset + READY;
    const ready = control.page.view.getUint32(at, true);
    control.page.view.setUint32(at, ready | (1 << priority), true);
    return (ready & (1 << priority)) === 0;
  }

  private has(port: number): boolean {
    return port < this.array.length * WORDS_PER_PAGE;
  }

  private read(port: number): number {
    return this.array[Math.floor(port / WORDS_PER_PAGE)].view.getUint32((port % WORDS_PER_PAGE) * 4, true);
  }

  private write(port: number, word: number): void {
    this.array[Math.floor(port / WORDS_PER_PAGE)].view.setUint32((port % WORDS_PER_PAGE) * 4, word, true);
  }

  private testAndSet(port: number, bit: number): boolean {
    const word = this.read(port);
    this.write(port, word | bit);
    return (word & bit) !== 0;
  }
}
