/**
 * ACPI power management block (`xen:arch/x86/hvm/pmtimer.c`): PM1a event registers, PM1a control, and the 32-bit timer at 3.579545 MHz.
 * Interrupts (SCI) are level held on ISA line 9. The block sits at one of two places; firmware chooses by HVM_PARAM_ACPI_IOPORTS_LOCATION.
 */
import { nanoseconds } from '../../base/int.ts';
import { allOnes, type RangeHandler } from '../bus/ranges.ts';
import { Alarm } from './event-queue.ts';
import type { TimeBase } from './platform-timer.ts';

/** Base of the block by HVM_PARAM_ACPI_IOPORTS_LOCATION (`xen:public/hvm/ioreq.h`): events +0, control +4, timer +8. */
export const PM_BASES = [0x1f40, 0xb000] as const;
export const SCI_IRQ = 9;
export const PM_TIMER_HZ = 3_579_545n;
const NS_PER_S = 1_000_000_000n;
const MSB = 0x8000_0000;

/** Status and enable bits. */
export const PM1_TIMER = 1 << 0;
export const PM1_GLOBAL = 1 << 5;
export const PM1_POWER_BUTTON = 1 << 8;
export const PM1_SLEEP_BUTTON = 1 << 9;
const PM1_SCI = PM1_TIMER | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_SLEEP_BUTTON;

/** Control bits. */
const SCI_EN = 1 << 0;
const SLP_TYP_SHIFT = 10;
const SLP_EN = 1 << 13;

export interface PmTimerHost {
  assertSci(): void;
  deassertSci(): void;
  /** SLP_EN was written with this SLP_TYP: 0 is soft off in the guest tables of HVM domains. */
  sleep(type: number): void;
}

export interface PmTimerState {
  readonly version: 1;
  readonly status: number;
  readonly enable: number;
  readonly control: number;
  readonly offset: bigint;
  readonly seen: bigint;
}

export class PmTimer {
  private readonly base: TimeBase;
  private readonly host: PmTimerHost;
  private readonly alarm: Alarm;
  private status = 0;
  private enable = 0;
  private control = 0;
  /** Ticks to add to those of system time. */
  private offset = 0n;
  /** Ticks when the status was last brought up to date. */
  private seen = 0n;

  constructor(base: TimeBase, host: PmTimerHost) {
    this.base = base;
    this.host = host;
    this.alarm = new Alarm(base.events, () => this.update());
    this.reset();
  }

  /** The timer starts at 0. */
  reset(): void {
    this.status = 0;
    this.enable = 0;
    this.control = 0;
    this.offset = -this.systemTicks();
    this.seen = 0n;
    this.alarm.stop();
    this.host.deassertSci();
  }

  pressPowerButton(): void {
    this.raise(PM1_POWER_BUTTON);
  }

  /** Status (write 1 to clear) and enable, 16 bits each, any width. */
  events(): RangeHandler {
    return {
      name: 'pm1a-event',
      read: (offset) => {
        this.update();
        return (this.status | (this.enable << 16)) >>> (offset * 8);
      },
      write: (offset, size, value) => {
        this.update();
        const mask = allOnes(size);
        const bits = BigInt(value & mask) << BigInt(offset * 8);
        const touched = BigInt(mask) << BigInt(offset * 8);
        this.status &= ~Number(bits & 0xffffn);
        this.enable = (this.enable & ~Number((touched >> 16n) & 0xffffn)) | Number((bits >> 16n) & 0xffffn);
        this.updateSci();
        return true;
      },
    };
  }

  /** SCI enable, sleep type and sleep enable; 16 bits. */
  controls(): RangeHandler {
    return {
      name: 'pm1a-control',
      read: (offset) => this.control >>> (offset * 8),
      write: (offset, size, value) => {
        const shift = offset * 8;
        const mask = allOnes(size) << shift;
        const written = (this.control & ~mask) | ((value << shift) & mask);
        this.control = written & 0xffff & ~SLP_EN;
        if ((written & SLP_EN) !== 0) this.host.sleep((written >> SLP_TYP_SHIFT) & 7);
        return true;
      },
    };
  }

  /** SMI command port's effect: firmware hands the block to the OS. */
  enableSci(on: boolean): void {
    this.control = on ? this.control | SCI_EN : this.control & ~SCI_EN;
  }

  /** Timer value: 32-bit reads only, anything else gives all ones. */
  timer(): RangeHandler {
    return {
      name: 'pm-timer',
      read: (_offset, size) => (size === 4 ? Number(this.ticks() & 0xffff_ffffn) : allOnes(size)),
      write: () => true,
    };
  }

  private systemTicks(): bigint {
    return (this.base.clock.now() * PM_TIMER_HZ) / NS_PER_S;
  }

  private ticks(): bigint {
    return this.systemTicks() + this.offset;
  }

  /** Sets the timer status for every flip of the counter's top bit since the last look. */
  private update(): void {
    const ticks = this.ticks();
    if (ticks / BigInt(MSB) !== this.seen / BigInt(MSB)) this.status |= PM1_TIMER;
    this.seen = ticks;
    this.updateSci();
  }

  /** The flip is worth an event only while the guest wants an interrupt for it; otherwise it is worked out when somebody reads. */
  private updateSci(): void {
    if ((this.enable & this.status & PM1_SCI) !== 0) this.host.assertSci();
    else this.host.deassertSci();
    const wanted = (this.enable & PM1_TIMER) !== 0 && (this.status & PM1_TIMER) === 0;
    if (!wanted) {
      this.alarm.stop();
      return;
    }
    const left = BigInt(MSB) - (this.ticks() % BigInt(MSB));
    this.alarm.set(nanoseconds(this.base.clock.now() + (left * NS_PER_S) / PM_TIMER_HZ + 1n));
  }

  private raise(bit: number): void {
    this.status |= bit;
    this.updateSci();
  }

  save(): PmTimerState {
    const { status, enable, control, offset, seen } = this;
    return { version: 1, status, enable, control, offset, seen };
  }

  load(state: PmTimerState): void {
    this.status = state.status;
    this.enable = state.enable;
    this.control = state.control;
    this.offset = state.offset;
    this.seen = state.seen;
    this.updateSci();
  }
}
