/**
 * Interrupt lines of the platform: ISA interrupts, PCI INTx and GSIs, counted by how many sources hold each, and passed to the IO-APIC
 * and the 8259 pair (`xen:arch/x86/hvm/irq.c`).
 */
import type { InterruptSource, PlatformTimer, TimerLine } from '../time/platform-timer.ts';
import type { ApicBus } from './apic-bus.ts';
import { IOAPIC_PINS, IoApic } from './ioapic.ts';
import type { Lapic } from './lapic.ts';
import { PicPair } from './pic.ts';

/** Xen counts 48 GSIs, as many as the IO-APIC has pins. */
export const GSI_COUNT = IOAPIC_PINS;
const ISA_COUNT = 16;

/** GSI of an ISA interrupt: the timer's line 0 is pin 2. */
export const isaIrqToGsi = (irq: number): number => (irq === 0 ? 2 : irq);

/** GSI of a PCI interrupt pin (0 = INTA) of a device on bus 0: 16 to 47. */
export const pciIntxToGsi = (device: number, pin: number): number => (((device << 2) + (device >> 3) + pin) & 31) + 16;

/** PCI link (0 = LNKA) of an interrupt pin: which PIIX3 route register applies. */
export const pciIntxToLink = (device: number, pin: number): number => (device + pin) & 3;

export interface RoutingState {
  readonly version: 1;
  readonly gsiHolders: readonly number[];
  readonly isa: readonly boolean[];
  readonly intx: readonly number[];
  readonly linkHolders: readonly number[];
  readonly linkRoutes: readonly number[];
}

export class InterruptRouting {
  readonly ioapic: IoApic | undefined;
  readonly pic: PicPair | undefined;
  /** The PIT runs; see {@link IoApicHost.prefersFirst}. */
  pitRunning: () => boolean = () => false;
  private readonly bus: ApicBus;
  private readonly timers: PlatformTimer[] = [];
  private readonly gsiHolders = new Uint32Array(GSI_COUNT);
  private readonly isa = new Array<boolean>(ISA_COUNT).fill(false);
  /** Asserted PCI pins, device * 4 + pin. */
  private readonly intx = new Set<number>();
  private readonly linkHolders = [0, 0, 0, 0];
  private readonly linkRoutes = [0, 0, 0, 0];

  constructor(bus: ApicBus, has: { readonly ioapic: boolean; readonly pic: boolean }) {
    this.bus = bus;
    const unmasked = (): void => this.unmasked();
    if (has.ioapic)
      this.ioapic = new IoApic(bus, {
        asserted: (pin) => this.gsiHolders[pin]! > 0,
        changed: (_pin, mayUnmask) => mayUnmask && unmasked(),
        prefersFirst: (pin) => pin === isaIrqToGsi(0) && this.pitRunning(),
      });
    if (has.pic) this.pic = new PicPair((level) => level && this.kickPicTarget(), unmasked);
    bus.onEndOfInterrupt = (vector) => this.ioapic?.endOfInterrupt(vector);
    bus.onRoutingChanged = unmasked;
  }

  /** Wire of a timer on an ISA line, delivered as an edge through the PIC or the IO-APIC. */
  isaTimerLine(irq: number, evenMasked = false): TimerLine {
    return {
      evenMasked,
      masked: () =>
        !(this.pic && !this.pic.masked(irq) && this.picTarget() !== undefined) &&
        (this.ioapic?.masked(isaIrqToGsi(irq)) ?? true),
      raise: () => this.pulseIsa(irq),
      owns: (source, vector) => vector === this.vectorOf(source, irq, isaIrqToGsi(irq)),
    };
  }

  /** Timers to poke when a mask may have gone. */
  addTimer(timer: PlatformTimer): void {
    this.timers.push(timer);
  }

  /** An interrupt was taken by some vCPU: tells the platform's timers. */
  taken(source: InterruptSource, vector: number): void {
    for (const timer of this.timers) timer.taken(source, vector);
  }

  /** Vector that a line gives through a controller, or -1. */
  vectorOf(source: InterruptSource, isaIrq: number, gsi: number): number {
    if (source === 'lapic') return this.ioapic?.vector(gsi) ?? -1;
    return isaIrq < ISA_COUNT ? (this.pic?.vectorOf(isaIrq) ?? -1) : -1;
  }

  /** Holds an ISA line (0-15); holding it twice is the same as once. */
  assertIsa(irq: number): void {
    if (this.isa[irq]) return;
    this.isa[irq] = true;
    if (this.hold(isaIrqToGsi(irq))) this.raise(isaIrqToGsi(irq), irq);
  }

  deassertIsa(irq: number): void {
    if (!this.isa[irq]) return;
    this.isa[irq] = false;
    if (this.release(isaIrqToGsi(irq))) this.pic?.setLine(irq, false);
  }

  /** A new edge on an ISA line, leaving it held. */
  pulseIsa(irq: number): void {
    this.deassertIsa(irq);
    this.assertIsa(irq);
  }

  /** Adds a holder of a GSI. Below 16 the PIC sees it as well. */
  assertGsi(gsi: number): void {
    if (this.hold(gsi)) this.raise(gsi, gsi);
  }

  deassertGsi(gsi: number): void {
    if (this.release(gsi) && gsi < ISA_COUNT) this.pic?.setLine(gsi, false);
  }

  /** An edge on an IO-APIC pin only. */
  pulsePin(gsi: number): void {
    this.ioapic?.positiveEdge(gsi);
  }

  /** Holds an IO-APIC pin only. */
  assertPin(gsi: number): void {
    if (this.hold(gsi)) this.ioapic?.positiveEdge(gsi);
  }

  deassertPin(gsi: number): void {
    this.release(gsi);
  }

  /** Asserts INTA..INTD (0-3) of a device on bus 0: its GSI, and the ISA line its link is routed to. */
  assertIntx(device: number, pin: number): void {
    if (this.intx.has(device * 4 + pin)) return;
    this.intx.add(device * 4 + pin);
    const gsi = pciIntxToGsi(device, pin);
    if (this.hold(gsi)) this.ioapic?.positiveEdge(gsi);
    const link = pciIntxToLink(device, pin);
    const irq = this.linkRoutes[link]!;
    if (this.linkHolders[link]!++ === 0 && irq !== 0 && this.hold(irq)) this.raise(irq, irq);
  }

  deassertIntx(device: number, pin: number): void {
    if (!this.intx.delete(device * 4 + pin)) return;
    this.release(pciIntxToGsi(device, pin));
    const link = pciIntxToLink(device, pin);
    const irq = this.linkRoutes[link]!;
    if (--this.linkHolders[link]! === 0 && irq !== 0 && this.release(irq)) this.pic?.setLine(irq, false);
  }

  /** Routes a PCI link to an ISA line; 0 disconnects it. */
  setLinkRoute(link: number, irq: number): void {
    const old = this.linkRoutes[link]!;
    if (old === irq) return;
    this.linkRoutes[link] = irq;
    if (this.linkHolders[link] === 0) return;
    if (old !== 0 && this.release(old)) this.pic?.setLine(old, false);
    if (irq !== 0 && this.hold(irq)) this.raise(irq, irq);
  }

  /** LAPIC that gets the 8259's interrupts: the first that accepts them. */
  picTarget(): Lapic | undefined {
    return this.bus.lapics.find(
      (lapic) =>
        lapic.hardwareEnabled && (lapic.takesExtInt || (lapic.enabled && this.ioapic?.extIntTo(lapic.id) === true)),
    );
  }

  /** Whether an 8259 interrupt waits for a vCPU's LAPIC. */
  picPending(lapic: Lapic): boolean {
    return this.pic?.output === true && this.picTarget() === lapic;
  }

  private hold(gsi: number): boolean {
    return this.gsiHolders[gsi]!++ === 0;
  }

  private release(gsi: number): boolean {
    if (this.gsiHolders[gsi] === 0) return false;
    return --this.gsiHolders[gsi]! === 0;
  }

  private raise(gsi: number, isaIrq: number): void {
    this.ioapic?.positiveEdge(gsi);
    if (isaIrq < ISA_COUNT) this.pic?.setLine(isaIrq, true);
  }

  private unmasked(): void {
    for (const timer of this.timers) timer.unmasked();
    if (this.pic?.output) this.kickPicTarget();
  }

  private kickPicTarget(): void {
    const target = this.picTarget();
    if (target) this.bus.kick(target.vcpu);
  }

  reset(): void {
    this.gsiHolders.fill(0);
    this.isa.fill(false);
    this.intx.clear();
    this.linkHolders.fill(0);
    this.linkRoutes.fill(0);
    this.ioapic?.reset();
    this.pic?.reset();
  }

  save(): RoutingState {
    return {
      version: 1,
      gsiHolders: [...this.gsiHolders],
      isa: [...this.isa],
      intx: [...this.intx],
      linkHolders: [...this.linkHolders],
      linkRoutes: [...this.linkRoutes],
    };
  }

  load(state: RoutingState): void {
    this.gsiHolders.set(state.gsiHolders);
    this.isa.splice(0, ISA_COUNT, ...state.isa);
    this.intx.clear();
    for (const pin of state.intx) this.intx.add(pin);
    this.linkHolders.splice(0, 4, ...state.linkHolders);
    this.linkRoutes.splice(0, 4, ...state.linkRoutes);
  }
}
