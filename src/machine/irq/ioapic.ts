/**
 * IO-APIC with 48 pins, as Xen's HVM guests see it (`xen:arch/x86/hvm/vioapic.c`): version 0x11, no EOI register, id 0 until the firmware
 * gives it one (hvmloader writes 1). Chip only; {@link ./routing.ts} counts who holds each line.
 */
import type { RangeHandler } from '../bus/ranges.ts';
import type { ApicBus } from './apic-bus.ts';
import { DM_EXTINT, DM_MASK } from './lapic-registers.ts';

export const IOAPIC_BASE = 0xfec0_0000;
export const IOAPIC_WINDOW = 0x100;
export const IOAPIC_PINS = 48;
const VERSION_ID = 0x11;

/** Memory-mapped registers. */
const IOREGSEL = 0x00;
const IOWIN = 0x10;

/** Indirect registers. */
const REG_ID = 0;
const REG_VERSION = 1;
const REG_ARBITRATION = 2;
const REG_REDIRECTION = 0x10;

/** Redirection entry, low word. The destination is bits 31-24 of the high word. */
export const RTE_VECTOR = 0xff;
export const RTE_LOGICAL = 1 << 11;
export const RTE_DELIVERY_STATUS = 1 << 12;
export const RTE_REMOTE_IRR = 1 << 14;
export const RTE_LEVEL = 1 << 15;
export const RTE_MASKED = 1 << 16;

export interface IoApicHost {
  /** Whether somebody holds the line of a pin. */
  asserted(pin: number): boolean;
  /** A redirection entry changed; `unmasked` if its mask bit went from 1 to 0, or it is pin 0. */
  changed(pin: number, unmasked: boolean): void;
  /** A pin is the PIT's: while it runs, its lowest-priority interrupts prefer vCPU 0. */
  prefersFirst(pin: number): boolean;
}

export interface IoApicState {
  readonly version: 1;
  readonly id: number;
  readonly select: number;
  readonly entries: readonly number[];
}

export class IoApic implements RangeHandler {
  readonly name = 'ioapic';
  private readonly bus: ApicBus;
  private readonly host: IoApicHost;
  /** Low and high words of the entries, alternating. */
  private readonly entries = new Uint32Array(IOAPIC_PINS * 2);
  private select = 0;
  private id = 0;

  constructor(bus: ApicBus, host: IoApicHost) {
    this.bus = bus;
    this.host = host;
    this.reset();
  }

  reset(): void {
    this.select = 0;
    this.id = 0;
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      this.entries[pin * 2] = RTE_MASKED;
      this.entries[pin * 2 + 1] = 0;
    }
  }

  /** Only the two register addresses answer, at any width: a byte read gives the low byte, a byte write writes the byte as the value. */
  read(offset: number): number {
    if (offset === IOREGSEL) return this.select;
    return offset === IOWIN ? this.readIndirect() : 0;
  }

  write(offset: number, _size: number, value: number): boolean {
    if (offset === IOREGSEL) this.select = value;
    else if (offset === IOWIN) this.writeIndirect(value);
    return true;
  }

  /** The line of a pin went up. */
  positiveEdge(pin: number): void {
    const low = this.entries[pin * 2]!;
    if ((low & RTE_MASKED) !== 0) return;
    if ((low & RTE_LEVEL) === 0) this.deliver(pin);
    else if ((low & RTE_REMOTE_IRR) === 0) this.deliverLevel(pin);
  }

  /** A LAPIC ended a level-triggered vector: lines still held interrupt again. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const low = this.entries[pin * 2]!;
      if ((low & RTE_VECTOR) !== vector) continue;
      this.entries[pin * 2] = low & ~RTE_REMOTE_IRR;
      if ((low & RTE_LEVEL) !== 0 && (low & RTE_MASKED) === 0 && this.host.asserted(pin)) this.deliverLevel(pin);
    }
  }

  masked(pin: number): boolean {
    return (this.entries[pin * 2]! & RTE_MASKED) !== 0;
  }

  level(pin: number): boolean {
    return (this.entries[pin * 2]! & RTE_LEVEL) !== 0;
  }

  vector(pin: number): number {
    return this.entries[pin * 2]! & RTE_VECTOR;
  }

  /** Pin 0 passes the 8259's interrupts to the LAPIC with this id. */
  extIntTo(id: number): boolean {
    const low = this.entries[0]!;
    return (low & DM_MASK) === DM_EXTINT && (low & RTE_MASKED) === 0 && this.entries[1]! >>> 24 === id;
  }

  private readIndirect(): number {
    switch (this.select) {
      case REG_ID:
      case REG_ARBITRATION:
        return this.id << 24;
      case REG_VERSION:
        return VERSION_ID | ((IOAPIC_PINS - 1) << 16);
      default:
        return this.entries[this.select - REG_REDIRECTION] ?? 0;
    }
  }

  private writeIndirect(value: number): void {
    if (this.select === REG_ID) this.id = (value >>> 24) & 0xf;
    else if (this.select >= REG_REDIRECTION && this.select < REG_REDIRECTION + this.entries.length)
      this.writeEntry(this.select - REG_REDIRECTION, value);
  }

  /** Delivery status and remote IRR are read-only; making a pin edge triggered forgets remote IRR. */
  private writeEntry(word: number, value: number): void {
    const pin = word >> 1;
    let unmasked = pin === 0;
    if ((word & 1) === 1) this.entries[word] = value;
    else {
      const old = this.entries[word]!;
      this.entries[word] = (value & ~(RTE_DELIVERY_STATUS | RTE_REMOTE_IRR)) | (old & RTE_REMOTE_IRR);
      unmasked ||= (old & RTE_MASKED) !== 0 && (value & RTE_MASKED) === 0;
    }
    const low = this.entries[pin * 2]!;
    if (pin !== 0) {
      if ((low & RTE_LEVEL) === 0) this.entries[pin * 2] = low & ~RTE_REMOTE_IRR;
      else if ((low & (RTE_MASKED | RTE_REMOTE_IRR)) === 0 && this.host.asserted(pin)) this.deliverLevel(pin);
    }
    this.host.changed(pin, unmasked);
  }

  private deliverLevel(pin: number): void {
    this.entries[pin * 2]! |= RTE_REMOTE_IRR;
    this.deliver(pin);
  }

  private deliver(pin: number): void {
    const low = this.entries[pin * 2]!;
    const destination = this.entries[pin * 2 + 1]! >>> 24;
    const prefer = this.host.prefersFirst(pin) ? this.bus.lapics[0] : undefined;
    this.bus.message(
      low & RTE_VECTOR,
      destination,
      (low & RTE_LOGICAL) !== 0,
      low & DM_MASK,
      (low & RTE_LEVEL) !== 0,
      prefer,
    );
  }

  save(): IoApicState {
    return { version: 1, id: this.id, select: this.select, entries: [...this.entries] };
  }

  load(state: IoApicState): void {
    this.id = state.id;
    this.select = state.select;
    this.entries.set(state.entries);
  }
}
