/** The local APIC timer: one-shot and periodic counting down at 100 MHz through a divider, and TSC-deadline. */
import type { PlatformTimer, PlatformTimerState, TimeBase } from '../time/platform-timer.ts';
import {
  APIC_BUS_CYCLE_NS,
  TDCR_MASK,
  TIMER_MODE_MASK,
  TIMER_ONESHOT,
  TIMER_PERIODIC,
  TIMER_TSC_DEADLINE,
} from './lapic-registers.ts';

/** Guest time-stamp counter of the LAPIC's vCPU. */
export interface TscSource {
  now(): bigint;
  /** Ticks to nanoseconds. */
  toNanoseconds(ticks: bigint): bigint;
}

export interface LapicTimerState {
  readonly started: bigint | undefined;
  readonly divisor: number;
  readonly deadline: bigint;
  readonly ticks: PlatformTimerState;
}

export class LapicTimer {
  private readonly base: TimeBase;
  private readonly ticks: PlatformTimer;
  private readonly tsc: TscSource;
  /** When the count was last at its initial value; undefined: the current count reads 0. */
  private started: bigint | undefined;
  private divisor = 2;
  private tscDeadline = 0n;

  constructor(base: TimeBase, ticks: PlatformTimer, tsc: TscSource) {
    this.base = base;
    this.ticks = ticks;
    this.tsc = tsc;
  }

  /** Current count for the given LVT timer mode and initial count; unsigned 32-bit. */
  currentCount(lvtt: number, initial: number): number {
    const mode = lvtt & TIMER_MODE_MASK;
    if ((mode !== TIMER_ONESHOT && mode !== TIMER_PERIODIC) || initial === 0 || this.started === undefined) return 0;
    let passed = (this.base.clock.now() - this.started) / (APIC_BUS_CYCLE_NS * BigInt(this.divisor));
    if (mode === TIMER_PERIODIC) passed %= BigInt(initial);
    return passed < BigInt(initial) ? initial - Number(passed) : 0;
  }

  /** A new initial count. */
  restart(lvtt: number, initial: number): void {
    this.program(lvtt, lvtt, initial, true, this.divisor);
  }

  /** The LVT entry changes from `old` to `lvtt`; the count goes on. */
  changeMode(old: number, lvtt: number, initial: number): void {
    this.program(old, lvtt, initial, false, this.divisor);
  }

  /** A new divide configuration; the count goes on. */
  changeDivider(lvtt: number, initial: number, tdcr: number): void {
    const before = this.divisor;
    this.setDivider(tdcr);
    this.program(lvtt, lvtt, initial, false, before);
  }

  /** Divide by 2, 4 … 128, 1 for encodings 0 to 7 of bits 3, 1 and 0. */
  setDivider(tdcr: number): void {
    const bits = tdcr & TDCR_MASK;
    this.divisor = 1 << ((((bits & 3) | ((bits & 8) >> 1)) + 1) & 7);
  }

  /** IA32_TSC_DEADLINE: 0 outside that mode and once it fired. */
  readDeadline(lvtt: number): bigint {
    return (lvtt & TIMER_MODE_MASK) === TIMER_TSC_DEADLINE ? this.tscDeadline : 0n;
  }

  /** Arms the deadline; one in the past fires at once, 0 disarms. Ignored outside TSC-deadline mode. */
  writeDeadline(lvtt: number, value: bigint): void {
    if ((lvtt & TIMER_MODE_MASK) !== TIMER_TSC_DEADLINE) return;
    const now = this.tsc.now();
    this.tscDeadline = value > now ? value : 0n;
    if (value === 0n) {
      this.ticks.stop();
      return;
    }
    this.started = this.base.clock.now();
    this.ticks.onTaken = this.deadlineTaken;
    this.ticks.start(value > now ? this.tsc.toNanoseconds(value - now) : 0n, 0n);
  }

  /** Leaves or enters TSC-deadline mode: nothing stays armed. */
  forgetDeadline(): void {
    this.tscDeadline = 0n;
  }

  reset(): void {
    this.ticks.stop();
    this.setDivider(0);
  }

  private readonly deadlineTaken = (): void => {
    this.started = this.base.clock.now();
    this.tscDeadline = 0n;
  };

  private readonly tickTaken = (): void => {
    this.started = this.base.clock.now();
  };

  private program(oldLvtt: number, lvtt: number, initial: number, fresh: boolean, oldDivisor: number): void {
    const mode = lvtt & TIMER_MODE_MASK;
    const periodAt = (divisor: number): bigint => BigInt(initial) * APIC_BUS_CYCLE_NS * BigInt(divisor);
    let period = periodAt(oldDivisor);
    let delta = 0n;
    if (fresh) delta = period;
    else if (period > 0n && this.started !== undefined) {
      let passed = this.base.clock.now() - this.started;
      if ((oldLvtt & TIMER_MODE_MASK) === TIMER_PERIODIC) passed %= period;
      if (passed < period) delta = period - passed;
    }
    if (delta === 0n || (mode !== TIMER_ONESHOT && mode !== TIMER_PERIODIC)) {
      this.ticks.stop();
      this.started = undefined;
      return;
    }
    if (this.divisor !== oldDivisor) {
      period = periodAt(this.divisor);
      delta = (delta * BigInt(this.divisor)) / BigInt(oldDivisor);
    }
    const periodic = mode === TIMER_PERIODIC;
    this.ticks.onTaken = periodic ? this.tickTaken : undefined;
    this.ticks.start(delta, periodic ? period : 0n, false, delta >> 1n);
    this.started = this.base.clock.now() - (fresh ? 0n : period - delta);
  }

  save(): LapicTimerState {
    const { started, divisor, tscDeadline: deadline } = this;
    return { started, divisor, deadline, ticks: this.ticks.save() };
  }

  load(state: LapicTimerState, lvtt: number): void {
    this.started = state.started;
    this.divisor = state.divisor;
    this.tscDeadline = state.deadline;
    const mode = lvtt & TIMER_MODE_MASK;
    this.ticks.onTaken =
      mode === TIMER_PERIODIC ? this.tickTaken : mode === TIMER_TSC_DEADLINE ? this.deadlineTaken : undefined;
    this.ticks.load(state.ticks);
  }
}
