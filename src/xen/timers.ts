/**
 * The Xen timers of a vCPU: singleshot (also set_timer_op), periodic and poll timeout. All but the last announce themselves by VIRQ_TIMER, which
 * is lost when no port is bound to it. `xen:public/vcpu.h#VCPUOP_set_periodic_timer`
 */
import { VIRQ_TIMER } from '../abi/xen/xen.ts';
import type { Alarm } from './domain.ts';
import type { Vcpu } from './vcpu.ts';

const MILLISECOND = 1_000_000n;
/** Deadlines further away than this (about 13 days) are taken for wrapped counters. */
const ABSURD = 1n << 50n;
/** Deadlines are signed 64-bit: one with the top bit set lies in the past. */
const signed = (deadline: bigint): bigint => BigInt.asIntN(64, deadline);

export class VcpuTimers {
  private readonly vcpu: Vcpu;
  private singleshot: Alarm | undefined;
  private periodic: Alarm | undefined;
  private pollTimeout: Alarm | undefined;
  /** 0 when off. */
  private period = 0n;
  private lastTick = 0n;

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
  }

  /** Arms the singleshot timer at an absolute time; a deadline in the past fires at once. */
  setSingleshot(deadline: bigint): void {
    this.stopSingleshot();
    this.singleshot = this.vcpu.domain.time.alarm(signed(deadline), () => {
      this.singleshot = undefined;
      this.raise();
    });
  }

  stopSingleshot(): void {
    this.singleshot?.cancel();
    this.singleshot = undefined;
  }

  /** Sends VIRQ_TIMER now. */
  raise(): void {
    this.vcpu.domain.evtchn.raiseVirq(VIRQ_TIMER, this.vcpu.id);
  }

  /** set_timer_op: 0 cancels; negative or absurdly distant deadlines mean 100 ms from now. */
  setTimer(deadline: bigint): void {
    const now = this.vcpu.domain.now();
    if (deadline === 0n) this.stopSingleshot();
    else if (deadline < 0n || deadline - now >= ABSURD) this.setSingleshot(now + 100n * MILLISECOND);
    else this.setSingleshot(deadline);
  }

  /** Sets the period in ns; 0 stops it. Fires at once when a tick is already due. */
  setPeriodic(period: bigint): void {
    this.periodic?.cancel();
    this.periodic = undefined;
    this.period = period;
    if (period !== 0n) this.tick();
  }

  /** Period a vCPU is created with; the first tick comes when it first runs. */
  presetPeriod(period: bigint): void {
    this.period = period;
  }

  /** The vCPU was put on the processor: a missed tick arrives, once. */
  entered(): void {
    if (this.period !== 0n) this.tick();
  }

  /** The vCPU left the processor: ticks are not evaluated until it is back. */
  left(): void {
    this.periodic?.cancel();
    this.periodic = undefined;
  }

  /** Wakes a polling vCPU at an absolute time. */
  setPollTimeout(deadline: bigint, wake: () => void): void {
    this.stopPollTimeout();
    this.pollTimeout = this.vcpu.domain.time.alarm(signed(deadline), () => {
      this.pollTimeout = undefined;
      wake();
    });
  }

  stopPollTimeout(): void {
    this.pollTimeout?.cancel();
    this.pollTimeout = undefined;
  }

  private tick(): void {
    const now = this.vcpu.domain.now();
    if (now >= this.lastTick + this.period) {
      this.raise();
      this.lastTick = now;
    }
    this.periodic?.cancel();
    const next = this.lastTick + this.period;
    this.periodic = this.vcpu.domain.time.alarm(next, () => this.tick());
  }
}
