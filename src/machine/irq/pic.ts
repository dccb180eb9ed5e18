/**
 * Pair of 8259A interrupt controllers with edge/level control registers (`xen:arch/x86/hvm/vpic.c`, Intel 8259A datasheet). The second
 * chip's output is input 2 of the first.
 */
import { allOnes, type RangeHandler } from '../bus/ranges.ts';

export const PIC_PORTS = [0x20, 0xa0] as const;
export const ELCR_PORT = 0x4d0;

/** Command words, told apart by bits 4 and 3 of a write to the even port. */
const ICW1 = 0x10;
const ICW1_SINGLE = 2;
const ICW1_NEEDS_ICW4 = 1;
const ICW4_AUTO_EOI = 2;
const ICW4_FULLY_NESTED = 0x10;
const OCW3 = 0x08;
const OCW3_POLL = 4;
const OCW3_READ = 2;
const OCW3_SET_SPECIAL_MASK = 0x40;

/** Which initialisation word is expected at the odd port. */
type Expecting = 'none' | 'icw2' | 'icw3' | 'icw4';

export interface PicChipState {
  readonly irr: number;
  readonly imr: number;
  readonly isr: number;
  readonly lowest: number;
  readonly expecting: Expecting;
  readonly single: boolean;
  readonly needsIcw4: boolean;
  readonly base: number;
  readonly readIsr: boolean;
  readonly poll: boolean;
  readonly autoEoi: boolean;
  readonly rotateOnAutoEoi: boolean;
  readonly fullyNested: boolean;
  readonly specialMask: boolean;
  readonly elcr: number;
  readonly output: boolean;
}

const POWER_ON: PicChipState = {
  irr: 0,
  imr: 0,
  isr: 0,
  lowest: 0,
  expecting: 'none',
  single: false,
  needsIcw4: false,
  base: 0,
  readIsr: false,
  poll: false,
  autoEoi: false,
  rotateOnAutoEoi: false,
  fullyNested: false,
  specialMask: false,
  elcr: 0,
  output: false,
};

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** One 8259A. */
class PicChip {
  state: Mutable<PicChipState> = { ...POWER_ON };
  private readonly master: boolean;
  private readonly onOutput: (level: boolean) => void;
  private readonly onUnmasked: () => void;

  constructor(master: boolean, onOutput: (level: boolean) => void, onUnmasked: () => void) {
    this.master = master;
    this.onOutput = onOutput;
    this.onUnmasked = onUnmasked;
  }

  /** Input to serve next, or -1: requested, unmasked, and of higher priority than those in service. */
  highest(): number {
    const s = this.state;
    const rank = this.rank(s.irr & ~s.imr);
    if (rank === 8) return -1;
    const input = (rank + s.lowest) & 7;
    let serving = s.isr;
    // Special fully nested mode lets the slave interrupt its own service; special mask mode lets masked ones be interrupted.
    if (s.fullyNested && this.master && input === 2) serving &= ~4;
    if (s.specialMask) serving &= ~s.imr;
    return rank < this.rank(serving) ? input : -1;
  }

  /** Priority of the first input in a mask, counted from the highest; 8 for none. */
  private rank(mask: number): number {
    for (let rank = 0; rank < 8; rank++) if (((mask >> ((rank + this.state.lowest) & 7)) & 1) !== 0) return rank;
    return 8;
  }

  update(): void {
    const s = this.state;
    const output = s.expecting === 'none' && this.highest() >= 0;
    if (s.output === output) return;
    s.output = output;
    this.onOutput(output);
  }

  setInput(input: number, level: boolean): void {
    const mask = 1 << input;
    if (level) this.state.irr |= mask;
    else this.state.irr &= ~mask;
    if ((this.state.imr & mask) === 0 || input === 2) this.update();
  }

  acknowledge(input: number): void {
    const s = this.state;
    const mask = 1 << input;
    if ((s.elcr & mask) === 0) s.irr &= ~mask;
    if (!s.autoEoi) s.isr |= mask;
    else if (s.rotateOnAutoEoi) s.lowest = (input + 1) & 7;
    this.update();
  }

  writeCommand(value: number): void {
    if ((value & ICW1) !== 0) this.initialise(value);
    else if ((value & OCW3) !== 0) this.writeOcw3(value);
    else this.writeOcw2(value);
    this.update();
  }

  writeData(value: number): void {
    const s = this.state;
    let unmasked = false;
    switch (s.expecting) {
      case 'none':
        unmasked = (s.imr & ~value) !== 0;
        s.imr = value;
        break;
      case 'icw2':
        s.base = value & 0xf8;
        s.expecting = s.single ? this.afterIcw3() : 'icw3';
        break;
      case 'icw3':
        s.expecting = this.afterIcw3();
        unmasked = s.expecting === 'none';
        break;
      case 'icw4':
        s.fullyNested = (value & ICW4_FULLY_NESTED) !== 0;
        s.autoEoi = (value & ICW4_AUTO_EOI) !== 0;
        s.expecting = 'none';
        unmasked = true;
    }
    this.update();
    if (unmasked) this.onUnmasked();
  }

  private afterIcw3(): Expecting {
    return this.state.needsIcw4 ? 'icw4' : 'none';
  }

  private initialise(value: number): void {
    const s = this.state;
    s.irr &= s.elcr;
    s.imr = s.isr = s.lowest = 0;
    s.rotateOnAutoEoi = s.specialMask = s.readIsr = s.poll = false;
    s.single = (value & ICW1_SINGLE) !== 0;
    s.needsIcw4 = (value & ICW1_NEEDS_ICW4) !== 0;
    if (!s.needsIcw4) s.autoEoi = s.fullyNested = false;
    s.expecting = 'icw2';
  }

  private writeOcw3(value: number): void {
    const s = this.state;
    if ((value & OCW3_POLL) !== 0) s.poll = true;
    if ((value & OCW3_READ) !== 0) s.readIsr = (value & 1) !== 0;
    if ((value & OCW3_SET_SPECIAL_MASK) !== 0) s.specialMask = (value & 0x20) !== 0;
  }

  /** Bits 7-5: rotate, specific, end of interrupt. */
  private writeOcw2(value: number): void {
    const s = this.state;
    const rotate = (value & 0x80) !== 0;
    const specific = (value & 0x40) !== 0;
    if ((value & 0x20) === 0) {
      if (!specific) s.rotateOnAutoEoi = rotate;
      else if (rotate) s.lowest = (value + 1) & 7;
      return;
    }
    const rank = this.rank(s.specialMask ? s.isr & ~s.imr : s.isr);
    if (!specific && rank === 8) return;
    const input = specific ? value & 7 : (rank + s.lowest) & 7;
    s.isr &= ~(1 << input);
    if (rotate) s.lowest = (input + 1) & 7;
  }
}

export interface PicState {
  readonly version: 1;
  readonly chips: readonly [PicChipState, PicChipState];
}

export class PicPair {
  private readonly master: PicChip;
  private readonly slave: PicChip;

  /** `onOutput`: the INTR output changed. `onUnmasked`: inputs may have been unmasked. */
  constructor(onOutput: (level: boolean) => void, onUnmasked: () => void) {
    this.master = new PicChip(true, onOutput, onUnmasked);
    this.slave = new PicChip(false, (level) => this.master.setInput(2, level), onUnmasked);
    this.reset();
  }

  reset(): void {
    this.master.state = { ...POWER_ON, elcr: 4 };
    this.slave.state = { ...POWER_ON };
  }

  /** INTR is high: an interrupt waits. */
  get output(): boolean {
    return this.master.state.output;
  }

  /** A line of the ISA bus, 0 to 15; line 2 is the cascade and not usable. */
  setLine(irq: number, level: boolean): void {
    if (irq !== 2) this.chip(irq).setInput(irq & 7, level);
  }

  masked(irq: number): boolean {
    return ((this.chip(irq).state.imr >> (irq & 7)) & 1) !== 0;
  }

  /** Vector a line is programmed to give. */
  vectorOf(irq: number): number {
    return this.chip(irq).state.base + (irq & 7);
  }

  /** Vector that {@link acknowledge} would return, or -1. */
  pending(): number {
    const irq = this.highest();
    return irq < 0 ? -1 : this.vectorOf(irq);
  }

  /** Interrupt acknowledge cycle: returns the vector, or -1. */
  acknowledge(): number {
    const irq = this.acknowledgeLine();
    return irq < 0 ? -1 : this.vectorOf(irq);
  }

  /** Ports of one chip (0 master, 1 slave). Bytes only: wider reads give all ones, wider writes are dropped. */
  ports(index: 0 | 1): RangeHandler {
    const chip = index === 0 ? this.master : this.slave;
    return {
      name: index === 0 ? 'pic-master' : 'pic-slave',
      read: (offset, size) => {
        if (size !== 1) return allOnes(size);
        if (chip.state.poll) {
          chip.state.poll = false;
          return this.acknowledgeLine();
        }
        return offset === 1 ? chip.state.imr : chip.state.readIsr ? chip.state.isr : chip.state.irr;
      },
      write: (offset, size, value) => {
        if (size !== 1) return true;
        if (offset === 0) chip.writeCommand(value);
        else chip.writeData(value);
        return true;
      },
    };
  }

  /** Edge/level control: one byte per chip. Lines 0, 1, 2, 8 and 13 are always edge triggered to the reader. */
  elcr(): RangeHandler {
    const chips = [
      { chip: this.master, writable: 0xf8, always: 4 },
      { chip: this.slave, writable: 0xde, always: 0 },
    ] as const;
    return {
      name: 'elcr',
      read: (offset, size) => {
        let value = 0;
        for (let i = 0; i < size; i++) {
          const { chip, writable } = chips[(offset + i) as 0 | 1];
          value |= (chip.state.elcr & writable) << (i * 8);
        }
        return value;
      },
      write: (offset, size, value) => {
        for (let i = 0; i < size; i++) {
          const { chip, writable, always } = chips[(offset + i) as 0 | 1];
          chip.state.elcr = ((value >> (i * 8)) & writable) | always;
        }
        return true;
      },
    };
  }

  private chip(irq: number): PicChip {
    return irq < 8 ? this.master : this.slave;
  }

  private highest(): number {
    if (!this.master.state.output) return -1;
    const input = this.master.highest();
    return input === 2 ? 8 + this.slave.highest() : input;
  }

  private acknowledgeLine(): number {
    const irq = this.highest();
    if (irq < 0) return -1;
    this.master.acknowledge(irq < 8 ? irq : 2);
    if (irq >= 8) this.slave.acknowledge(irq - 8);
    return irq;
  }

  save(): PicState {
    return { version: 1, chips: [{ ...this.master.state }, { ...this.slave.state }] };
  }

  load(state: PicState): void {
    this.master.state = { ...state.chips[0] };
    this.slave.state = { ...state.chips[1] };
  }
}
