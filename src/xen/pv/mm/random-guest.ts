/** For tests: a guest that does whatever memory management allows, and much that it does not. */
import type { Type } from '../../../abi/xen/struct.ts';
import { encode } from '../../../abi/xen/struct.ts';
import type { GuestCpu } from '../../guest-cpu.ts';
import { HypercallContext, type Result } from '../../hypercall.ts';
import type { PvVcpu } from '../pv-vcpu.ts';
import * as f from './frame-table.ts';
import { PvTestMachine } from './testing.ts';

/** Addresses from here on are the test's own memory: arguments stay readable whatever the guest does to its tables. */
export const WINDOW = 0x2000_0000n;
const WINDOW_SIZE = 0x1_0000;

export type Draw = (below: number) => number;

/** xorshift32. */
export function generator(seed: number): Draw {
  let x = (seed * 0x9e37_79b1) >>> 0 || 1;
  return (below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
}

export class RandomGuest {
  readonly t: PvTestMachine;
  readonly draw: Draw;
  readonly window = new Uint8Array(WINDOW_SIZE);
  /** The operation just done tried to keep a translation that it should have lost. */
  attacked = false;
  private at = 0;

  constructor(width: 32 | 64, seed: number) {
    this.t = new PvTestMachine(width, { mapped: 96, memory: 160 * 4096 });
    this.draw = generator(seed);
    for (const { vcpu } of this.t.pv.vcpus) {
      vcpu.cpu = this.withWindow(vcpu.cpu);
      vcpu.isInitialised = true;
    }
  }

  /** The processor, but for the window. */
  private withWindow(cpu: GuestCpu): GuestCpu {
    const inside = (address: bigint, length: number): boolean =>
      address >= WINDOW && address + BigInt(length) <= WINDOW + BigInt(WINDOW_SIZE);
    return Object.assign(Object.create(cpu) as GuestCpu, {
      tryReadLinear: (address: bigint, into: Uint8Array): boolean => {
        if (!inside(address, into.length)) return cpu.tryReadLinear(address, into);
        const at = Number(address - WINDOW);
        into.set(this.window.subarray(at, at + into.length));
        return true;
      },
      tryWriteLinear: (address: bigint, from: Uint8Array): boolean => {
        if (!inside(address, from.length)) return cpu.tryWriteLinear(address, from);
        this.window.set(from, Number(address - WINDOW));
        return true;
      },
    });
  }

  pick<T>(values: readonly T[]): T {
    return values[this.draw(values.length)];
  }

  chance(percent: number): boolean {
    return this.draw(100) < percent;
  }

  /** Starts a new set of arguments. */
  begin(): void {
    this.at = 0;
  }

  /** Puts a structure into the window; its address. */
  arg<T>(type: Type<T>, value: T): bigint {
    const raw = encode(type, value, this.t.width === 64 ? 'native' : 'compat');
    this.window.set(raw, this.at);
    const address = WINDOW + BigInt(this.at);
    this.at += raw.length;
    return address;
  }

  /** A hypercall by a vCPU, followed through its continuations, or abandoned at one of them. */
  call(pv: PvVcpu, number: number, given: readonly bigint[]): Result {
    const width = this.t.width === 64 ? 'native' : 'compat';
    let args = [...given, 0n, 0n, 0n, 0n, 0n].slice(0, 5);
    for (let i = 0; i < 4000; i++) {
      const result = this.t.machine.table.dispatch(new HypercallContext(pv.vcpu, width, number, args));
      if (typeof result !== 'object' || result.kind !== 'again' || this.chance(3)) return result;
      args = args.map((old, n) => result.args[n] ?? old);
    }
    throw new Error(`hypercall ${number} does not end`);
  }

  /** A machine frame number: mostly one of the domain's, sometimes a table, seldom nothing of the domain's. */
  mfn(): number {
    const { frames } = this.t.mm;
    const kind = this.draw(100);
    if (kind < 2)
      return this.pick([0, 1, 2 ** 40 - 1, frames.base + frames.size, frames.base + frames.size + 3, 0xfee00]);
    if (kind < 4) return frames.base + this.draw(frames.size);
    if (kind < 40) {
      for (let tries = 0; tries < 8; tries++) {
        const mfn = this.owned();
        const type = this.t.mm.typeOf(mfn);
        if (type >= f.TYPE_L1 && type <= f.TYPE_SEG_DESC) return mfn;
      }
    }
    return this.owned();
  }

  private owned(): number {
    const { frames } = this.t.mm;
    for (let tries = 0; tries < 64; tries++) {
      const slot = this.chance(3) ? this.draw(8) : frames.size - 1 - this.draw(200);
      if (frames.refs[slot] !== 0) return frames.mfnOf(slot);
    }
    return this.t.root;
  }

  /** Few indices, so that operations meet; the borders too. */
  index(): number {
    return this.chance(90) ? this.draw(6) : this.pick([3, 255, 256, 260, 271, 272, 427, 428, 510, 511]);
  }

  /** Bits of an entry: mostly allowed ones. */
  bits(): bigint {
    let bits = this.chance(85) ? 1n : 0n;
    if (this.chance(40)) bits |= 2n;
    if (this.chance(70)) bits |= 4n;
    if (this.chance(30)) bits |= 0x60n;
    if (this.chance(5)) bits |= 0x100n;
    if (this.chance(10)) bits |= 1n << 63n;
    if (this.chance(5)) bits |= 1n << 52n;
    if (this.chance(2)) bits |= BigInt(this.draw(0x1000));
    return bits;
  }

  value(): bigint {
    return this.chance(12) ? 0n : BigInt.asUintN(64, (BigInt(this.mfn()) << 12n) | this.bits());
  }

  linear(): bigint {
    if (this.chance(3)) return this.pick([1n << 63n, 0xffff_8000_0000_0000n, 0xf580_0000n, (1n << 47n) - 4096n]);
    const high = this.chance(80)
      ? 0n
      : BigInt(this.index()) << (this.t.width === 64 ? this.pick([21n, 30n, 39n]) : 21n);
    const address = high + BigInt(this.draw(112)) * 4096n + BigInt(this.draw(512) * 8);
    return BigInt.asUintN(this.t.width, high >> 47n === 0n ? address : address | (0xffffn << 48n));
  }

  vcpu(): PvVcpu {
    return this.chance(75) ? this.t.vcpu : this.t.pv.vcpus[1];
  }
}
