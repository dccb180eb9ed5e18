/**
 * High precision event timer: three comparators on a 62.5 MHz counter (`xen:arch/x86/hvm/hpet.c`, IA-PC HPET specification). Timers 0 and
 * 1 can replace the PIT's and the RTC's interrupts; otherwise all three go to IO-APIC pins 20 to 23.
 */
import { allOnes, type RangeHandler } from '../bus/ranges.ts';
import { PlatformTimer, type PlatformTimerState, type TimeBase, type TimerLine } from './platform-timer.ts';

export const HPET_BASE = 0xfed0_0000;
export const HPET_WINDOW = 0x400;
const TIMERS = 3;
/** One tick; system time is in ns, so the counter is system time / 16. */
const NS_PER_TICK = 16n;
const MASK64 = 0xffff_ffff_ffff_ffffn;
const MASK32 = 0xffff_ffffn;

/** Registers, by 8-byte offset. Timer n adds 0x20 * n to the last three. */
const CAPABILITY = 0x000;
const CONFIGURATION = 0x010;
const STATUS = 0x020;
const COUNTER = 0x0f0;
const TN_CONFIGURATION = 0x100;
const TN_COMPARATOR = 0x108;
const TN_ROUTE = 0x110;

const CFG_ENABLE = 1n;
const CFG_LEGACY = 2n;

const TN_LEVEL = 1n << 1n;
const TN_ENABLE = 1n << 2n;
const TN_PERIODIC = 1n << 3n;
const TN_PERIODIC_CAPABLE = 1n << 4n;
const TN_64BIT_CAPABLE = 1n << 5n;
const TN_SET_VALUE = 1n << 6n;
const TN_32BIT = 1n << 8n;
const TN_ROUTE_MASK = 0x3e00n;
const TN_ROUTE_SHIFT = 9n;
const TN_WRITABLE = TN_LEVEL | TN_ENABLE | TN_PERIODIC | TN_SET_VALUE | TN_32BIT | TN_ROUTE_MASK;
/** Pins 20 to 23, in the upper half of a timer's configuration. */
const ROUTES = 0x00f0_0000n;
const FIRST_ROUTE = 20n;

/** Revision 1, three 64-bit timers, legacy replacement, Intel's vendor id, 16 ns in femtoseconds. */
const CAPABILITY_VALUE =
  0x8086_0001n | (BigInt(TIMERS - 1) << 8n) | (1n << 13n) | (1n << 15n) | ((NS_PER_TICK * 1_000_000n) << 32n);

/** A 32-bit comparator this little behind the counter is in the past; further behind, it is in the future after a wrap. */
const TINY_TICKS = (1_000_000_000n >> 10n) / NS_PER_TICK;
/** Shortest period in ticks. */
const MINIMUM_PERIOD = 100_000n / NS_PER_TICK;

export interface HpetHost {
  /** Wire of an ISA line, for legacy replacement. */
  isaLine(irq: number): TimerLine;
  /** IO-APIC pins. */
  pinMasked(pin: number): boolean;
  pulsePin(pin: number): void;
  assertPin(pin: number): void;
  deassertPin(pin: number): void;
  pinVector(pin: number): number;
  /** Timer 0 takes over line 0: the PIT stops interrupting. */
  stopPit(): void;
}

interface Timer {
  config: bigint;
  /** What the comparator register reads, and the same before truncation to 32 bits. */
  comparator: bigint;
  comparator64: bigint;
  period: bigint;
  route: bigint;
}

export interface HpetState {
  readonly version: 1;
  readonly config: bigint;
  readonly status: number;
  readonly counter: bigint;
  readonly offset: bigint;
  readonly timers: readonly Readonly<Timer>[];
  readonly ticks: readonly PlatformTimerState[];
}

export class Hpet implements RangeHandler {
  readonly name = 'hpet';
  /** HVM_PARAM_HPET_ENABLED: off, it reads all ones and ignores writes. */
  present = true;
  readonly ticks: readonly PlatformTimer[];
  private readonly base: TimeBase;
  private readonly host: HpetHost;
  private config = 0n;
  private status = 0;
  /** Main counter while halted. */
  private counter = 0n;
  /** Counter less system ticks while running. */
  private offset = 0n;
  private timers: Timer[] = [];

  constructor(base: TimeBase, host: HpetHost) {
    this.base = base;
    this.host = host;
    const legacy = [host.isaLine(0), host.isaLine(8)];
    this.ticks = Array.from({ length: TIMERS }, (_, n) => {
      const line = (): TimerLine | undefined => (this.legacy(n) ? legacy[n] : undefined);
      const timer = new PlatformTimer(base, {
        masked: () => line()?.masked() ?? host.pinMasked(this.route(n)),
        raise: () => {
          const isa = line();
          if (isa) isa.raise();
          else if (this.has(n, TN_LEVEL)) host.assertPin(this.route(n));
          else host.pulsePin(this.route(n));
        },
        owns: (source, vector) =>
          line()?.owns(source, vector) ?? (source === 'lapic' && vector === host.pinVector(this.route(n))),
      });
      timer.onTaken = () => {
        if (this.has(n, TN_LEVEL)) this.status |= 1 << n;
      };
      return timer;
    });
    this.reset();
  }

  reset(): void {
    for (const timer of this.ticks) timer.stop();
    this.config = 0n;
    this.status = 0;
    this.counter = 0n;
    this.offset = 0n;
    this.timers = Array.from({ length: TIMERS }, () => ({
      config: (ROUTES << 32n) | TN_64BIT_CAPABLE | TN_PERIODIC_CAPABLE,
      comparator: MASK64,
      comparator64: MASK64,
      period: 0n,
      route: 0n,
    }));
  }

  /** Naturally aligned accesses only; others read all ones. */
  read(offset: number, size: number): number {
    if (!this.present || offset % size !== 0) return allOnes(size);
    const value = this.readRegister(offset & ~7) >> BigInt((offset & 7) * 8);
    return Number(value & BigInt(allOnes(size)));
  }

  write(offset: number, size: number, value: number): boolean {
    if (!this.present || offset % size !== 0) return true;
    const register = offset & ~7;
    const shift = BigInt((offset & 7) * 8);
    const mask = BigInt(allOnes(size)) << shift;
    const written = BigInt(value) << shift;
    const old = this.readRegister(register);
    const merged = (old & ~mask) | written;
    if (register === CONFIGURATION) this.writeConfiguration(merged);
    else if (register === STATUS) this.clearStatus(Number(written & BigInt((1 << TIMERS) - 1)));
    else if (register === COUNTER) this.writeCounter(merged);
    else {
      const n = (register - TN_CONFIGURATION) >> 5;
      if (n < 0 || n >= TIMERS) return true;
      const which = register - n * 0x20;
      if (which === TN_CONFIGURATION) this.writeTimer(n, merged);
      else if (which === TN_COMPARATOR) this.writeComparator(n, merged);
      else if (which === TN_ROUTE) this.timers[n]!.route = merged;
    }
    return true;
  }

  private readRegister(register: number): bigint {
    switch (register) {
      case CAPABILITY:
        return CAPABILITY_VALUE;
      case CONFIGURATION:
        return this.config;
      case STATUS:
        return BigInt(this.status);
      case COUNTER:
        return this.now();
    }
    const n = (register - TN_CONFIGURATION) >> 5;
    const timer = n >= 0 ? this.timers[n] : undefined;
    switch (register - n * 0x20) {
      case TN_CONFIGURATION:
        return timer?.config ?? 0n;
      case TN_COMPARATOR:
        return timer ? this.comparator(n) : 0n;
      case TN_ROUTE:
        return timer?.route ?? 0n;
      default:
        return 0n;
    }
  }

  private get running(): boolean {
    return (this.config & CFG_ENABLE) !== 0n;
  }

  private has(n: number, bit: bigint): boolean {
    return (this.timers[n]!.config & bit) !== 0n;
  }

  private legacy(n: number): boolean {
    return n <= 1 && (this.config & CFG_LEGACY) !== 0n;
  }

  private route(n: number): number {
    return Number((this.timers[n]!.config & TN_ROUTE_MASK) >> TN_ROUTE_SHIFT);
  }

  private systemTicks(): bigint {
    return this.base.clock.now() / NS_PER_TICK;
  }

  /** Main counter. */
  private now(): bigint {
    return this.running ? (this.systemTicks() + this.offset) & MASK64 : this.counter;
  }

  /** Comparator; a running periodic timer's has moved on by the periods that passed. */
  private comparator(n: number): bigint {
    const timer = this.timers[n]!;
    if (this.running && this.has(n, TN_PERIODIC) && timer.period > 0n) {
      const elapsed = BigInt.asIntN(64, this.now() - timer.comparator64);
      if (elapsed >= 0n)
        timer.comparator64 = (timer.comparator64 + ((elapsed + timer.period) / timer.period) * timer.period) & MASK64;
    }
    timer.comparator = timer.comparator64 & (this.has(n, TN_32BIT) ? MASK32 : MASK64);
    return timer.comparator;
  }

  private start(n: number): void {
    if (n === 0 && this.legacy(0)) this.host.stopPit();
    const level = this.has(n, TN_LEVEL);
    if (!this.has(n, TN_ENABLE) || (level && (this.status & (1 << n)) !== 0)) return;
    const narrow = this.has(n, TN_32BIT);
    const width = narrow ? MASK32 : MASK64;
    const behind = (this.now() & width) - (this.comparator(n) & width);
    let ahead = narrow ? -behind : BigInt.asIntN(64, -behind);
    if (ahead < 0n) ahead = narrow && behind > TINY_TICKS ? ahead & MASK32 : 0n;
    // A level-triggered periodic timer runs once: the guest must clear its status before the next interrupt.
    const period = this.has(n, TN_PERIODIC) && !level ? this.timers[n]!.period : 0n;
    this.ticks[n]!.start(ahead * NS_PER_TICK, period * NS_PER_TICK, level && !this.legacy(n));
  }

  private stop(n: number): void {
    this.ticks[n]!.stop();
    this.comparator(n);
  }

  private restart(n: number): void {
    this.stop(n);
    this.start(n);
  }

  /** Without legacy replacement an impossible route becomes 0, or the first possible pin where the timer is enabled. */
  private sanitiseRoute(n: number): void {
    if (this.legacy(n) || ((ROUTES >> BigInt(this.route(n))) & 1n) !== 0n) return;
    const timer = this.timers[n]!;
    timer.config &= ~TN_ROUTE_MASK;
    if ((timer.config & TN_ENABLE) !== 0n) timer.config |= FIRST_ROUTE << TN_ROUTE_SHIFT;
  }

  private writeConfiguration(value: bigint): void {
    const was = this.running;
    const now = (value & CFG_ENABLE) !== 0n;
    if (was && !now) this.counter = this.now();
    this.config = value & (CFG_ENABLE | CFG_LEGACY);
    for (let n = 0; n < TIMERS; n++) this.sanitiseRoute(n);
    if (was === now) return;
    if (now) this.offset = this.counter - this.systemTicks();
    this.timers.forEach((timer, n) => {
      if (now) timer.comparator64 = timer.comparator & (this.has(n, TN_32BIT) ? MASK32 : MASK64);
      if (!this.has(n, TN_ENABLE)) return;
      if (now) this.start(n);
      else this.stop(n);
    });
  }

  private clearStatus(bits: number): void {
    for (let n = 0; n < TIMERS; n++) {
      if ((bits & this.status & (1 << n)) === 0) continue;
      this.status &= ~(1 << n);
      this.host.deassertPin(this.route(n));
      if (this.running && this.has(n, TN_ENABLE) && this.has(n, TN_LEVEL) && this.has(n, TN_PERIODIC)) this.start(n);
    }
  }

  private writeCounter(value: bigint): void {
    this.counter = value;
    if (!this.running) return;
    // Setting a running counter takes effect when it is next enabled; timers are worked out again as the guest expects something new.
    for (let n = 0; n < TIMERS; n++) if (this.has(n, TN_ENABLE)) this.restart(n);
  }

  private writeTimer(n: number, value: bigint): void {
    const timer = this.timers[n]!;
    const old = timer.config;
    timer.config = (old & ~TN_WRITABLE) | (value & TN_WRITABLE);
    this.sanitiseRoute(n);
    if ((value & TN_32BIT) !== 0n) {
      timer.comparator &= MASK32;
      timer.period &= MASK32;
    }
    if (!this.running) return;
    const became = (bit: bigint): boolean => (value & bit) !== 0n && (old & bit) === 0n;
    if ((value & TN_ENABLE) !== 0n) {
      if (((value ^ old) & TN_PERIODIC) !== 0n || became(TN_32BIT)) this.restart(n);
      else if (became(TN_ENABLE)) this.start(n);
    } else if ((old & TN_ENABLE) !== 0n) this.stop(n);
  }

  /** For a periodic timer without the set-value bit this is the period, at least 100 us and below half the counter's range. */
  private writeComparator(n: number, value: bigint): void {
    const timer = this.timers[n]!;
    const width = this.has(n, TN_32BIT) ? MASK32 : MASK64;
    if (this.has(n, TN_PERIODIC) && !this.has(n, TN_SET_VALUE)) {
      const longest = width >> 1n;
      timer.period = value < MINIMUM_PERIOD ? MINIMUM_PERIOD : value > longest ? longest : value;
    } else {
      timer.config &= ~TN_SET_VALUE;
      timer.comparator64 = value;
      timer.comparator = value & width;
    }
    if (this.running && this.has(n, TN_ENABLE)) this.restart(n);
  }

  save(): HpetState {
    const { config, status, counter, offset } = this;
    const timers = this.timers.map((timer) => ({ ...timer }));
    return { version: 1, config, status, counter, offset, timers, ticks: this.ticks.map((timer) => timer.save()) };
  }

  load(state: HpetState): void {
    this.config = state.config;
    this.status = state.status;
    this.counter = state.counter;
    this.offset = state.offset;
    this.timers = state.timers.map((timer) => ({ ...timer }));
    for (const [n, timer] of this.ticks.entries()) timer.load(state.ticks[n]!);
  }
}
