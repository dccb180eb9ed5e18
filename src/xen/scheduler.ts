/**
 * Runs the vCPUs of a machine one after the other on one host thread, in slices counted in guest instructions, so that the same inputs
 * give the same run. Virtual time advances with executed instructions and jumps to the next timer when every vCPU is idle.
 */
import { type Nanoseconds, nanoseconds } from '../base/int.ts';
import * as STATE from '../cpu/state.ts';
import type { Domain, Shutdown } from './domain.ts';
import { enterProcessor, leaveProcessor } from './run-state.ts';
import type { MachineTime } from './system-time.ts';
import type { Vcpu } from './vcpu.ts';

export interface SchedulerOptions {
  /** Instructions per slice. */
  readonly slice: number;
  /** Varies slice lengths when not 0. */
  readonly seed: number;
  /** Virtual nanoseconds one instruction takes. */
  readonly instructionTime: bigint;
}

export const DEFAULT_SCHEDULE: SchedulerOptions = { slice: 100_000, seed: 0, instructionTime: 4n };

/** Where a vCPU was when a run ended. */
export interface StopPoint {
  readonly vcpu: number;
  /** Linear address of its next instruction. */
  readonly rip: bigint;
  readonly online: boolean;
}

export type Stop =
  | { readonly kind: 'shutdown'; readonly shutdown: Shutdown }
  /** Nothing can ever run again: no runnable vCPU and no timer. */
  | { readonly kind: 'stuck'; readonly at: readonly StopPoint[] }
  /** The asked system time was reached. */
  | { readonly kind: 'timeout'; readonly at: readonly StopPoint[] }
  /** The asked number of instructions was executed, {@link Scheduler.interrupt} was called, or the turns are used up. */
  | { readonly kind: 'paused' };

export interface RunLimit {
  /** System time, ns. */
  readonly until?: bigint;
  readonly instructions?: number;
  /** Most hypercalls and jumps to the next timer. They take far longer than instructions, and the caller may have other business. */
  readonly turns?: number;
}

/** Stays in a row that may end before their first instruction without time passing. */
const FREE_STAYS = 1_000;

/** Without a processor that tells how far it is, time moves only between stays on it; they are kept this short then. */
const COARSE_SLICE = 2_000;

export class Scheduler {
  /** Instructions executed by all vCPUs. */
  instructions = 0;
  /** Probe: called before each stay of a vCPU on the processor when set. */
  onSlice: ((vcpu: Vcpu, budget: number) => void) | undefined;
  private readonly domain: Domain;
  private readonly time: MachineTime;
  private readonly options: SchedulerOptions;
  /** Tells the platform whose accesses follow. */
  private readonly select: (vcpu: Vcpu) => void;
  /** vCPU that is on the (one) processor, between slices too. */
  private current: Vcpu | undefined;
  private last = -1;
  private random: number;
  private accounted = 0;
  private sliceEnd = 0n;
  private interrupted = false;
  private turnsLeft = Number.POSITIVE_INFINITY;
  /** Stays in a row without an instruction. */
  private emptyStays = 0;

  constructor(
    domain: Domain,
    time: MachineTime,
    select: (vcpu: Vcpu) => void,
    options: SchedulerOptions = DEFAULT_SCHEDULE,
  ) {
    this.domain = domain;
    this.time = time;
    this.select = select;
    this.options = options;
    this.random = options.seed >>> 0;
    time.events.onSchedule = (deadline) => this.scheduled(deadline);
    time.clock.beforeRead = () => this.account();
  }

  /** Ends the present {@link run} soon. */
  interrupt(): void {
    this.interrupted = true;
    if (this.current?.running === true) this.current.cpu.requestExit();
  }

  /** A hypercall was made. */
  turn(): void {
    if (--this.turnsLeft < 0) this.interrupt();
  }

  run(limit: RunLimit = {}): Stop {
    const { clock, events } = this.time;
    const end = this.instructions + (limit.instructions ?? Number.POSITIVE_INFINITY);
    this.interrupted = false;
    this.turnsLeft = limit.turns ?? Number.POSITIVE_INFINITY;
    for (;;) {
      events.runDue(clock.now());
      const { shutdownState } = this.domain;
      if (shutdownState !== undefined) {
        this.leave();
        return { kind: 'shutdown', shutdown: shutdownState };
      }
      if (this.interrupted || this.instructions >= end) return { kind: 'paused' };
      if (limit.until !== undefined && clock.now() >= limit.until) return { kind: 'timeout', at: this.stopPoints() };
      const vcpu = this.pick();
      if (vcpu !== undefined) this.slice(vcpu, limit, end);
      else {
        this.leave();
        const next = events.nextDeadline();
        if (next === undefined) return { kind: 'stuck', at: this.stopPoints() };
        if (--this.turnsLeft < 0) return { kind: 'paused' };
        clock.advanceTo(limit.until !== undefined && next > limit.until ? nanoseconds(limit.until) : next);
      }
    }
  }

  /** The vCPU that is on the processor, if any. */
  get currentVcpu(): Vcpu | undefined {
    return this.current;
  }

  /** Where every vCPU is. */
  stopPoints(): StopPoint[] {
    return this.domain.vcpus.map((vcpu) => ({
      vcpu: vcpu.id,
      rip: vcpu.cpu.get64(STATE.CS_BASE) + vcpu.cpu.get64(STATE.RIP),
      online: vcpu.isOnline,
    }));
  }

  /** The next runnable vCPU in order of id. */
  private pick(): Vcpu | undefined {
    const { vcpus } = this.domain;
    for (let i = 1; i <= vcpus.length; i++) {
      const vcpu = vcpus[(this.last + i) % vcpus.length];
      if (vcpu.isRunnable) return vcpu;
    }
    return undefined;
  }

  private slice(vcpu: Vcpu, limit: RunLimit, end: number): void {
    const { clock, events } = this.time;
    if (this.current !== vcpu) {
      this.leave();
      this.current = vcpu;
      this.select(vcpu);
      enterProcessor(vcpu);
      if (!vcpu.isRunnable) {
        // Its first entry crashed the domain.
        this.leave();
        return;
      }
    }
    this.last = vcpu.id;
    const now = clock.now();
    let until = limit.until;
    const next = events.nextDeadline();
    if (next !== undefined && (until === undefined || next < until)) until = next;
    let budget = Math.min(this.sliceLength(vcpu), end - this.instructions);
    if (until !== undefined) budget = Math.min(budget, this.instructionsUntil(until - now));
    this.sliceEnd = now + BigInt(budget) * this.options.instructionTime;
    this.accounted = 0;
    vcpu.running = true;
    this.onSlice?.(vcpu, budget);
    const executed = vcpu.cpu.run(budget);
    vcpu.running = false;
    // Time passes whatever happens, so that limits are reached.
    this.emptyStays = executed > 0 ? 0 : this.emptyStays + 1;
    this.charge(this.emptyStays > FREE_STAYS ? 1 : executed);
    if (!vcpu.isRunnable) this.leave();
  }

  /** Takes the vCPU on the processor off it. */
  private leave(): void {
    if (this.current === undefined) return;
    leaveProcessor(this.current);
    this.current = undefined;
  }

  private instructionsUntil(ns: bigint): number {
    const per = this.options.instructionTime;
    return ns <= 0n ? 1 : Number((ns + per - 1n) / per);
  }

  private sliceLength(vcpu: Vcpu): number {
    const { slice, seed } = this.options;
    const length = vcpu.cpu.executed === undefined ? Math.min(slice, COARSE_SLICE) : slice;
    if (seed === 0) return length;
    // xorshift32: between one and all of the slice.
    this.random ^= this.random << 13;
    this.random ^= this.random >>> 17;
    this.random ^= this.random << 5;
    return 1 + ((this.random >>> 0) % length);
  }

  /** Moves the clock by the instructions executed since it was last moved. */
  private charge(executed: number): void {
    const fresh = executed - this.accounted;
    if (fresh <= 0) return;
    this.accounted = executed;
    this.instructions += fresh;
    this.time.clock.advance(BigInt(fresh) * this.options.instructionTime);
  }

  /** Somebody reads the clock: instructions of the stay under way count already. */
  private account(): void {
    if (this.current?.running === true && this.current.cpu.executed !== undefined)
      this.charge(this.current.cpu.executed);
  }

  /** A timer earlier than the end of the slice ends it early. */
  private scheduled(deadline: Nanoseconds): void {
    if (this.current?.running === true && deadline < this.sliceEnd) this.current.cpu.requestExit();
  }
}
