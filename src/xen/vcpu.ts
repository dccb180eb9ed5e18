/**
 * One virtual CPU as the hypervisor sees it: three independent facts decide whether it runs, namely pause flags, pause
 * counts (its own and the domain's) and, for bringing it up, whether its registers were ever initialised.
 */
import type { VcpuId } from '../base/int.ts';
import type { Domain } from './domain.ts';
import type { GuestCpu } from './guest-cpu.ts';
import { VcpuTimers } from './timers.ts';

/** Pause flags (`_VPF_*` of the hypervisor, as bits). */
export const VPF_blocked = 1 << 0;
export const VPF_down = 1 << 1;
export const VPF_blocked_in_xen = 1 << 2;
export const VPF_migrating = 1 << 3;
export const VPF_mem_paging = 1 << 4;
export const VPF_mem_access = 1 << 5;
export const VPF_mem_sharing = 1 << 6;
export const VPF_in_reset = 1 << 7;
export const VPF_parked = 1 << 8;

/** `RUNSTATE_*` of `xen:public/vcpu.h`. */
export const RUNSTATE_running = 0;
export const RUNSTATE_runnable = 1;
export const RUNSTATE_blocked = 2;
export const RUNSTATE_offline = 3;
export type Runstate = 0 | 1 | 2 | 3;

/** What a waiting SCHEDOP_poll waits for; empty `ports` means only its timeout. */
export interface PollState {
  readonly ports: readonly number[];
}

/** PV vCPUs start with a 100 Hz periodic timer, ns. */
const PV_TICK = 10_000_000n;

export class Vcpu {
  readonly id: VcpuId;
  readonly domain: Domain;
  /** The processor; set when the machine is assembled. */
  cpu: GuestCpu;
  /** Registers are valid. */
  isInitialised = false;
  pauseFlags = VPF_down;
  pauseCount = 0;
  /** Singleshot, periodic and poll timers. */
  readonly timers: VcpuTimers;
  /** Set while the vCPU is blocked in SCHEDOP_poll. */
  poll: PollState | undefined;
  /** Added to system time to give the time-stamp counter. */
  tscOffset = 0n;
  /** IA32_TSC_ADJUST: what the guest has moved its counter by. */
  tscAdjust = 0n;
  /** A PV vCPU that its initialisation put online: nobody woke it, so that it does not run until it is taken down and brought up. */
  private asleep = false;
  /** Being executed right now. */
  running = false;
  private runstateValue: Runstate = RUNSTATE_offline;
  /** System time (ns) of the last runstate change, and ns spent in each state until then. */
  runstateEntryTime: bigint;
  readonly runstateTime: [bigint, bigint, bigint, bigint] = [0n, 0n, 0n, 0n];

  constructor(domain: Domain, id: VcpuId, cpu: GuestCpu) {
    this.domain = domain;
    this.id = id;
    this.cpu = cpu;
    this.runstateEntryTime = domain.now();
    this.timers = new VcpuTimers(this);
    if (!domain.isHvm) this.timers.presetPeriod(PV_TICK);
  }

  get isOnline(): boolean {
    return (this.pauseFlags & VPF_down) === 0;
  }

  get isRunnable(): boolean {
    return this.pauseFlags === 0 && this.pauseCount === 0 && this.domain.pauseCount === 0 && !this.asleep;
  }

  get runstate(): Runstate {
    return this.runstateValue;
  }

  /** Accounts the time since the last change to the old state and enters a new one. */
  setRunstate(next: Runstate): void {
    const now = this.domain.now();
    const delta = now - this.runstateEntryTime;
    if (delta > 0n) {
      this.runstateTime[this.runstateValue] += delta;
      this.runstateEntryTime = now;
    }
    this.runstateValue = next;
  }

  /** Sets pause flags and takes the vCPU off the processor when it must not run any more. Returns true when any of the flags was clear. */
  setPauseFlags(flags: number): boolean {
    const changed = (this.pauseFlags & flags) !== flags;
    this.pauseFlags |= flags;
    this.settle();
    return changed;
  }

  /** Clears pause flags and wakes the vCPU when nothing holds it any more. Returns true when any of the flags was set. */
  clearPauseFlags(flags: number): boolean {
    const changed = (this.pauseFlags & flags) !== 0;
    this.pauseFlags &= ~flags;
    if (changed) this.asleep = false;
    this.settle();
    return changed;
  }

  /** PV: online by its initialisation, without being woken. */
  putOnlineAsleep(): void {
    this.pauseFlags &= ~VPF_down;
    this.asleep = true;
  }

  /** The tool stack lets the domain run. */
  wake(): void {
    this.asleep = false;
    this.settle();
  }

  pause(): void {
    this.pauseCount++;
    this.settle();
  }

  unpause(): void {
    if (this.pauseCount === 0) throw new RangeError(`vCPU ${this.id} is not paused`);
    this.pauseCount--;
    this.asleep = false;
    this.settle();
  }

  /** Blocks until an event arrives (SCHEDOP_block, HLT). The caller has checked that none is deliverable. */
  block(): void {
    this.setPauseFlags(VPF_blocked);
  }

  /** An event, interrupt or NMI arrived: ends blocking and polling. */
  unblock(): void {
    if (this.poll !== undefined) this.timers.stopPollTimeout();
    this.poll = undefined;
    this.clearPauseFlags(VPF_blocked);
  }

  /** Makes a running vCPU look at its interrupts before its next instruction, and ends blocking and polling. */
  kick(): void {
    if ((this.pauseFlags & VPF_blocked) !== 0) this.unblock();
    if (this.running) this.cpu.requestExit();
  }

  get nmiPending(): boolean {
    return this.cpu.nmiPending;
  }

  /** Latches a non-maskable interrupt. A vCPU that is down stays down. */
  sendNmi(): void {
    this.cpu.raiseNmi();
    this.kick();
  }

  /** Derives the runstate from the flags after any change of them. */
  settle(): void {
    if (this.isRunnable) {
      if (this.runstateValue !== RUNSTATE_running && this.runstateValue !== RUNSTATE_runnable)
        this.setRunstate(RUNSTATE_runnable);
      return;
    }
    if (this.running) this.cpu.requestExit();
    else if (this.runstateValue === RUNSTATE_runnable) this.setRunstate(this.offRunstate());
    else if (this.runstateValue === RUNSTATE_blocked && (this.pauseFlags & VPF_blocked) === 0)
      this.setRunstate(RUNSTATE_offline);
  }

  /** State of a vCPU that leaves the processor: blocked when that is among its reasons, offline when otherwise held, else runnable. */
  offRunstate(): Runstate {
    if (this.isRunnable) return RUNSTATE_runnable;
    return (this.pauseFlags & VPF_blocked) !== 0 ? RUNSTATE_blocked : RUNSTATE_offline;
  }
}
