/** Synthetic timers of one vCPU: four, in units of 100 ns reference time, that expire with a message to a synthetic interrupt source. */
import { nanoseconds } from '../../base/int.ts';
import { Alarm } from '../../machine/index.ts';
import { STIMERS } from './bits.ts';
import type { ViridianHost } from './host.ts';
import type { ReferenceTime } from './reference-time.ts';
import type { Synic } from './synic.ts';

const ENABLE = 1n << 0n;
const PERIODIC = 1n << 1n;
const LAZY = 1n << 2n;
const AUTO_ENABLE = 1n << 3n;
const SOURCE_SHIFT = 16n;
const NS_PER_UNIT = 100n;
/** More missed expirations than this are dropped. */
const MAKE_UP_LIMIT = 3n;

export interface StimerState {
  readonly config: bigint;
  readonly count: bigint;
  readonly expiration: bigint;
  readonly started: boolean;
  readonly pending: boolean;
  readonly deadline: bigint | undefined;
}

interface Timer extends Omit<{ -readonly [K in keyof StimerState]: StimerState[K] }, 'deadline'> {
  readonly alarm: Alarm;
}

export class SyntheticTimers {
  private readonly host: ViridianHost;
  private readonly time: ReferenceTime;
  private readonly synic: Synic;
  private readonly timers: readonly Timer[];

  constructor(host: ViridianHost, time: ReferenceTime, synic: Synic) {
    this.host = host;
    this.time = time;
    this.synic = synic;
    this.timers = Array.from({ length: STIMERS }, (_, index) => ({
      config: 0n,
      count: 0n,
      expiration: 0n,
      started: false,
      pending: false,
      alarm: new Alarm(host.events, () => this.expire(index)),
    }));
  }

  /** Configuration; an expired one-shot timer reads as disabled. */
  readConfig(index: number): bigint {
    const timer = this.timers[index]!;
    return timer.pending && (timer.config & PERIODIC) === 0n ? timer.config & ~ENABLE : timer.config;
  }

  readCount(index: number): bigint {
    return this.timers[index]!.count;
  }

  /** A timer without a source or without a count stays disabled. */
  writeConfig(index: number, value: bigint): void {
    const timer = this.timers[index]!;
    this.stop(timer);
    timer.config = sourceOf(value) === 0 || timer.count === 0n ? value & ~ENABLE : value;
    if ((timer.config & ENABLE) !== 0n) this.start(index);
  }

  writeCount(index: number, value: bigint): void {
    const timer = this.timers[index]!;
    this.stop(timer);
    timer.count = value;
    if (value === 0n) timer.config &= ~ENABLE;
    else if ((timer.config & AUTO_ENABLE) !== 0n) timer.config |= ENABLE;
    if ((timer.config & ENABLE) !== 0n) this.start(index);
  }

  /** Tries again to deliver messages that found their slot taken. */
  poll(): void {
    for (let index = 0; index < STIMERS; index++) this.deliver(index);
  }

  private stop(timer: Timer): void {
    timer.alarm.stop();
    timer.started = false;
  }

  private start(index: number): void {
    const timer = this.timers[index]!;
    const now = this.time.now();
    let expiration = timer.count;
    if ((timer.config & PERIODIC) !== 0n) {
      expiration = now + timer.count;
      if (timer.started && (timer.config & LAZY) === 0n) {
        const next = timer.expiration + timer.count;
        const missed = next <= now ? (now - next) / timer.count + 1n : 0n;
        if (missed === 0n) expiration = next;
        else if (missed <= MAKE_UP_LIMIT) expiration = now + timer.count / missed;
      }
    }
    timer.expiration = expiration;
    // Compared as signed: a count in the upper half of the range is long past.
    if (BigInt.asIntN(64, expiration - now) <= 0n) {
      this.expire(index);
      return;
    }
    timer.started = true;
    timer.pending = false;
    timer.alarm.set(nanoseconds(this.host.clock.now() + (expiration - now) * NS_PER_UNIT));
  }

  private expire(index: number): void {
    this.timers[index]!.pending = true;
    this.deliver(index);
  }

  private deliver(index: number): void {
    const timer = this.timers[index]!;
    if ((timer.config & ENABLE) === 0n) timer.pending = false;
    if (!timer.pending) return;
    if (!this.synic.deliverTimer(sourceOf(timer.config), index, timer.expiration, this.time.now())) return;
    timer.pending = false;
    if ((timer.config & PERIODIC) !== 0n) this.start(index);
    else timer.config &= ~ENABLE;
  }

  save(): StimerState[] {
    return this.timers.map(({ alarm, ...rest }) => ({ ...rest, deadline: alarm.deadline }));
  }

  load(states: readonly StimerState[]): void {
    for (const [index, { deadline, ...rest }] of states.entries()) {
      const timer = this.timers[index]!;
      Object.assign(timer, rest);
      timer.alarm.set(deadline === undefined ? undefined : nanoseconds(deadline));
    }
  }
}

const sourceOf = (config: bigint): number => Number((config >> SOURCE_SHIFT) & 0xfn);
