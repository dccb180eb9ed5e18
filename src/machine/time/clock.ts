/**
 * Virtual system time. It moves only when its owner moves it: with executed instructions, or to the next timer when every vCPU is
 * idle. Devices read it and never a clock of the host, so the same inputs give the same run.
 */
import { type Nanoseconds, nanoseconds } from '../../base/int.ts';

export class Clock {
  /** Called before each read, so that the owner can account for instructions executed since it last moved the clock. */
  beforeRead: (() => void) | undefined;
  private time = 0n;

  /** System time in ns since the machine started. */
  now(): Nanoseconds {
    this.beforeRead?.();
    return nanoseconds(this.time);
  }

  /** Moves time forward by `ns`. */
  advance(ns: bigint): void {
    if (ns < 0n) throw new RangeError(`system time cannot go back by ${-ns} ns`);
    this.time += ns;
  }

  /** Moves time forward to `time`; a time already passed leaves it alone. */
  advanceTo(time: Nanoseconds): void {
    if (time > this.time) this.time = time;
  }

  save(): ClockState {
    return { version: 1, time: this.time };
  }

  load(state: ClockState): void {
    this.time = state.time;
  }
}

export interface ClockState {
  readonly version: 1;
  readonly time: bigint;
}
