/**
 * MC146818 real-time clock at ports 0x70 and 0x71 (`xen:arch/x86/hvm/rtc.c`): time of day from an injected wall clock plus system time,
 * alarm, update-ended and periodic interrupts on ISA line 8. Interrupts need no acknowledgement through register C. Bytes from 14 on
 * are battery-backed RAM, as a device model supplies them.
 */
import { nanoseconds } from '../../base/int.ts';
import { allOnes, type RangeHandler } from '../bus/ranges.ts';
import { type CalendarTime, fromSeconds, toSeconds } from './calendar.ts';
import { Alarm } from './event-queue.ts';
import { PlatformTimer, type PlatformTimerState, type TimeBase, type TimerLine } from './platform-timer.ts';

export const RTC_PORT = 0x70;
export const RTC_IRQ = 8;

export const SECONDS = 0;
export const SECONDS_ALARM = 1;
export const MINUTES = 2;
export const MINUTES_ALARM = 3;
export const HOURS = 4;
export const HOURS_ALARM = 5;
export const DAY_OF_WEEK = 6;
export const DAY_OF_MONTH = 7;
export const MONTH = 8;
export const YEAR = 9;
export const REG_A = 10;
export const REG_B = 11;
export const REG_C = 12;
export const REG_D = 13;

const A_UIP = 0x80;
const A_DIVIDER = 0x70;
const A_RATE = 0x0f;
const DIVIDER_32KHZ = 0x20;
const B_24H = 0x02;
const B_BINARY = 0x04;
const B_PIE = 0x40;
const B_SET = 0x80;
const C_IRQF = 0x80;
const C_PF = 0x40;
const C_AF = 0x20;
const C_UF = 0x10;
const D_VALID = 0x80;
const PM = 0x80;
/** Both top bits of an alarm byte: any value matches. */
const ANY = 0xc0;

const NS_PER_S = 1_000_000_000n;
/** The update-in-progress bit rises this long before the second changes. */
const UPDATE_NS = 244_000n;

export interface RtcHost {
  /** UTC in ns since 1970 at system time 0. */
  readonly wallClockBase: bigint;
  assert(): void;
  deassert(): void;
  /** The guest set the clock: local time moved by this many seconds. */
  timeOffset(seconds: number): void;
}

export interface RtcState {
  readonly version: 1;
  readonly index: number;
  readonly cmos: readonly number[];
  readonly offsetSeconds: number;
  readonly started: bigint;
  readonly period: bigint;
  readonly ticksChecked: bigint;
  readonly ticks: PlatformTimerState;
  readonly update: bigint | undefined;
  readonly updateEnd: bigint | undefined;
  readonly alarm: bigint | undefined;
}

export class Rtc {
  private readonly base: TimeBase;
  private readonly host: RtcHost;
  readonly ticks: PlatformTimer;
  private readonly updateAlarm: Alarm;
  private readonly updateEndAlarm: Alarm;
  private readonly alarm: Alarm;
  /** Registers and battery-backed RAM. */
  private readonly cmos = new Uint8Array(128);
  private index = 0;
  /** Seconds the guest moved local time from UTC. */
  private offsetSeconds = 0;
  private started = 0n;
  private period = 0n;
  private ticksChecked = 0n;

  constructor(base: TimeBase, line: TimerLine, host: RtcHost) {
    this.base = base;
    this.host = host;
    this.ticks = new PlatformTimer(base, line);
    this.ticks.onTaken = () => {
      this.cmos[REG_C]! |= C_PF | C_IRQF;
    };
    this.updateAlarm = new Alarm(base.events, () => this.updateBegins());
    this.updateEndAlarm = new Alarm(base.events, () => this.updateEnds());
    this.alarm = new Alarm(base.events, () => this.alarmRings());
    this.reset();
  }

  /** Power-on: 24-hour BCD mode, 1024 Hz rate selected, nothing enabled. Battery-backed RAM survives. */
  reset(): void {
    this.ticks.stop();
    this.alarm.stop();
    this.period = 0n;
    this.cmos[REG_A] = DIVIDER_32KHZ | 6;
    this.cmos[REG_B] = B_24H;
    this.cmos[REG_C] = 0;
    this.cmos[REG_D] = D_VALID;
    this.started = this.base.clock.now();
    this.copyDate();
    this.scheduleUpdate();
  }

  /** Sets a byte of battery-backed RAM (14-127), as firmware expects to find it. */
  setByte(index: number, value: number): void {
    if (index <= REG_D || index > 127) throw new RangeError(`CMOS byte ${index} is not RAM`);
    this.cmos[index] = value;
  }

  /** Index at the even port (reads 0xff), data at the odd one; bytes only. */
  ports(): RangeHandler {
    return {
      name: 'rtc',
      read: (offset, size) => (size !== 1 || offset === 0 ? allOnes(size) : this.read()),
      write: (offset, size, value) => {
        if (size !== 1) return true;
        if (offset === 0) this.index = value & 0x7f;
        else this.write(value);
        return true;
      },
    };
  }

  private read(): number {
    const { index } = this;
    if (isTimeField(index) && !this.setting) this.copyDate();
    if (index !== REG_C) return this.cmos[index]!;
    this.checkTicks();
    const value = this.cmos[REG_C]!;
    this.cmos[REG_C] = 0;
    if ((value & C_IRQF) !== 0) this.host.deassert();
    this.scheduleUpdate();
    this.scheduleAlarm();
    return value;
  }

  private write(value: number): void {
    const { index } = this;
    const old = this.cmos[index]!;
    if (isTimeField(index)) {
      if (!this.setting) this.copyDate();
      const before = this.fields();
      this.cmos[index] = value;
      if (!this.setting) this.setTime(before);
      this.scheduleAlarm();
    } else if (index === REG_A) {
      this.cmos[REG_A] = (value & ~A_UIP) | (old & A_UIP);
      if (((value ^ old) & ~A_UIP) !== 0) this.updatePeriod();
    } else if (index === REG_B) this.writeB(value, old);
    else if (index !== REG_C && index !== REG_D) {
      this.cmos[index] = value;
      if (index < REG_A) this.scheduleAlarm();
    }
  }

  private writeB(value: number, old: number): void {
    if ((value & B_SET) !== 0) {
      this.cmos[REG_A]! &= ~A_UIP;
      if ((old & B_SET) === 0) this.copyDate();
    } else if ((old & B_SET) !== 0) this.setTime(fromSeconds(this.localSeconds()));
    this.checkTicks();
    this.cmos[REG_B] = value;
    this.raise();
    const changed = value ^ old;
    if ((changed & B_PIE) !== 0) {
      this.ticks.stop();
      this.period = 0n;
      this.updatePeriod();
    }
    if ((changed & B_SET) !== 0) this.scheduleUpdate();
    if ((changed & (B_24H | B_BINARY | B_SET)) !== 0) this.scheduleAlarm();
  }

  private get setting(): boolean {
    return (this.cmos[REG_B]! & B_SET) !== 0;
  }

  /** Local time in ns since 1970. */
  private localNs(): bigint {
    return this.host.wallClockBase + this.base.clock.now() + BigInt(this.offsetSeconds) * NS_PER_S;
  }

  private localSeconds(): number {
    return Number(this.localNs() / NS_PER_S);
  }

  private raise(): void {
    if ((this.cmos[REG_B]! & this.cmos[REG_C]! & (C_PF | C_AF | C_UF)) === 0) return;
    this.cmos[REG_C]! |= C_IRQF;
    this.host.deassert();
    this.host.assert();
  }

  /** Periodic interrupt rate: register A selects 2^(rate-1) cycles of 32768 Hz, rates 1 and 2 meaning 8 and 9 on the 32 kHz base. */
  private updatePeriod(): void {
    const divider = this.cmos[REG_A]! & A_DIVIDER;
    let rate = this.cmos[REG_A]! & A_RATE;
    if (divider > DIVIDER_32KHZ || rate === 0) {
      this.ticks.stop();
      this.period = 0n;
      return;
    }
    if (divider === DIVIDER_32KHZ && rate <= 2) rate += 7;
    const period = ((1n << BigInt(rate - 1)) * NS_PER_S + 16_384n) / 32_768n;
    if (period === this.period) return;
    this.period = period;
    const now = this.base.clock.now();
    if ((this.cmos[REG_B]! & B_PIE) !== 0) this.ticks.start(period - ((now - this.started) % period), period);
    else this.ticksChecked = now;
  }

  /** With the periodic interrupt disabled, PF is worked out when somebody looks. */
  private checkTicks(): void {
    if (this.period === 0n || (this.cmos[REG_B]! & B_PIE) !== 0) return;
    const now = this.base.clock.now();
    const count = (time: bigint): bigint => (time - this.started) / this.period;
    if (count(now) !== count(this.ticksChecked)) this.cmos[REG_C]! |= C_PF;
    this.ticksChecked = now;
  }

  /** Arms the next update cycle, unless an update-ended flag still waits to be read or the clock is being set. */
  private scheduleUpdate(): void {
    this.updateAlarm.stop();
    this.updateEndAlarm.stop();
    if ((this.cmos[REG_C]! & C_UF) !== 0 || this.setting) return;
    const left = NS_PER_S - (this.localNs() % NS_PER_S);
    const now = this.base.clock.now();
    if (left <= UPDATE_NS) {
      this.cmos[REG_A]! |= A_UIP;
      this.updateEndAlarm.set(nanoseconds(now + left));
    } else {
      this.cmos[REG_A]! &= ~A_UIP;
      this.updateAlarm.set(nanoseconds(now + left - UPDATE_NS));
    }
  }

  private updateBegins(): void {
    this.cmos[REG_A]! |= A_UIP;
    const left = NS_PER_S - (this.localNs() % NS_PER_S);
    this.updateEndAlarm.set(nanoseconds(this.base.clock.now() + left));
  }

  private updateEnds(): void {
    this.cmos[REG_C]! |= C_UF;
    this.cmos[REG_A]! &= ~A_UIP;
    this.raise();
    this.scheduleUpdate();
  }

  private scheduleAlarm(): void {
    this.alarm.stop();
    if ((this.cmos[REG_C]! & C_AF) !== 0 || this.setting) return;
    this.copyDate();
    const ahead = this.secondsToAlarm();
    if (ahead === undefined) return;
    const left = NS_PER_S - (this.localNs() % NS_PER_S);
    this.alarm.set(nanoseconds(this.base.clock.now() + left + BigInt(ahead - 1) * NS_PER_S));
  }

  private alarmRings(): void {
    this.cmos[REG_C]! |= C_AF;
    this.raise();
    this.scheduleAlarm();
  }

  /** Seconds (1 to a day) until hour, minute and second all match, or undefined when the alarm bytes are no time of day. */
  private secondsToAlarm(): number | undefined {
    const wanted = (index: number, convert: (raw: number) => number): number | undefined =>
      (this.cmos[index]! & ANY) === ANY ? undefined : convert(this.cmos[index]!);
    const second = wanted(SECONDS_ALARM, (raw) => this.fromBcd(raw));
    const minute = wanted(MINUTES_ALARM, (raw) => this.fromBcd(raw));
    const hour = wanted(HOURS_ALARM, (raw) => this.hourFrom(raw));
    const now = this.fields();
    const start = now.hour * 3600 + now.minute * 60 + now.second;
    for (let at = start + 1; at <= start + 86_400; ) {
      const minutes = Math.floor(at / 60);
      const inMinute = at % 60;
      const fits =
        (hour === undefined || Math.floor(minutes / 60) % 24 === hour) &&
        (minute === undefined || minutes % 60 === minute);
      if (fits && second === undefined) return at - start;
      if (fits && second! >= inMinute && second! < 60) return at + second! - inMinute - start;
      at += 60 - inMinute;
    }
    return undefined;
  }

  private toBcd(value: number): number {
    return (this.cmos[REG_B]! & B_BINARY) !== 0 ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  private fromBcd(value: number): number {
    return (this.cmos[REG_B]! & B_BINARY) !== 0 ? value : (value >> 4) * 10 + (value & 15);
  }

  private hourFrom(raw: number): number {
    const hour = this.fromBcd(raw & 0x7f);
    if ((this.cmos[REG_B]! & B_24H) !== 0) return hour;
    return (hour % 12) + ((raw & PM) !== 0 ? 12 : 0);
  }

  /** Local time into the time registers, in the format register B selects. */
  private copyDate(): void {
    const time = fromSeconds(this.localSeconds());
    const twelve = time.hour % 12 === 0 ? 12 : time.hour % 12;
    const is24 = (this.cmos[REG_B]! & B_24H) !== 0;
    this.cmos[SECONDS] = this.toBcd(time.second);
    this.cmos[MINUTES] = this.toBcd(time.minute);
    this.cmos[HOURS] = is24 ? this.toBcd(time.hour) : this.toBcd(twelve) | (time.hour >= 12 ? PM : 0);
    this.cmos[DAY_OF_WEEK] = this.toBcd(time.weekday);
    this.cmos[DAY_OF_MONTH] = this.toBcd(time.day);
    this.cmos[MONTH] = this.toBcd(time.month);
    this.cmos[YEAR] = this.toBcd(time.year % 100);
  }

  /** What the time registers say; years are 2000 to 2099. */
  private fields(): CalendarTime {
    return {
      second: this.fromBcd(this.cmos[SECONDS]!),
      minute: this.fromBcd(this.cmos[MINUTES]!),
      hour: this.hourFrom(this.cmos[HOURS]!),
      weekday: this.fromBcd(this.cmos[DAY_OF_WEEK]!),
      day: this.fromBcd(this.cmos[DAY_OF_MONTH]!),
      month: this.fromBcd(this.cmos[MONTH]!),
      year: 2000 + this.fromBcd(this.cmos[YEAR]!),
    };
  }

  private setTime(before: CalendarTime): void {
    const seconds = toSeconds(this.fields()) - toSeconds(before);
    this.offsetSeconds += seconds;
    this.host.timeOffset(seconds);
  }

  save(): RtcState {
    const { index, offsetSeconds, started, period, ticksChecked } = this;
    return {
      version: 1,
      index,
      cmos: [...this.cmos],
      offsetSeconds,
      started,
      period,
      ticksChecked,
      ticks: this.ticks.save(),
      update: this.updateAlarm.deadline,
      updateEnd: this.updateEndAlarm.deadline,
      alarm: this.alarm.deadline,
    };
  }

  load(state: RtcState): void {
    this.index = state.index;
    this.cmos.set(state.cmos);
    this.offsetSeconds = state.offsetSeconds;
    this.started = state.started;
    this.period = state.period;
    this.ticksChecked = state.ticksChecked;
    this.ticks.load(state.ticks);
    for (const [alarm, at] of [
      [this.updateAlarm, state.update],
      [this.updateEndAlarm, state.updateEnd],
      [this.alarm, state.alarm],
    ] as const)
      alarm.set(at === undefined ? undefined : nanoseconds(at));
  }
}

const isTimeField = (index: number): boolean =>
  index === SECONDS || index === MINUTES || index === HOURS || (index >= DAY_OF_WEEK && index <= YEAR);
