/**
 * The interrupt side of a virtual timer, as Xen's guests see it (`xen:arch/x86/hvm/vpt.c`): a tick stays pending until the guest takes
 * its interrupt, and the next one is armed only then. A timer whose interrupt is masked sleeps with its tick pending and delivers it
 * when unmasked, so a guest that ignores a timer costs nothing.
 */
import { type Nanoseconds, nanoseconds } from '../../base/int.ts';
import type { Clock } from './clock.ts';
import { Alarm, type EventQueue } from './event-queue.ts';

/** Where an interrupt was taken from. */
export type InterruptSource = 'lapic' | 'pic';

/** The wire behind a timer. */
export interface TimerLine {
  /** Nobody would see the interrupt now. */
  masked(): boolean;
  /** Raises the interrupt; doing so again before it is taken changes nothing. */
  raise(): void;
  /** Whether `vector`, taken from `source`, is this timer's interrupt. */
  owns(source: InterruptSource, vector: number): boolean;
  /** Ticks are delivered even where {@link masked} says nobody looks (the RTC, which sets register C). */
  readonly evenMasked?: boolean;
}

/** HVM_PARAM_TIMER_MODE: what happens to ticks that fell due before an earlier one was taken (`xen:public/hvm/params.h`). */
export const DELAY_FOR_MISSED_TICKS = 0;
export const NO_DELAY_FOR_MISSED_TICKS = 1;
export const NO_MISSED_TICKS_PENDING = 2;
export const ONE_MISSED_TICK_PENDING = 3;

export interface TimeBase {
  readonly clock: Clock;
  readonly events: EventQueue;
  /** HVM_PARAM_TIMER_MODE. */
  timerMode: number;
}

/** Shortest period; shorter ones are stretched to it. */
export const MINIMUM_PERIOD_NS = 100_000n;

export interface PlatformTimerState {
  readonly running: boolean;
  readonly period: bigint;
  readonly scheduled: bigint;
  readonly armed: boolean;
  readonly pending: number;
  readonly issued: boolean;
  readonly level: boolean;
}

export class PlatformTimer {
  /** Called when a tick's interrupt is taken. */
  onTaken: (() => void) | undefined;
  private readonly base: TimeBase;
  private readonly line: TimerLine;
  private readonly alarm: Alarm;
  private running = false;
  private period = 0n;
  private scheduled = 0n;
  private pending = 0;
  private issued = false;
  /** The line is level triggered: a tick counts as taken as soon as it is raised; the device holds the line. */
  private level = false;

  constructor(base: TimeBase, line: TimerLine) {
    this.base = base;
    this.line = line;
    this.alarm = new Alarm(base.events, () => this.expire());
  }

  /**
   * First tick `delta` ns from now, then every `period` ns (0: once). `late` ns are added to the first tick of a periodic timer: Xen
   * moves LAPIC ticks half a period away from those of other timers.
   */
  start(delta: bigint, period: bigint, level = false, late = 0n): void {
    this.stop();
    this.running = true;
    this.level = level;
    this.period = period > 0n && period < MINIMUM_PERIOD_NS ? MINIMUM_PERIOD_NS : period;
    this.scheduled = this.base.clock.now() + delta + (period > 0n ? late : 0n);
    this.arm();
  }

  stop(): void {
    this.running = false;
    this.pending = 0;
    this.issued = false;
    this.alarm.stop();
  }

  /** A mask on the way of the interrupt may have gone: deliver what waited. */
  unmasked(): void {
    if (this.pending > 0) this.deliver();
  }

  /** An interrupt was taken. */
  taken(source: InterruptSource, vector: number): void {
    if (this.pending > 0 && this.issued && this.line.owns(source, vector)) this.finish();
    else if (this.pending > 0 && !this.level) this.deliver();
  }

  private arm(): void {
    this.alarm.set(nanoseconds(this.scheduled));
  }

  private expire(): void {
    this.pending++;
    this.scheduled += this.period;
    this.deliver();
  }

  private deliver(): void {
    if (!this.level && !this.line.evenMasked && this.line.masked()) return;
    this.issued = true;
    this.line.raise();
    if (this.level) this.finish();
  }

  private finish(): void {
    this.issued = false;
    if (this.period === 0n) {
      this.running = false;
      this.pending = 0;
    } else {
      this.pending--;
      if (this.pending === 0 || this.dropsMissed()) {
        this.countMissed();
        if (this.dropsMissed()) this.pending = 0;
        if (this.pending === 0) this.arm();
      }
    }
    this.onTaken?.();
    if (this.running && this.pending > 0) this.deliver();
  }

  private dropsMissed(): boolean {
    return this.base.timerMode === NO_MISSED_TICKS_PENDING || this.base.timerMode === ONE_MISSED_TICK_PENDING;
  }

  private countMissed(): void {
    const late = this.base.clock.now() - this.scheduled;
    if (late <= 0n) return;
    const missed = late / this.period + 1n;
    this.pending += Number(missed);
    this.scheduled += missed * this.period;
  }

  /** It ticks, or a tick waits to be taken. */
  get active(): boolean {
    return this.running;
  }

  /** When the next tick falls due, or undefined when none is armed. */
  get deadline(): Nanoseconds | undefined {
    return this.alarm.deadline;
  }

  save(): PlatformTimerState {
    const { running, period, scheduled, pending, issued, level } = this;
    return { running, period, scheduled, armed: this.alarm.deadline !== undefined, pending, issued, level };
  }

  load(state: PlatformTimerState): void {
    this.alarm.stop();
    this.running = state.running;
    this.period = state.period;
    this.scheduled = state.scheduled;
    this.pending = state.pending;
    this.issued = state.issued;
    this.level = state.level;
    if (state.armed) this.arm();
  }
}
