/**
 * 8254 programmable interval timer and the speaker port 0x61 (`xen:arch/x86/emul-i8254.c`, Intel 8254 datasheet). Channel 0 raises ISA
 * interrupt 0, channel 2 has its gate and output at port 0x61. Counts run in binary; the BCD bit is stored only.
 */
import { allOnes, type RangeHandler } from '../bus/ranges.ts';
import { PlatformTimer, type PlatformTimerState, type TimeBase, type TimerLine } from './platform-timer.ts';

export const PIT_PORT = 0x40;
export const SPEAKER_PORT = 0x61;
/** Input clock. */
export const PIT_HZ = 1_193_182n;
const NS_PER_S = 1_000_000_000n;
const NEVER_PROGRAMMED = 7;

/** Byte order of counter accesses; also the access field of the control word for the first three. */
const LSB = 1;
const MSB = 2;
const WORD_LOW = 3;
const WORD_HIGH = 4;

export interface PitChannelState {
  readonly count: number;
  readonly latchedCount: number;
  readonly countLatched: number;
  readonly statusLatched: boolean;
  readonly status: number;
  readonly readState: number;
  readonly writeState: number;
  readonly writeLatch: number;
  readonly access: number;
  readonly mode: number;
  readonly bcd: number;
  readonly gate: boolean;
  /** When the count was loaded, when the gate stopped it, and for how long it stood still before; ns. */
  readonly loadedAt: bigint;
  readonly stoppedAt: bigint;
  readonly stoppedFor: bigint;
}

type Channel = { -readonly [K in keyof PitChannelState]: PitChannelState[K] };

export interface PitState {
  readonly version: 1;
  readonly channels: readonly PitChannelState[];
  readonly speaker: boolean;
  readonly ticks: PlatformTimerState;
}

export class Pit {
  private readonly base: TimeBase;
  readonly ticks: PlatformTimer;
  private channels: Channel[] = [];
  private speaker = false;

  constructor(base: TimeBase, line: TimerLine) {
    this.base = base;
    this.ticks = new PlatformTimer(base, line);
    this.ticks.onTaken = () => {
      this.channels[0]!.loadedAt = base.clock.now();
    };
    this.reset();
  }

  /** Channel 0 interrupts. */
  get running(): boolean {
    return this.ticks.active;
  }

  reset(): void {
    this.ticks.stop();
    this.speaker = false;
    const now = this.base.clock.now();
    this.channels = [0, 1, 2].map((index) => ({
      count: 0x10000,
      latchedCount: 0,
      countLatched: 0,
      statusLatched: false,
      status: 0,
      readState: 0,
      writeState: 0,
      writeLatch: 0,
      access: 0,
      mode: NEVER_PROGRAMMED,
      bcd: 0,
      gate: index !== 2,
      loadedAt: now,
      stoppedAt: now,
      stoppedFor: 0n,
    }));
  }

  /** HPET legacy replacement takes line 0 away. */
  stopInterrupts(): void {
    this.ticks.stop();
  }

  /** Ports 0x40-0x43; bytes only. */
  ports(): RangeHandler {
    return {
      name: 'pit',
      read: (offset, size) => (size !== 1 || offset === 3 ? allOnes(size) : this.readCounter(this.channels[offset]!)),
      write: (offset, size, value) => {
        if (size !== 1) return true;
        if (offset === 3) this.writeControl(value);
        else this.writeCounter(offset, value);
        return true;
      },
    };
  }

  /** Port 0x61: gate of channel 2 in bit 0, speaker data bit 1, refresh toggle bit 4, output of channel 2 bit 5. */
  speakerPort(): RangeHandler {
    return {
      name: 'speaker',
      read: () => {
        const refresh = Number((this.base.clock.now() >> 14n) & 1n);
        const { gate } = this.channels[2]!;
        return (refresh << 4) | (this.output(2) << 5) | (this.speaker ? 2 : 0) | (gate ? 1 : 0);
      },
      write: (_offset, _size, value) => {
        this.speaker = (value & 2) !== 0;
        this.setGate(2, (value & 1) !== 0);
        return true;
      },
    };
  }

  /** Input clocks since the count was loaded, less the time the gate stood. */
  private elapsed(channel: Channel): bigint {
    const until = channel.gate || (channel.mode & 3) === 1 ? this.base.clock.now() : channel.stoppedAt;
    return ((until - channel.loadedAt - channel.stoppedFor) * PIT_HZ) / NS_PER_S;
  }

  private counter(channel: Channel): number {
    const passed = this.elapsed(channel);
    const count = BigInt(channel.count);
    switch (channel.mode) {
      case 0:
      case 1:
      case 4:
      case 5:
        return Number((count - passed) & 0xffffn);
      case 3:
        return Number(count - ((2n * passed) % count));
      default:
        return Number(count - (passed % count));
    }
  }

  private output(index: number): number {
    const channel = this.channels[index]!;
    const passed = this.elapsed(channel);
    const count = BigInt(channel.count);
    const high = ((): boolean => {
      switch (channel.mode) {
        case 1:
          return passed < count;
        case 2:
          return passed !== 0n && passed % count === 0n;
        case 3:
          return passed % count < (count + 1n) >> 1n;
        case 4:
        case 5:
          return passed === count;
        default:
          return passed >= count;
      }
    })();
    return high ? 1 : 0;
  }

  private loadCount(index: number, value: number): void {
    const channel = this.channels[index]!;
    const count = value === 0 ? 0x10000 : value;
    channel.count = count;
    channel.loadedAt = channel.stoppedAt = this.base.clock.now();
    channel.stoppedFor = 0n;
    if (index !== 0) return;
    const period = (BigInt(count) * NS_PER_S + PIT_HZ / 2n) / PIT_HZ;
    if (channel.mode === 2 || channel.mode === 3) this.ticks.start(period, period);
    else if (channel.mode === 1 || channel.mode === 4) this.ticks.start(period, 0n);
    else this.ticks.stop();
  }

  /** A falling gate stops modes 0, 2, 3 and 4; a rising one lets 0 and 4 go on and starts the others anew. */
  private setGate(index: number, gate: boolean): void {
    const channel = this.channels[index]!;
    const restarts = [1, 2, 3, 5].includes(channel.mode);
    if (channel.gate && !gate && [0, 2, 3, 4].includes(channel.mode)) channel.stoppedAt = this.base.clock.now();
    else if (!channel.gate && gate) {
      if (restarts) this.loadCount(index, channel.count & 0xffff);
      else channel.stoppedFor += this.base.clock.now() - channel.stoppedAt;
    }
    channel.gate = gate;
  }

  private latchCount(channel: Channel): void {
    if (channel.countLatched !== 0) return;
    channel.latchedCount = this.counter(channel);
    channel.countLatched = channel.access;
  }

  private latchStatus(index: number): void {
    const channel = this.channels[index]!;
    if (channel.statusLatched) return;
    channel.status = (this.output(index) << 7) | (channel.access << 4) | (channel.mode << 1) | channel.bcd;
    channel.statusLatched = true;
  }

  private writeControl(value: number): void {
    const select = value >> 6;
    if (select === 3) {
      // Read-back: bits 1-3 choose channels, bit 5 clear latches counts, bit 4 clear latches status.
      for (let index = 0; index < 3; index++) {
        if ((value & (2 << index)) === 0) continue;
        if ((value & 0x20) === 0) this.latchCount(this.channels[index]!);
        if ((value & 0x10) === 0) this.latchStatus(index);
      }
      return;
    }
    const channel = this.channels[select]!;
    const access = (value >> 4) & 3;
    if (access === 0) {
      this.latchCount(channel);
      return;
    }
    channel.access = channel.readState = channel.writeState = access;
    const mode = (value >> 1) & 7;
    channel.mode = mode > 5 ? mode - 4 : mode;
    channel.bcd = value & 1;
  }

  private writeCounter(index: number, value: number): void {
    const channel = this.channels[index]!;
    switch (channel.writeState) {
      case MSB:
        this.loadCount(index, value << 8);
        break;
      case WORD_LOW:
        channel.writeLatch = value;
        channel.writeState = WORD_HIGH;
        break;
      case WORD_HIGH:
        channel.writeState = WORD_LOW;
        this.loadCount(index, channel.writeLatch | (value << 8));
        break;
      default:
        this.loadCount(index, value);
    }
  }

  private readCounter(channel: Channel): number {
    if (channel.statusLatched) {
      channel.statusLatched = false;
      return channel.status;
    }
    if (channel.countLatched !== 0) {
      const high = channel.countLatched === MSB;
      channel.countLatched = channel.countLatched === WORD_LOW ? MSB : 0;
      return high ? channel.latchedCount >> 8 : channel.latchedCount;
    }
    const high = channel.readState === MSB || channel.readState === WORD_HIGH;
    if (channel.readState === WORD_LOW) channel.readState = WORD_HIGH;
    else if (channel.readState === WORD_HIGH) channel.readState = WORD_LOW;
    else if (channel.readState === 0) channel.readState = LSB;
    return high ? this.counter(channel) >> 8 : this.counter(channel);
  }

  save(): PitState {
    return {
      version: 1,
      channels: this.channels.map((channel) => ({ ...channel })),
      speaker: this.speaker,
      ticks: this.ticks.save(),
    };
  }

  load(state: PitState): void {
    this.channels = state.channels.map((channel) => ({ ...channel }));
    this.speaker = state.speaker;
    this.ticks.load(state.ticks);
  }
}
