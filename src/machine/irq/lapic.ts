/**
 * Local APIC of one vCPU in xAPIC and x2APIC mode, as Xen's HVM guests see it (`xen:arch/x86/hvm/vlapic.c`, `sdm:3A "Local APIC"`).
 *
 * Chip only: {@link ./apic-bus.ts} resolves destinations between LAPICs; the platform binds it to memory, MSRs and CR8.
 */

import { APIC_BASE_ADDRESS, APIC_BASE_BSP, APIC_BASE_ENABLE, APIC_BASE_EXTD } from '../../abi/x86/msr.ts';
import type { VcpuId } from '../../base/int.ts';
import { PlatformTimer, type TimeBase } from '../time/platform-timer.ts';
import * as R from './lapic-registers.ts';
import { LapicTimer, type LapicTimerState, type TscSource } from './lapic-timer.ts';
import { VectorSet } from './vector-set.ts';

/** What a LAPIC asks of its surroundings. */
export interface LapicHost {
  /** The interrupt command register was written. */
  ipi(from: Lapic, icr: number, destination: number): void;
  /** End of a level-triggered interrupt. */
  endOfInterrupt(vector: number): void;
  /** An interrupt may have become deliverable on this vCPU. */
  kick(vcpu: VcpuId): void;
  /** SPIV enabled the APIC: event-channel upcall vectors are raised again. */
  softwareEnabled(vcpu: VcpuId): void;
  /** LVT0, the enable bits or the ID changed: who gets the PIC's interrupts may have changed, and timers may be unmasked. */
  routingChanged(): void;
}

export interface LapicState {
  readonly version: 1;
  readonly apicBase: bigint;
  readonly hardwareDisabled: boolean;
  readonly softwareDisabled: boolean;
  readonly pendingErrors: number;
  readonly registers: readonly number[];
  readonly timer: LapicTimerState;
}

export class Lapic {
  readonly vcpu: VcpuId;
  readonly ticks: PlatformTimer;
  /** IA32_APIC_BASE as last written. */
  apicBase = 0n;
  private hardwareDisabled = false;
  private softwareDisabled = true;
  /** Errors since ESR was last written. */
  private pendingErrors = 0;
  /** Register at xAPIC offset o is word o >> 4. */
  private readonly registers = new Uint32Array(0x40);
  private readonly irr = new VectorSet(this.registers, R.IRR >> 4);
  private readonly isr = new VectorSet(this.registers, R.ISR >> 4);
  private readonly tmr = new VectorSet(this.registers, R.TMR >> 4);
  private readonly timer: LapicTimer;
  private readonly host: LapicHost;

  constructor(vcpu: VcpuId, host: LapicHost, time: TimeBase, tsc: TscSource) {
    this.vcpu = vcpu;
    this.host = host;
    this.ticks = new PlatformTimer(time, {
      masked: () => !this.enabled || (this.get(R.LVTT) & R.LVT_MASKED) !== 0,
      raise: () => this.request(this.get(R.LVTT) & R.VECTOR_MASK, false),
      owns: (source, vector) => source === 'lapic' && vector === (this.get(R.LVTT) & R.VECTOR_MASK),
    });
    this.timer = new LapicTimer(time, this.ticks, tsc);
    this.reset();
  }

  /** Neither IA32_APIC_BASE nor SPIV disables it: it takes part in interrupt delivery. */
  get enabled(): boolean {
    return !this.hardwareDisabled && !this.softwareDisabled;
  }

  /** IA32_APIC_BASE enables it. */
  get hardwareEnabled(): boolean {
    return !this.hardwareDisabled;
  }

  get x2apic(): boolean {
    return (this.apicBase & APIC_BASE_EXTD) !== 0n;
  }

  /** APIC id in the width of the current mode. */
  get id(): number {
    return this.x2apic ? this.get(R.ID) : this.get(R.ID) >>> 24;
  }

  /** Logical destination register. */
  get ldr(): number {
    return this.get(R.LDR);
  }

  /** Destination format register. */
  get dfr(): number {
    return this.get(R.DFR);
  }

  /** LINT0 is an unmasked ExtINT pin: the 8259 pair is wired through. */
  get takesExtInt(): boolean {
    return (this.get(R.LVT0) & (R.DM_MASK | R.LVT_MASKED)) === R.DM_EXTINT;
  }

  /** Power-on state: id 2*vCPU, default base, enabled by IA32_APIC_BASE, disabled by SPIV. */
  reset(): void {
    this.apicBase = APIC_BASE_ENABLE | BigInt(R.APIC_DEFAULT_BASE) | (this.vcpu === 0 ? APIC_BASE_BSP : 0n);
    this.hardwareDisabled = false;
    this.set(R.ID, (this.vcpu * 2) << 24);
    this.initReset();
  }

  /** What INIT does: everything but the id and the base. In x2APIC mode the (read-only) LDR stays too. */
  initReset(): void {
    this.set(R.LVR, R.APIC_VERSION_VALUE);
    for (const set of [this.irr, this.isr, this.tmr]) set.clear();
    for (const register of [R.ICR, R.ICR2, R.TASKPRI, R.TMICT, R.TMCCT, R.TDCR]) this.set(register, 0);
    if (!this.x2apic) this.set(R.LDR, 0);
    this.set(R.DFR, R.DFR_FLAT);
    for (const register of R.LVT_BITS.keys()) this.set(register, R.LVT_MASKED);
    this.set(R.SPIV, 0xff);
    this.softwareDisabled = true;
    this.timer.reset();
  }

  /** Raises a vector: edge or level as `level` says. An illegal vector is a receive error. */
  request(vector: number, level: boolean): void {
    if (vector < R.FIRST_LEGAL_VECTOR) {
      this.error(R.ESR_RECEIVE_ILLEGAL);
      return;
    }
    if (level) this.tmr.add(vector);
    else this.tmr.delete(vector);
    if (this.irr.has(vector)) return;
    this.irr.add(vector);
    this.host.kick(this.vcpu);
  }

  /** Whether a vector is requested and not yet taken. */
  requested(vector: number): boolean {
    return this.irr.has(vector);
  }

  /** Vector that would be delivered now, or -1: the highest request, if its class is above those in service and the task priority. */
  pending(): number {
    if (!this.enabled) return -1;
    const vector = this.irr.highest();
    if (vector < 0) return -1;
    const level = vector & 0xf0;
    const service = this.isr.highest();
    if (service >= 0 && level <= (service & 0xf0)) return -1;
    return level <= (this.get(R.TASKPRI) & 0xf0) ? -1 : vector;
  }

  /** Moves a pending vector into service. `automatic`: the vector ends by itself (a Hyper-V auto-EOI source). */
  acknowledge(vector: number, automatic = false): void {
    if (!automatic) this.isr.add(vector);
    this.irr.delete(vector);
  }

  /** Ends the highest vector in service. */
  endOfInterrupt(): void {
    const vector = this.isr.highest();
    if (vector < 0) return;
    this.isr.delete(vector);
    if (this.tmr.has(vector)) this.host.endOfInterrupt(vector);
    this.announce();
  }

  /** Processor priority: the higher class of TPR and the vector in service. */
  get ppr(): number {
    const tpr = this.get(R.TASKPRI);
    const service = Math.max(this.isr.highest(), 0);
    return (tpr & 0xf0) >= (service & 0xf0) ? tpr & 0xff : service & 0xf0;
  }

  /** CR8 is bits 7-4 of the task priority. */
  readCr8(): number {
    return this.get(R.TASKPRI) >>> 4;
  }

  writeCr8(value: number): void {
    this.writeRegister(R.TASKPRI, (value & 0xf) << 4);
  }

  /** Records an error; each newly recorded one raises LVTERR. LVTERR's own illegal vector adds a receive error instead. */
  error(bit: number): void {
    if ((this.pendingErrors & bit) !== 0) return;
    this.pendingErrors |= bit;
    const lvt = this.get(R.LVTERR);
    if ((lvt & R.LVT_MASKED) !== 0) return;
    const vector = lvt & R.VECTOR_MASK;
    if (vector < R.FIRST_LEGAL_VECTOR) this.pendingErrors |= R.ESR_RECEIVE_ILLEGAL;
    else this.request(vector, false);
  }

  /**
   * xAPIC window. Registers are dwords at multiples of 16; narrower accesses inside a dword work, anything else reads 0 and is dropped.
   * Undefined: the window is closed (x2APIC mode, or disabled by IA32_APIC_BASE).
   */
  mmioRead(offset: number, size: number): number | undefined {
    if (this.hardwareDisabled || this.x2apic) return undefined;
    const within = offset & 0xf;
    if (within + size > 4 || offset > R.TDCR + 3) return 0;
    return this.readRegister(offset & ~0xf) >>> (within * 8);
  }

  /** As {@link mmioRead}; narrow writes merge with what the register reads. False: the window is closed. */
  mmioWrite(offset: number, size: number, value: number): boolean {
    if (this.hardwareDisabled || this.x2apic) return false;
    const within = offset & 0xf;
    const register = offset & ~0xf;
    if (within + size > 4 || register > R.TDCR) return true;
    if (size === 4) this.writeRegister(register, value);
    else {
      const shift = within * 8;
      const mask = (2 ** (size * 8) - 1) << shift;
      this.writeRegister(register, ((this.readRegister(register) & ~mask) | ((value << shift) & mask)) >>> 0);
    }
    return true;
  }

  /** RDMSR of 0x800 + (offset >> 4); undefined is #GP: not in x2APIC mode, or no such register. */
  x2apicRead(offset: number): bigint | undefined {
    if (!this.x2apic || !R.X2APIC_READABLE.has(offset)) return undefined;
    const low = BigInt(this.readRegister(offset));
    return offset === R.ICR ? (BigInt(this.get(R.ICR2)) << 32n) | low : low;
  }

  /** WRMSR; false is #GP: not in x2APIC mode, no such register, or a reserved bit set. */
  x2apicWrite(offset: number, value: bigint): boolean {
    const allowed = R.X2APIC_WRITABLE.get(offset);
    if (!this.x2apic || allowed === undefined || (value & ~allowed) !== 0n) return false;
    const low = Number(value & 0xffff_ffffn);
    if (offset === R.ICR) this.set(R.ICR2, Number(value >> 32n));
    if (offset === R.SELF_IPI) this.writeRegister(R.ICR, R.SHORTHAND_SELF | low);
    else this.writeRegister(offset, low);
    return true;
  }

  /**
   * WRMSR of IA32_APIC_BASE; false is #GP, in this order: a reserved bit; xAPIC mode at another base than the default; an illegal
   * transition (anything but disabled to xAPIC, xAPIC to x2APIC, and either to disabled).
   */
  writeApicBase(value: bigint): boolean {
    const mode = APIC_BASE_ENABLE | APIC_BASE_EXTD;
    if ((value & ~(APIC_BASE_ADDRESS | APIC_BASE_BSP | mode)) !== 0n) return false;
    if ((value & mode) === APIC_BASE_ENABLE && (value & APIC_BASE_ADDRESS) !== BigInt(R.APIC_DEFAULT_BASE))
      return false;
    const changed = this.apicBase ^ value;
    if ((changed & APIC_BASE_ENABLE) !== 0n) {
      if ((value & APIC_BASE_EXTD) !== 0n) return false;
      if ((value & APIC_BASE_ENABLE) !== 0n) this.reset();
      else this.hardwareDisabled = true;
    } else if ((changed & APIC_BASE_EXTD) !== 0n && (this.hardwareDisabled || this.x2apic)) return false;
    this.apicBase = value;
    if (this.x2apic) this.takeX2apicId();
    this.host.routingChanged();
    this.ticks.unmasked();
    return true;
  }

  /** IA32_TSC_DEADLINE. */
  readTscDeadline(): bigint {
    return this.timer.readDeadline(this.get(R.LVTT));
  }

  writeTscDeadline(value: bigint): void {
    if (!this.hardwareDisabled) this.timer.writeDeadline(this.get(R.LVTT), value);
  }

  private takeX2apicId(): void {
    const id = this.vcpu * 2;
    this.set(R.ID, id);
    this.set(R.LDR, ((id >> 4) << 16) | (1 << (id & 0xf)));
  }

  /** Reads a register by its xAPIC offset, as the window does, whatever the mode. */
  readRegister(offset: number): number {
    switch (offset) {
      case R.PROCPRI:
        return this.ppr;
      case R.TMCCT:
        return this.timer.currentCount(this.get(R.LVTT), this.get(R.TMICT));
      case R.TMICT:
        return (this.get(R.LVTT) & R.TIMER_MODE_MASK) >= R.TIMER_TSC_DEADLINE ? 0 : this.get(R.TMICT);
      default:
        return this.get(offset);
    }
  }

  /** Writes a register by its xAPIC offset, as the window does, whatever the mode. */
  writeRegister(offset: number, value: number): void {
    const action = Lapic.writes.get(offset);
    if (action) action(this, value);
    else if (R.LVT_BITS.has(offset)) this.writeLvt(offset, value);
  }

  private writeLvt(offset: number, value: number): void {
    const old = this.get(offset);
    if (offset === R.LVTT) {
      const deadline = (v: number): boolean => (v & R.TIMER_MODE_MASK) === R.TIMER_TSC_DEADLINE;
      if (deadline(old) !== deadline(value)) {
        this.set(R.TMICT, 0);
        this.timer.forgetDeadline();
      }
      this.timer.changeMode(old, value, this.get(R.TMICT));
    }
    this.set(offset, (value | (this.softwareDisabled ? R.LVT_MASKED : 0)) & R.LVT_BITS.get(offset)!);
    if (offset === R.LVT0) this.host.routingChanged();
    if (offset === R.LVTT) this.ticks.unmasked();
  }

  /** Effects of register writes other than LVT entries; writes to registers not listed are dropped. */
  private static readonly writes: ReadonlyMap<number, (apic: Lapic, value: number) => void> = new Map<
    number,
    (apic: Lapic, value: number) => void
  >([
    [R.ID, (apic, value) => apic.set(R.ID, value)],
    [
      R.TASKPRI,
      (apic, value) => {
        apic.set(R.TASKPRI, value & 0xff);
        apic.announce();
      },
    ],
    [R.EOI, (apic) => apic.endOfInterrupt()],
    [R.LDR, (apic, value) => apic.set(R.LDR, value & 0xff00_0000)],
    [R.DFR, (apic, value) => apic.set(R.DFR, value | R.DFR_CLUSTER)],
    [R.SPIV, (apic, value) => apic.writeSpiv(value)],
    [
      R.ESR,
      (apic) => {
        apic.set(R.ESR, apic.pendingErrors);
        apic.pendingErrors = 0;
      },
    ],
    [
      R.ICR,
      (apic, value) => {
        const icr = (value & ~R.ICR_BUSY) >>> 0;
        const high = apic.get(R.ICR2);
        apic.host.ipi(apic, icr, apic.x2apic ? high : high >>> 24);
        apic.set(R.ICR, icr);
      },
    ],
    [R.ICR2, (apic, value) => apic.set(R.ICR2, value & 0xff00_0000)],
    [
      R.TMICT,
      (apic, value) => {
        const lvtt = apic.get(R.LVTT);
        if ((lvtt & R.TIMER_MODE_MASK) >= R.TIMER_TSC_DEADLINE) return;
        apic.set(R.TMICT, value);
        apic.timer.restart(lvtt, value);
      },
    ],
    [
      R.TDCR,
      (apic, value) => {
        apic.set(R.TDCR, value & R.TDCR_MASK);
        apic.timer.changeDivider(apic.get(R.LVTT), apic.get(R.TMICT), value);
      },
    ],
  ]);

  private writeSpiv(value: number): void {
    this.set(R.SPIV, value & (R.VECTOR_MASK | R.SPIV_ENABLED | R.SPIV_FOCUS_DISABLED));
    this.softwareDisabled = (value & R.SPIV_ENABLED) === 0;
    if (this.softwareDisabled) {
      for (const register of R.LVT_BITS.keys()) this.set(register, this.get(register) | R.LVT_MASKED);
      return;
    }
    this.ticks.unmasked();
    this.host.softwareEnabled(this.vcpu);
    this.announce();
  }

  private announce(): void {
    if (this.pending() >= 0) this.host.kick(this.vcpu);
  }

  private get(offset: number): number {
    return this.registers[offset >> 4]!;
  }

  private set(offset: number, value: number): void {
    this.registers[offset >> 4] = value;
  }

  save(): LapicState {
    const { apicBase, hardwareDisabled, softwareDisabled, pendingErrors } = this;
    return {
      version: 1,
      apicBase,
      hardwareDisabled,
      softwareDisabled,
      pendingErrors,
      registers: [...this.registers],
      timer: this.timer.save(),
    };
  }

  load(state: LapicState): void {
    this.apicBase = state.apicBase;
    this.hardwareDisabled = state.hardwareDisabled;
    this.softwareDisabled = state.softwareDisabled;
    this.pendingErrors = state.pendingErrors;
    this.registers.set(state.registers);
    this.timer.load(state.timer, this.get(R.LVTT));
  }
}
