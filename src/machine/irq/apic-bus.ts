/** The bus between local APICs: who an interrupt message is for, and what each delivery mode does there (`xen:arch/x86/hvm/vlapic.c`). */
import type { VcpuId } from '../../base/int.ts';
import type { Lapic, LapicHost } from './lapic.ts';
import * as R from './lapic-registers.ts';

/** What leaves the interrupt controllers towards vCPUs. */
export interface ApicSinks {
  /** Non-maskable interrupt; also brings up an initialised vCPU that is down. */
  nmi(vcpu: VcpuId): void;
  /** INIT. True: the vCPU was reset, so its LAPIC is too; false: it was not initialised and nothing happens. */
  init(vcpu: VcpuId): boolean;
  /** Start-up message: real-mode code at `vector << 12`. */
  sipi(vcpu: VcpuId, vector: number): void;
  /** An interrupt may have become deliverable. */
  kick(vcpu: VcpuId): void;
  /** SPIV enabled the APIC. */
  softwareEnabled(vcpu: VcpuId): void;
  /** The guest did what ends a domain: an ExtINT interrupt command. */
  crash(reason: string): void;
}

export interface ApicBusState {
  readonly version: 1;
  readonly lastLowest: number;
}

export class ApicBus implements LapicHost {
  readonly lapics: Lapic[] = [];
  /** IO-APIC's view of an EOI. */
  onEndOfInterrupt: (vector: number) => void = () => {};
  onRoutingChanged: () => void = () => {};
  private readonly sinks: ApicSinks;
  /** vCPU that got the last lowest-priority message; the search starts behind it. */
  private lastLowest = 0;

  constructor(sinks: ApicSinks) {
    this.sinks = sinks;
  }

  /** Whether a message is for `target`. `destination` is an APIC id, or a logical one with `logical`. */
  matches(target: Lapic, source: Lapic | undefined, shorthand: number, destination: number, logical: boolean): boolean {
    switch (shorthand) {
      case R.SHORTHAND_SELF:
        return target === source;
      case R.SHORTHAND_ALL:
        return true;
      case R.SHORTHAND_OTHERS:
        return target !== source;
      default:
        if (logical) return matchesLogical(target, destination >>> 0);
        return destination >>> 0 === (target.x2apic ? 0xffff_ffff : 0xff) || destination >>> 0 === target.id;
    }
  }

  /** The enabled destination with the lowest processor priority, round robin among equals. */
  lowestPriority(
    source: Lapic | undefined,
    shorthand: number,
    destination: number,
    logical: boolean,
  ): Lapic | undefined {
    let best: Lapic | undefined;
    let bestPriority = 0x100;
    for (let i = 1; i <= this.lapics.length; i++) {
      const lapic = this.lapics[(this.lastLowest + i) % this.lapics.length]!;
      if (!lapic.enabled || !this.matches(lapic, source, shorthand, destination, logical)) continue;
      if (lapic.ppr >= bestPriority) continue;
      best = lapic;
      bestPriority = lapic.ppr;
    }
    if (best) this.lastLowest = best.vcpu;
    return best;
  }

  /** An interrupt command. `destination` is in the width of the sender's mode. */
  ipi(source: Lapic, icr: number, destination: number): void {
    const shorthand = icr & R.SHORTHAND_MASK;
    const logical = (icr & R.ICR_LOGICAL) !== 0;
    const mode = icr & R.DM_MASK;
    const vector = icr & R.VECTOR_MASK;
    if (mode === R.DM_LOWEST) {
      const target = this.lowestPriority(source, shorthand, destination, logical);
      if (vector < R.FIRST_LEGAL_VECTOR) source.error(R.ESR_SEND_ILLEGAL);
      else target?.request(vector, false);
      return;
    }
    if (mode === R.DM_FIXED && vector < R.FIRST_LEGAL_VECTOR) {
      source.error(R.ESR_SEND_ILLEGAL);
      return;
    }
    for (const lapic of this.lapics)
      if (this.matches(lapic, source, shorthand, destination, logical)) this.accept(lapic, icr, mode, vector);
  }

  /** A message from an IO-APIC or a device: 8-bit destination, delivery modes fixed, lowest priority and NMI; others are dropped. */
  message(vector: number, destination: number, logical: boolean, mode: number, level: boolean, prefer?: Lapic): void {
    const here = (lapic: Lapic): boolean => this.matches(lapic, undefined, R.SHORTHAND_NONE, destination, logical);
    switch (mode) {
      case R.DM_LOWEST: {
        const preferred = prefer?.enabled && here(prefer) ? prefer : undefined;
        (preferred ?? this.lowestPriority(undefined, R.SHORTHAND_NONE, destination, logical))?.request(vector, level);
        return;
      }
      case R.DM_FIXED:
        for (const lapic of this.lapics) if (lapic.enabled && here(lapic)) lapic.request(vector, level);
        return;
      case R.DM_NMI:
        for (const lapic of this.lapics) if (here(lapic)) this.sinks.nmi(lapic.vcpu);
    }
  }

  endOfInterrupt(vector: number): void {
    this.onEndOfInterrupt(vector);
  }

  kick(vcpu: VcpuId): void {
    this.sinks.kick(vcpu);
  }

  softwareEnabled(vcpu: VcpuId): void {
    this.onRoutingChanged();
    this.sinks.softwareEnabled(vcpu);
  }

  routingChanged(): void {
    this.onRoutingChanged();
  }

  private accept(target: Lapic, icr: number, mode: number, vector: number): void {
    switch (mode) {
      case R.DM_FIXED:
        if (target.enabled) target.request(vector, false);
        return;
      case R.DM_NMI:
        this.sinks.nmi(target.vcpu);
        return;
      case R.DM_INIT:
        // Level de-assert has had no effect since the Pentium 4.
        if ((icr & (R.ICR_LEVEL | R.ICR_ASSERT)) === R.ICR_LEVEL) return;
        if (this.sinks.init(target.vcpu)) target.initReset();
        return;
      case R.DM_STARTUP:
        this.sinks.sipi(target.vcpu, vector);
        return;
      case R.DM_SMI:
      case R.DM_REMOTE_READ:
        return;
      default:
        this.sinks.crash(`unsupported delivery mode in interrupt command ${icr.toString(16)}`);
    }
  }

  reset(): void {
    this.lastLowest = 0;
  }

  save(): ApicBusState {
    return { version: 1, lastLowest: this.lastLowest };
  }

  load(state: ApicBusState): void {
    this.lastLowest = state.lastLowest;
  }
}

/** Logical destination match: x2APIC cluster, xAPIC flat, xAPIC cluster; another destination format matches nothing. */
function matchesLogical(target: Lapic, destination: number): boolean {
  const ldr = target.ldr;
  if (target.x2apic) return ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0;
  const id = ldr >>> 24;
  const wanted = destination & 0xff;
  if (target.dfr === R.DFR_FLAT) return (id & wanted) !== 0;
  if (target.dfr === R.DFR_CLUSTER) return id >> 4 === wanted >> 4 && (id & wanted & 0xf) !== 0;
  return false;
}
