/** A PV machine for tests of memory management: its kernel's first pages mapped from address 0, its processor walking its tables, no code running. */
import { encode, type Type } from '../../../abi/xen/struct.ts';
import { GuestFault } from '../../../cpu/index.ts';
import * as STATE from '../../../cpu/state.ts';
import type { Domain } from '../../domain.ts';
import { HypercallContext, type Result } from '../../hypercall.ts';
import { XenMachine } from '../../machine.ts';
import { loadGdt } from '../processor.ts';
import type { PvDomain } from '../pv-domain.ts';
import type { PvVcpu } from '../pv-vcpu.ts';
import { P, RW, US, type Width } from './entries.ts';
import type { PvMemory } from './pv-memory.ts';

const CR0 = 0x8005_0033n;
const CR4 = 0x6f0n;
const EFER = 0xd01n;

/** Address at which {@link PvTestMachine.call} writes arguments: page 1. */
export const ARGUMENT = 0x1000n;

export class PvTestMachine {
  readonly machine: XenMachine;
  readonly domain: Domain;
  readonly pv: PvDomain;
  readonly mm: PvMemory;
  readonly vcpu: PvVcpu;
  readonly width: Width;
  /** Machine frames by pfn, and those of the tables: last level, second, third (each gigabyte's second level for 32-bit guests) and root. */
  readonly pages: number[] = [];
  readonly l1: number;
  readonly l2: number;
  readonly root: number;
  /** 32-bit: the second-level table of the last gigabyte. 64-bit: the third-level table. */
  readonly upper: number;

  /** `mapped` pages, the tables behind them; tables are mapped read-only. */
  constructor(width: Width, { mapped = 64, memory = 4 << 20, vcpus = 2 } = {}) {
    this.width = width;
    this.machine = new XenMachine({
      type: width === 64 ? 'pv64' : 'pv32',
      maxVcpus: vcpus,
      maxMemory: memory,
      codeBytes: 1 << 20,
    });
    this.domain = this.machine.domain;
    const { pv } = this.domain;
    if (pv === undefined) throw new Error('not a PV domain');
    this.pv = pv;
    this.mm = pv.mm;
    this.vcpu = pv.vcpus[0];
    for (let pfn = 0; pfn < mapped; pfn++) this.pages.push(this.newPage());
    [this.l1, this.l2, this.upper, this.root] = this.pages.slice(-4);
    const tables = new Set([this.l1, this.l2, this.upper, this.root]);
    this.pages.forEach((mfn, pfn) => {
      this.poke(this.l1, pfn, this.entry(mfn, tables.has(mfn) ? P | US : P | RW | US));
    });
    this.poke(this.l2, 0, this.entry(this.l1, P | RW | US));
    if (width === 64) {
      this.poke(this.upper, 0, this.entry(this.l2, P | RW | US));
      this.poke(this.root, 0, this.entry(this.upper, P | RW | US));
    } else {
      this.poke(this.root, 0, this.entry(this.l2, P));
      this.poke(this.root, 3, this.entry(this.upper, P));
    }
    this.start(this.root);
  }

  private start(root: number): void {
    const result = this.mm.pin(this.width === 64 ? 4 : 3, root);
    if (result !== 0) throw new Error(`the first root cannot be pinned: ${result}`);
    const set = this.mm.setKernelRoot(this.vcpu, root);
    if (set !== 0) throw new Error(`the first root cannot be used: ${set}`);
    const { vcpu } = this.vcpu;
    vcpu.isInitialised = true;
    vcpu.clearPauseFlags(2);
    const cpu = this.machine.cpus[vcpu.id];
    cpu.set64(STATE.CR0, CR0);
    cpu.set64(STATE.CR4, CR4);
    cpu.set64(STATE.EFER, EFER);
    cpu.updateMode(this.width === 64 ? 3 : 1);
    this.mm.setGdt(this.vcpu, [], 0);
    loadGdt(cpu, this.mm.gdtBase(this.vcpu));
    this.mm.loadRoot(this.vcpu);
  }

  newPage(): number {
    const mfn = this.mm.allocate(this.pages.length);
    if (mfn === undefined) throw new Error('no memory left');
    return mfn;
  }

  entry(mfn: number, bits: number | bigint): bigint {
    return (BigInt(mfn) << 12n) | BigInt(bits);
  }

  /** An entry as it is in memory, and written past the hypervisor. */
  peek(mfn: number, index: number): bigint {
    const bytes = this.mm.bytes(mfn);
    return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(index * 8, true);
  }
  poke(mfn: number, index: number, value: bigint): void {
    const bytes = this.mm.bytes(mfn);
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(index * 8, value, true);
  }

  /** The guest writes a byte, or reads one, through its processor's TLB; false when that faults. */
  touch(linear: bigint, value?: number, vcpu = 0): boolean {
    const cpu = this.machine.cpus[vcpu];
    try {
      if (value === undefined) cpu.readLinear8(linear);
      else cpu.writeLinear8(linear, value);
      return true;
    } catch (fault) {
      if (fault instanceof GuestFault) return false;
      throw fault;
    } finally {
      cpu.mem.endRoutine();
    }
  }

  /** One hypercall. A continuation is followed to its end, at most 100000 times. */
  call(number: number, ...given: (bigint | number)[]): number | bigint {
    let args = [...given.map(BigInt), 0n, 0n, 0n, 0n, 0n].slice(0, 5);
    for (let i = 0; i < 100_000; i++) {
      const result = this.once(number, args);
      if (typeof result !== 'object') return result;
      if (result.kind !== 'again') throw new Error(`hypercall ${number} ended in ${result.kind}`);
      args = args.map((old, n) => result.args[n] ?? old);
    }
    throw new Error(`hypercall ${number} does not end`);
  }

  /** One part of a hypercall. */
  once(number: number, args: readonly bigint[]): Result {
    const width = this.width === 64 ? 'native' : 'compat';
    return this.machine.table.dispatch(new HypercallContext(this.vcpu.vcpu, width, number, args));
  }

  /** Writes structures one behind the other at the argument page. */
  put<T>(type: Type<T>, values: readonly T[], address = ARGUMENT): bigint {
    const width = this.width === 64 ? 'native' : 'compat';
    values.forEach((value, i) => {
      const raw = encode(type, value, width);
      if (!this.machine.cpus[0].tryWriteLinear(address + BigInt(i * raw.length), raw))
        throw new Error('the argument page cannot be written');
    });
    return address;
  }

  /** Reads a structure. */
  get<T>(type: Type<T>, address = ARGUMENT): T {
    const width = this.width === 64 ? 'native' : 'compat';
    const raw = new Uint8Array(type.size(width));
    if (!this.machine.cpus[0].tryReadLinear(address, raw)) throw new Error('the argument page cannot be read');
    return type.read(new DataView(raw.buffer), 0, width);
  }
}
