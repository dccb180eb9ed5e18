/**
 * The virtual devices of a domain: which of them exist follows from Xen's emulation flags (`xen:arch/x86/domain.c#emulation_flags_ok`).
 * Owns the buses, the interrupt controllers and the timers; knows no CPU and no hypervisor.
 */
import { IA32_APIC_BASE, IA32_TSC_DEADLINE, IA32_X2APIC_FIRST, IA32_X2APIC_LAST } from '../abi/x86/msr.ts';
import { type VcpuId, vcpuId } from '../base/int.ts';
import type { InterruptLine, PhysicalMemory, PortIo } from '../cpu/ports.ts';
import { MmioBus } from './bus/mmio.ts';
import { PioBus } from './bus/pio.ts';
import type { Claim } from './bus/ranges.ts';
import { APM_PORT, Apm, type ApmState } from './dev/apm.ts';
import { DEBUG_PORT, debugPort } from './dev/debug-port.ts';
import { RESET_PORT, ResetPort, type ResetPortState } from './dev/reset-port.ts';
import { ApicBus, type ApicBusState, type ApicSinks } from './irq/apic-bus.ts';
import { IOAPIC_BASE, IOAPIC_WINDOW, type IoApicState } from './irq/ioapic.ts';
import { Lapic, type LapicState } from './irq/lapic.ts';
import { APIC_DEFAULT_BASE, APIC_WINDOW } from './irq/lapic-registers.ts';
import { ELCR_PORT, PIC_PORTS, type PicState } from './irq/pic.ts';
import { InterruptRouting, type RoutingState } from './irq/routing.ts';
import { Clock, type ClockState } from './time/clock.ts';
import { EventQueue } from './time/event-queue.ts';
import { HPET_BASE, HPET_WINDOW, Hpet, type HpetState } from './time/hpet.ts';
import { PIT_PORT, Pit, type PitState, SPEAKER_PORT } from './time/pit.ts';
import { NO_DELAY_FOR_MISSED_TICKS, type TimeBase } from './time/platform-timer.ts';
import { PM_BASES, PmTimer, type PmTimerState, SCI_IRQ } from './time/pmtimer.ts';
import { RTC_IRQ, RTC_PORT, Rtc, type RtcState } from './time/rtc.ts';

/** Bit numbers of the emulation flags of a new domain (`xen:public/arch-x86/xen.h#XEN_X86_EMU_LAPIC`) this layer has devices for. */
export const EMULATION_BITS = { lapic: 0, hpet: 1, pm: 2, rtc: 3, ioapic: 4, pic: 5, pit: 8 } as const;

export type EmulatedDevice = keyof typeof EMULATION_BITS;
export type Emulation = Readonly<Record<EmulatedDevice, boolean>>;

/** Flags to devices. */
export function emulationFromFlags(flags: number): Emulation {
  const entries = Object.entries(EMULATION_BITS).map(([name, bit]) => [name, ((flags >> bit) & 1) !== 0]);
  return Object.fromEntries(entries) as Emulation;
}

export const PV_EMULATION = emulationFromFlags(0);
export const PVH_EMULATION = emulationFromFlags(1 << EMULATION_BITS.lapic);
/** All but virtual PCI and pirqs. */
export const HVM_EMULATION = emulationFromFlags(0x1ff);

/** What the platform asks of the layer above. */
export interface PlatformSinks extends ApicSinks {
  /** Guest time-stamp counter of a vCPU. */
  readTsc(vcpu: VcpuId): bigint;
  /** Guest TSC ticks to ns. */
  tscToNanoseconds(ticks: bigint): bigint;
  /** A byte for port 0xE9. */
  debugByte(byte: number): void;
  /** The guest asked for a reset by port 0xcf9. */
  reset(): void;
  /** The guest asked for an ACPI sleep state by its SLP_TYP. */
  sleep(type: number): void;
  /** The guest set its clock by so many seconds. */
  timeOffset(seconds: number): void;
}

export interface PlatformOptions {
  readonly vcpus: number;
  readonly emulation: Emulation;
  readonly sinks: PlatformSinks;
  /** UTC in ns since 1970 at system time 0. */
  readonly wallClockBase: bigint;
  /** The reset port and the APM ports: HVM domains with a device model. */
  readonly legacyPorts?: boolean;
  readonly clock?: Clock;
  readonly events?: EventQueue;
  /** HVM_PARAM_TIMER_MODE; 1 as the tool stack sets it. */
  readonly timerMode?: number;
}

export interface PlatformState {
  readonly version: 1;
  readonly clock: ClockState;
  readonly bus: ApicBusState;
  readonly lapics: readonly LapicState[];
  readonly routing: RoutingState;
  readonly ioapic: IoApicState | undefined;
  readonly pic: PicState | undefined;
  readonly pit: PitState | undefined;
  readonly rtc: RtcState | undefined;
  readonly pm: PmTimerState | undefined;
  readonly pmLocation: 0 | 1;
  readonly hpet: HpetState | undefined;
  readonly resetPort: ResetPortState | undefined;
  readonly apm: ApmState | undefined;
}

export class Platform implements Pick<PhysicalMemory, 'mmioRead' | 'mmioWrite'> {
  readonly clock: Clock;
  readonly events: EventQueue;
  readonly ports = new PioBus();
  readonly mmio = new MmioBus();
  readonly bus: ApicBus;
  readonly routing: InterruptRouting;
  readonly pit: Pit | undefined;
  readonly rtc: Rtc | undefined;
  readonly pm: PmTimer | undefined;
  readonly hpet: Hpet | undefined;
  /** Accessing vCPU: its LAPIC answers in the APIC window. Set by whoever runs vCPUs. */
  current: VcpuId = vcpuId(0);
  /** Whether a vector ends by itself when taken (a synthetic interrupt source with auto-EOI). */
  automaticEoi: (vcpu: VcpuId, vector: number) => boolean = () => false;
  private readonly time: TimeBase;
  private readonly resetPort: ResetPort | undefined;
  private readonly apm: Apm | undefined;
  private readonly pmClaims: readonly Claim[] = [];
  private pmLocation: 0 | 1 = 0;
  private readonly lines: readonly InterruptLine[];

  constructor(options: PlatformOptions) {
    const { emulation: has, sinks, wallClockBase } = options;
    this.clock = options.clock ?? new Clock();
    this.events = options.events ?? new EventQueue();
    this.time = { clock: this.clock, events: this.events, timerMode: options.timerMode ?? NO_DELAY_FOR_MISSED_TICKS };
    this.bus = new ApicBus(sinks);
    const vcpus = Array.from({ length: options.vcpus }, (_, id) => vcpuId(id));
    if (has.lapic) {
      for (const vcpu of vcpus) {
        const tsc = {
          now: () => sinks.readTsc(vcpu),
          toNanoseconds: (ticks: bigint) => sinks.tscToNanoseconds(ticks),
        };
        this.bus.lapics.push(new Lapic(vcpu, this.bus, this.time, tsc));
      }
      this.mmio.claim(APIC_DEFAULT_BASE, APIC_WINDOW, {
        name: 'lapic',
        read: (offset, size) => this.bus.lapics[this.current]?.mmioRead(offset, size),
        write: (offset, size, value) => this.bus.lapics[this.current]?.mmioWrite(offset, size, value) ?? false,
      });
    }
    const routing = new InterruptRouting(this.bus, has);
    this.routing = routing;
    if (routing.ioapic) this.mmio.claim(IOAPIC_BASE, IOAPIC_WINDOW, routing.ioapic);
    if (routing.pic) {
      this.ports.claim(PIC_PORTS[0], 2, routing.pic.ports(0));
      this.ports.claim(PIC_PORTS[1], 2, routing.pic.ports(1));
      this.ports.claim(ELCR_PORT, 2, routing.pic.elcr());
    }
    if (has.pit) {
      const pit = new Pit(this.time, routing.isaTimerLine(0));
      this.pit = pit;
      routing.addTimer(pit.ticks);
      routing.pitRunning = () => pit.running;
      this.ports.claim(PIT_PORT, 4, pit.ports());
      this.ports.claim(SPEAKER_PORT, 1, pit.speakerPort());
    }
    if (has.rtc) {
      this.rtc = new Rtc(this.time, routing.isaTimerLine(RTC_IRQ, true), {
        wallClockBase,
        assert: () => routing.assertIsa(RTC_IRQ),
        deassert: () => routing.deassertIsa(RTC_IRQ),
        timeOffset: (seconds) => sinks.timeOffset(seconds),
      });
      routing.addTimer(this.rtc.ticks);
      this.ports.claim(RTC_PORT, 2, this.rtc.ports());
    }
    if (has.pm) {
      this.pm = new PmTimer(this.time, {
        assertSci: () => routing.assertIsa(SCI_IRQ),
        deassertSci: () => routing.deassertIsa(SCI_IRQ),
        sleep: (type) => sinks.sleep(type),
      });
      this.pmClaims = [this.pm.events(), this.pm.controls(), this.pm.timer()].map((handler, i) =>
        this.ports.claim(PM_BASES[0] + 4 * i, i === 1 ? 2 : 4, handler),
      );
    }
    if (has.hpet) {
      this.hpet = new Hpet(this.time, {
        isaLine: (irq) => routing.isaTimerLine(irq),
        pinMasked: (pin) => routing.ioapic?.masked(pin) ?? true,
        pulsePin: (pin) => routing.pulsePin(pin),
        assertPin: (pin) => routing.assertPin(pin),
        deassertPin: (pin) => routing.deassertPin(pin),
        pinVector: (pin) => routing.ioapic?.vector(pin) ?? -1,
        stopPit: () => this.pit?.stopInterrupts(),
      });
      for (const timer of this.hpet.ticks) routing.addTimer(timer);
      this.mmio.claim(HPET_BASE, HPET_WINDOW, this.hpet);
    }
    if (options.legacyPorts) {
      this.resetPort = new ResetPort(() => sinks.reset());
      this.apm = new Apm((on) => this.pm?.enableSci(on));
      this.ports.claim(APM_PORT, 2, this.apm);
      this.ports.claim(RESET_PORT, 1, this.resetPort);
    }
    // Xen gives it to every domain that runs in hardware-assisted mode, PVH included (key `xen:arch/x86/hvm/hvm.c#hvm_domain_initialise`).
    const debug = debugPort((byte) => sinks.debugByte(byte));
    this.ports.claim(DEBUG_PORT, 1, debug);
    this.lines = vcpus.map((vcpu) => this.interruptLineOf(vcpu));
  }

  /** Port I/O of every vCPU. */
  get portIo(): PortIo {
    return this.ports;
  }

  mmioRead(address: number, size: number): number {
    return this.mmio.mmioRead(address, size);
  }

  mmioWrite(address: number, size: number, value: number): void {
    this.mmio.mmioWrite(address, size, value);
  }

  /** LAPIC of a vCPU; undefined where domains have none. */
  lapic(vcpu: VcpuId): Lapic | undefined {
    return this.bus.lapics[vcpu];
  }

  /** Maskable interrupts of a vCPU, the 8259's before the LAPIC's. Event-channel callback vectors come before both, from the layer above. */
  interruptLine(vcpu: VcpuId): InterruptLine {
    const line = this.lines[vcpu];
    if (!line) throw new RangeError(`vCPU ${vcpu} does not exist`);
    return line;
  }

  /** Runs timers that are due. */
  runTimers(): void {
    this.events.runDue(this.clock.now());
  }

  /** Moves a PM block between its two places (HVM_PARAM_ACPI_IOPORTS_LOCATION 0 or 1). */
  setAcpiPortsLocation(location: 0 | 1): void {
    if (location === this.pmLocation) return;
    this.pmLocation = location;
    for (const [i, claim] of this.pmClaims.entries()) claim.move(PM_BASES[location] + 4 * i);
  }

  /** HVM_PARAM_TIMER_MODE. */
  setTimerMode(mode: number): void {
    this.time.timerMode = mode;
  }

  /** Whether {@link readMsr} and {@link writeMsr} decide about an MSR. */
  ownsMsr(index: number): boolean {
    return (
      index === IA32_APIC_BASE ||
      index === IA32_TSC_DEADLINE ||
      (index >= IA32_X2APIC_FIRST && index <= IA32_X2APIC_LAST)
    );
  }

  /** APIC MSRs of a vCPU; undefined is #GP. */
  readMsr(vcpu: VcpuId, index: number): bigint | undefined {
    const lapic = this.bus.lapics[vcpu];
    if (!lapic) return undefined;
    if (index === IA32_APIC_BASE) return lapic.apicBase;
    if (index === IA32_TSC_DEADLINE) return lapic.readTscDeadline();
    return this.ownsMsr(index) ? lapic.x2apicRead((index - IA32_X2APIC_FIRST) << 4) : undefined;
  }

  /** As {@link readMsr}; false is #GP. */
  writeMsr(vcpu: VcpuId, index: number, value: bigint): boolean {
    const lapic = this.bus.lapics[vcpu];
    if (!lapic) return false;
    if (index === IA32_APIC_BASE) return lapic.writeApicBase(value);
    if (index === IA32_TSC_DEADLINE) {
      lapic.writeTscDeadline(value);
      return true;
    }
    return this.ownsMsr(index) && lapic.x2apicWrite((index - IA32_X2APIC_FIRST) << 4, value);
  }

  private interruptLineOf(vcpu: VcpuId): InterruptLine {
    const { routing } = this;
    const lapic = this.bus.lapics[vcpu];
    if (!lapic) return { pending: () => -1, acknowledge: () => -1 };
    const taken = (source: 'lapic' | 'pic', vector: number): number => {
      lapic.ticks.taken(source, vector);
      routing.taken(source, vector);
      return vector;
    };
    return {
      pending: () => (routing.picPending(lapic) ? routing.pic!.pending() : lapic.pending()),
      acknowledge: () => {
        if (routing.picPending(lapic)) return taken('pic', routing.pic!.acknowledge());
        const vector = lapic.pending();
        if (vector < 0) return vector;
        lapic.acknowledge(vector, this.automaticEoi(vcpu, vector));
        return taken('lapic', vector);
      },
    };
  }

  /** Power-on state of every device. */
  reset(): void {
    this.bus.reset();
    for (const lapic of this.bus.lapics) lapic.reset();
    this.routing.reset();
    this.pit?.reset();
    this.rtc?.reset();
    this.pm?.reset();
    this.hpet?.reset();
    this.resetPort?.reset();
    this.apm?.reset();
    this.setAcpiPortsLocation(0);
  }

  save(): PlatformState {
    return {
      version: 1,
      clock: this.clock.save(),
      bus: this.bus.save(),
      lapics: this.bus.lapics.map((lapic) => lapic.save()),
      routing: this.routing.save(),
      ioapic: this.routing.ioapic?.save(),
      pic: this.routing.pic?.save(),
      pit: this.pit?.save(),
      rtc: this.rtc?.save(),
      pm: this.pm?.save(),
      pmLocation: this.pmLocation,
      hpet: this.hpet?.save(),
      resetPort: this.resetPort?.save(),
      apm: this.apm?.save(),
    };
  }

  /** Loads a state saved by a platform of the same shape. */
  load(state: PlatformState): void {
    if (state.lapics.length !== this.bus.lapics.length) throw new RangeError('the saved platform has other vCPUs');
    this.clock.load(state.clock);
    this.bus.load(state.bus);
    for (const [i, lapic] of this.bus.lapics.entries()) lapic.load(state.lapics[i]!);
    this.routing.load(state.routing);
    const parts = [
      [this.routing.ioapic, state.ioapic],
      [this.routing.pic, state.pic],
      [this.pit, state.pit],
      [this.rtc, state.rtc],
      [this.pm, state.pm],
      [this.hpet, state.hpet],
      [this.resetPort, state.resetPort],
      [this.apm, state.apm],
    ] as const;
    for (const [device, saved] of parts) {
      if ((device === undefined) !== (saved === undefined))
        throw new RangeError('the saved platform has other devices');
      if (device && saved) (device as { load(state: unknown): void }).load(saved);
    }
    this.setAcpiPortsLocation(state.pmLocation);
  }
}
