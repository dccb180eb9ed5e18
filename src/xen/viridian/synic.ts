/** Synthetic interrupt controller of one vCPU: sixteen sources, a message page with a slot for each, and the APIC's MSRs. */
import type { VcpuId } from '../../base/int.ts';
import * as APIC from '../../machine/irq/lapic-registers.ts';
import * as B from './bits.ts';
import type { ViridianFeatures, ViridianHost } from './host.ts';

/** Message slot: u32 type, u8 payload size, u8 flags, u16, u64 sender, 240 bytes of payload. */
const MESSAGE_SIZE = 256;
const MESSAGE_NONE = 0;
const MESSAGE_TIMER_EXPIRED = 0x8000_0010;
const PAYLOAD = 16;
const TIMER_PAYLOAD_SIZE = 24;

const SINT_VECTOR = 0xffn;
const SINT_MASKED = 1n << 16n;
const SINT_AUTO_EOI = 1n << 17n;

export interface SynicState {
  readonly control: bigint;
  readonly eventFlags: bigint;
  readonly messages: bigint;
  readonly assist: bigint;
  readonly sources: readonly bigint[];
}

export class Synic {
  private readonly vcpu: VcpuId;
  private readonly host: ViridianHost;
  private readonly features: ViridianFeatures;
  private control = 0n;
  private eventFlags = 0n;
  private messages = 0n;
  private assist = 0n;
  private sources: bigint[] = new Array<bigint>(B.SINTS).fill(SINT_MASKED);

  constructor(vcpu: VcpuId, host: ViridianHost, features: ViridianFeatures) {
    this.vcpu = vcpu;
    this.host = host;
    this.features = features;
  }

  /** RDMSR; undefined is #GP: write-only, or the synic feature is off. */
  read(index: number): bigint | undefined {
    const lapic = this.host.lapic(this.vcpu);
    switch (index) {
      case B.ICR:
        return (BigInt(lapic.readRegister(APIC.ICR2)) << 32n) | BigInt(lapic.readRegister(APIC.ICR));
      case B.TPR:
        return BigInt(lapic.readRegister(APIC.TASKPRI));
      case B.VP_ASSIST_PAGE:
        return this.assist;
    }
    if (!this.features.has('synic')) return undefined;
    if (index >= B.SINT0 && index < B.SINT0 + B.SINTS) return this.sources[index - B.SINT0];
    switch (index) {
      case B.SCONTROL:
        return this.control;
      case B.SVERSION:
        return 1n;
      case B.SIEFP:
        return this.eventFlags;
      case B.SIMP:
        return this.messages;
      case B.EOM:
        return 0n;
      default:
        return undefined;
    }
  }

  /** WRMSR; false is #GP: read-only, the synic feature is off, or a source's vector is below 0x10. */
  write(index: number, value: bigint): boolean {
    const lapic = this.host.lapic(this.vcpu);
    const low = Number(value & 0xffff_ffffn);
    switch (index) {
      case B.EOI:
        lapic.endOfInterrupt();
        return true;
      case B.ICR:
        lapic.writeRegister(APIC.ICR2, Number(value >> 32n));
        lapic.writeRegister(APIC.ICR, low);
        return true;
      case B.TPR:
        lapic.writeRegister(APIC.TASKPRI, low);
        return true;
      case B.VP_ASSIST_PAGE:
        this.assist = value;
        return true;
    }
    if (!this.features.has('synic')) return false;
    if (index >= B.SINT0 && index < B.SINT0 + B.SINTS) {
      if ((value & SINT_VECTOR) < 0x10n) return false;
      this.sources[index - B.SINT0] = value;
      return true;
    }
    switch (index) {
      case B.SCONTROL:
        this.control = value;
        return true;
      case B.SIEFP:
        this.eventFlags = value;
        return true;
      case B.SIMP:
        this.messages = value;
        return true;
      default:
        return index === B.EOM;
    }
  }

  /** Whether a vector belongs to a source that needs no EOI. */
  isAutoEoi(vector: number): boolean {
    return this.sources.some((source) => Number(source & SINT_VECTOR) === vector && (source & SINT_AUTO_EOI) !== 0n);
  }

  /**
   * Puts a timer message into the slot of a source and raises its vector. False: no message page (none set, or no RAM behind it), or the
   * slot is taken; ask again later.
   */
  deliverTimer(source: number, timer: number, expiration: bigint, now: bigint): boolean {
    if ((this.messages & B.PAGE_ENABLED) === 0n) return false;
    const page = this.host.writablePage(this.messages >> 12n);
    if (!page) return false;
    const slot = new DataView(page.buffer, page.byteOffset + source * MESSAGE_SIZE, MESSAGE_SIZE);
    if (slot.getUint32(0, true) !== MESSAGE_NONE) return false;
    slot.setUint32(0, MESSAGE_TIMER_EXPIRED, true);
    slot.setUint8(4, TIMER_PAYLOAD_SIZE);
    slot.setUint8(5, slot.getUint8(5) & ~1);
    slot.setUint32(PAYLOAD, timer, true);
    slot.setUint32(PAYLOAD + 4, 0, true);
    slot.setBigUint64(PAYLOAD + 8, expiration, true);
    slot.setBigUint64(PAYLOAD + 16, now, true);
    const config = this.sources[source]!;
    const lapic = this.host.lapic(this.vcpu);
    if ((config & SINT_MASKED) === 0n && lapic.enabled) lapic.request(Number(config & SINT_VECTOR), false);
    return true;
  }

  save(): SynicState {
    const { control, eventFlags, messages, assist } = this;
    return { control, eventFlags, messages, assist, sources: [...this.sources] };
  }

  load(state: SynicState): void {
    this.control = state.control;
    this.eventFlags = state.eventFlags;
    this.messages = state.messages;
    this.assist = state.assist;
    this.sources = [...state.sources];
  }
}
