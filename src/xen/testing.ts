/** Stand-ins for tests of this layer: a processor without instructions, a clock moved by hand, a domain of a few pages. */
import { encode, type Type } from '../abi/xen/struct.ts';
import { domId, vcpuId } from '../base/int.ts';
import * as STATE from '../cpu/state.ts';
import { GuestMemory } from '../machine/index.ts';
import type { Alarm, DomainConfig, SystemTime } from './domain.ts';
import { Domain } from './domain.ts';
import type { GuestCpu } from './guest-cpu.ts';
import { attachGuestInterfaces } from './guest-interfaces.ts';
import type { Hypercall, Result } from './hypercall.ts';
import { Audit, HypercallContext, HypercallTable } from './hypercall.ts';
import type { Version } from './rules.ts';
import { Rules } from './rules.ts';
import { Vcpu } from './vcpu.ts';

/** Time that passes when told; alarms ring in order of their deadlines. */
export class ManualTime implements SystemTime {
  private time = 1_000_000n;
  private readonly alarms = new Set<{ readonly deadline: bigint; readonly callback: () => void }>();

  now(): bigint {
    return this.time;
  }

  alarm(deadline: bigint, callback: () => void): Alarm {
    const entry = { deadline, callback };
    this.alarms.add(entry);
    return { cancel: () => this.alarms.delete(entry) };
  }

  /** Lets `ns` pass, ringing what becomes due. */
  pass(ns: bigint): void {
    const end = this.time + ns;
    for (;;) {
      const due = [...this.alarms]
        .filter((a) => a.deadline <= end)
        .sort((a, b) => (a.deadline < b.deadline ? -1 : 1))[0];
      if (due === undefined) break;
      this.alarms.delete(due);
      if (due.deadline > this.time) this.time = due.deadline;
      due.callback();
    }
    this.time = end;
  }
}

/** State block in plain memory; linear addresses are physical ones. */
export class StubCpu implements GuestCpu {
  readonly base = 0;
  nmis = 0;
  nmiPending = false;
  exits = 0;
  event = false;
  protectedMode = true;
  virtual8086 = false;
  code64 = true;
  cpl = 0;
  private readonly state = new DataView(new ArrayBuffer(0x1000));
  private readonly memory: GuestMemory;

  constructor(memory: GuestMemory) {
    this.memory = memory;
  }
  get32(offset: number): number {
    return this.state.getUint32(offset, true);
  }
  set32(offset: number, value: number): void {
    this.state.setUint32(offset, value, true);
  }
  get64(offset: number): bigint {
    return this.state.getBigUint64(offset, true);
  }
  set64(offset: number, value: bigint): void {
    this.state.setBigUint64(offset, value, true);
  }
  get eflags(): number {
    return this.get32(STATE.EFLAGS_REST);
  }
  set eflags(value: number) {
    this.set32(STATE.EFLAGS_REST, value);
  }
  get rip(): bigint {
    return this.get64(STATE.RIP);
  }
  set rip(value: bigint) {
    this.set64(STATE.RIP, value);
  }
  setSegment(n: number, selector: number, base: bigint, limit: number, attr: number): void {
    const at = 0x100 + n * 32;
    this.set64(at, base);
    this.set32(at + 8, limit);
    this.set32(at + 12, attr);
    this.set32(at + 16, selector);
  }
  tryLoadSegment(): boolean {
    return true;
  }
  updateMode(cpl = this.cpl): void {
    this.cpl = cpl;
  }
  reset(): void {
    for (let at = 0; at < 0x1000; at += 8) this.set64(at, 0n);
  }
  flushTlb(): void {}
  invalidatePage(): void {}
  raiseNmi(): void {
    this.nmis++;
    this.event = true;
  }
  hasEvent(): boolean {
    return this.event;
  }
  run(): number {
    return 0;
  }
  requestExit(): void {
    this.exits++;
  }
  tryReadLinear(address: bigint, into: Uint8Array): boolean {
    return address < 1n << 39n && this.memory.readPhysical(Number(address), into);
  }
  tryWriteLinear(address: bigint, from: Uint8Array): boolean {
    return address < 1n << 39n && this.memory.writePhysical(Number(address), from);
  }
}

export interface TestDomainOptions {
  readonly version?: Version;
  readonly rules?: Readonly<Record<string, string>>;
  readonly config?: Partial<DomainConfig>;
  /** Hypercalls that {@link TestDomain.call} can reach. */
  readonly hypercalls?: readonly Hypercall[];
}

/** Guest address of the argument that {@link TestDomain.call} writes. */
export const ARGUMENT = 0x1000n;
/** An address behind which nothing is. */
export const NOWHERE = 0x70_0000n;

/** A domain with 16 pages of RAM from address 0. */
export class TestDomain {
  readonly domain: Domain;
  readonly time = new ManualTime();
  private readonly table: HypercallTable;

  constructor(options: TestDomainOptions = {}) {
    const memory = new GuestMemory({ cpuBytes: 0, codeBytes: 0, frames: 96 });
    const config: DomainConfig = {
      id: domId(1),
      type: 'hvm',
      pvh: true,
      maxVcpus: 2,
      maxEventChannels: 1023,
      maxGrantFrames: 4,
      maxMaptrackFrames: 4,
      maxGrantVersion: 2,
      uuid: new Uint8Array(16),
      viridian: false,
      pirqs: false,
      consoleIo: false,
      maxPages: 64,
      wallclockBase: 0n,
      ...options.config,
    };
    const rules = new Rules(options.version, options.rules);
    this.domain = new Domain(config, { memory, rules, time: this.time, audit: new Audit() });
    attachGuestInterfaces(this.domain);
    for (let page = 0; page < 16; page++) this.domain.p2m.populate(page);
    for (let id = 0; id < config.maxVcpus; id++)
      this.domain.vcpus.push(new Vcpu(this.domain, vcpuId(id), new StubCpu(memory)));
    this.table = new HypercallTable(options.hypercalls ?? []);
    this.start(0);
  }

  cpu(id: number): StubCpu {
    return this.domain.vcpus[id].cpu as StubCpu;
  }

  /** Why the domain shut down; undefined while it runs. */
  shutdownReason(): number | undefined {
    return this.domain.shutdownState?.reason;
  }

  /** Makes a vCPU initialised and up, as the tool stack does with vCPU 0. */
  start(id: number): Vcpu {
    const vcpu = this.domain.vcpus[id];
    vcpu.isInitialised = true;
    vcpu.clearPauseFlags(2);
    return vcpu;
  }

  /** One hypercall by `caller`, 64-bit unless told. */
  raw(number: number, args: readonly bigint[], { caller = 0, width = 'native' as 'native' | 'compat' } = {}): Result {
    const all = [...args, 0n, 0n, 0n, 0n, 0n].slice(0, 5);
    return this.table.dispatch(new HypercallContext(this.domain.vcpus[caller], width, number, all));
  }

  /** Writes a structure at an address of the guest. */
  put<T>(type: Type<T>, value: T, address = ARGUMENT, layout: 'native' | 'compat' = 'native'): bigint {
    this.domain.memory.writePhysical(Number(address), encode(type, value, layout));
    return address;
  }

  /** Reads a structure at an address of the guest. */
  get<T>(type: Type<T>, address = ARGUMENT, layout: 'native' | 'compat' = 'native'): T {
    const raw = new Uint8Array(type.size(layout));
    this.domain.memory.readPhysical(Number(address), raw);
    return type.read(new DataView(raw.buffer), 0, layout);
  }
}
