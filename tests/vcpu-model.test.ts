/**
 * Random sequences of everything that moves vCPUs, against an independent model: results, flags and runstates agree after every step, and the
 * clocks keep their promises. `XENOLITH_OPS=1000000` sets the number of steps, `XENOLITH_SEED` the first seed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Type } from '../src/abi/xen/struct.ts';
import * as v from '../src/abi/xen/vcpu.ts';
import { vcpu_hvm_x86_32 } from '../src/abi/xen/vcpu-hvm-context.ts';
import { __HYPERVISOR_vcpu_op } from '../src/abi/xen/xen.ts';
import { vcpuOp } from '../src/xen/hypercalls/vcpu.ts';
import { VCPU_INFO_TIME, writeTimeInfo } from '../src/xen/info/pvclock.ts';
import { VERSIONS } from '../src/xen/rules.ts';
import { enterProcessor, leaveProcessor, runstateOf } from '../src/xen/run-state.ts';
import { ARGUMENT, NOWHERE, TestDomain } from '../src/xen/testing.ts';
import { haltVcpu, initVcpu, sipiVcpu } from '../src/xen/vcpu-state.ts';
import { type Argument, Model, OFFLINE } from './support/vcpu-model.ts';

const STEPS = Number(process.env['XENOLITH_OPS'] ?? 20_000);
const SEED = Number(process.env['XENOLITH_SEED'] ?? 1);
const EPISODE = 400;
const VCPUS = 34;
/** Those that take part; the others stay as they were created. */
const ACTIVE = [0, 1, 2, 31, 32, 33];
const NOBODY = [34, 127, 0xffff_ffff];
const NULL = 0n;

type Draw = (below: number) => number;
/** xorshift32. */
function generator(seed: number): Draw {
  let x = (seed * 0x9e37_79b1) >>> 0 || 1;
  return (below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
}

const context = {
  mode: 0,
  pad: 0,
  ...Object.fromEntries(
    ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', 'eflags', 'cr3', 'cr4', 'pad1'].map((name) => [name, 0]),
  ),
  eip: 0x2000,
  cr0: 0x11,
  efer: 0n,
  base: [0, 0, 0, 0, 0],
  limit: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x67],
  attributes: [0xc9b, 0xc93, 0xc93, 0xc93, 0x8b],
  pad2: [0, 0, 0],
};

/** What is remembered of a vCPU's clocks from one step to the next. */
interface Seen {
  times: readonly bigint[];
  entry: bigint;
  version: number;
  systemTime: bigint;
}

class Episode {
  readonly d: TestDomain;
  readonly model: Model;
  readonly draw: Draw;
  readonly log: string[] = [];
  private readonly seen = new Map<number, Seen>();

  constructor(seed: number) {
    this.draw = generator(seed);
    const version = VERSIONS[this.draw(VERSIONS.length)]!;
    this.d = new TestDomain({ version, hypercalls: [vcpuOp], config: { maxVcpus: VCPUS } });
    this.model = new Model(VCPUS, Number(version.slice(2)), this.d.time.now());
    this.log.push(`Xen ${version}`);
  }

  private pick<T>(from: readonly T[]): T {
    return from[this.draw(from.length)]!;
  }

  /** One step; false when the domain is off. */
  step(): boolean {
    const { model, d } = this;
    if (model.running === undefined) this.schedule();
    const { running } = model;
    const choice = this.draw(20);
    if (running === undefined || choice < 4) this.outside(choice);
    else if (choice < 6) {
      // Without interrupts it is for good, and soon the domain is off: rarer.
      const interruptible = choice === 5 || this.draw(4) !== 0;
      this.log.push(`v${running} HLT ${interruptible ? 'IF=1' : 'IF=0'}`);
      haltVcpu(d.domain.vcpus[running]!, interruptible);
      model.halt(interruptible);
    } else if (choice === 6) {
      d.cpu(running).event = false;
      model.vcpus[running]!.event = false;
    } else this.hypercall(running);
    if (model.running !== undefined && (this.draw(8) === 0 || !model.vcpus[model.running]!.runnable)) this.leave();
    this.check();
    return !model.poweredOff;
  }

  private schedule(): void {
    const ready = ACTIVE.filter((id) => this.model.vcpus[id]!.runnable);
    if (ready.length === 0) return;
    const id = this.pick(ready);
    const vcpu = this.d.domain.vcpus[id]!;
    enterProcessor(vcpu);
    vcpu.running = true;
    this.model.enter(id);
  }

  private leave(): void {
    const vcpu = this.d.domain.vcpus[this.model.running!]!;
    vcpu.running = false;
    leaveProcessor(vcpu);
    this.model.leave();
  }

  /** What does not come from a hypercall. */
  private outside(choice: number): void {
    const { model, d } = this;
    const id = this.pick(ACTIVE);
    const vcpu = d.domain.vcpus[id]!;
    if (choice % 4 === 0) {
      const ns = BigInt(this.draw(3_000_000));
      this.log.push(`${ns} ns pass`);
      d.time.pass(ns);
      model.now += ns;
    } else if (choice % 4 === 1) {
      this.log.push(`INIT v${id}`);
      initVcpu(vcpu);
      model.init(id);
    } else if (choice % 4 === 2) {
      this.log.push(`SIPI v${id}`);
      sipiVcpu(vcpu, 8);
      model.sipi(id);
    } else {
      this.log.push(`interrupt v${id}`);
      vcpu.kick();
      model.wake(id);
    }
  }

  private hypercall(caller: number): void {
    const operation = this.draw(18);
    const id = this.draw(12) === 0 ? this.pick(NOBODY) : this.draw(3) === 0 ? caller : this.pick(ACTIVE);
    const compat = this.draw(3) === 0;
    const wild = this.draw(8) === 0;
    // send_nmi wants NULL; operations without an argument ignore it.
    const pointer = wild ? NOWHERE : operation === 11 && this.draw(4) !== 0 ? NULL : ARGUMENT;
    const argument = wild ? undefined : this.argument(operation, id, compat);
    const want = this.model.vcpuOp({ operation, id, caller, compat, pointer: pointer !== NULL, argument });
    const got = this.d.raw(
      __HYPERVISOR_vcpu_op,
      // Upper halves of operation and id do not count.
      [
        BigInt(operation) | (this.draw(4) === 0 ? 1n << 40n : 0n),
        BigInt(id) | (this.draw(4) === 0 ? 1n << 33n : 0n),
        pointer,
      ],
      { caller, width: compat ? 'compat' : 'native' },
    );
    this.log.push(
      `v${caller} ${compat ? 'compat' : 'native'} op ${operation} v${id} ${JSON.stringify(argument, (_k, x) => (typeof x === 'bigint' ? `${x}` : x))} = ${String(got)}`,
    );
    assert.equal(got, want, 'result');
    if (operation === 4 && want === 0) {
      const info = this.d.get(v.vcpu_runstate_info, ARGUMENT, compat ? 'compat' : 'native');
      assert.equal(info.state, this.model.vcpus[id]!.state);
      assert.deepEqual(info.time, this.model.timesOf(id));
    }
  }

  /** Writes an argument for an operation, good or bad. */
  private argument(operation: number, id: number, compat: boolean): Argument {
    const { d } = this;
    const put = <T>(type: Type<T>, value: T): void => void d.put(type, value, ARGUMENT, compat ? 'compat' : 'native');
    const offset = this.pick([0, 0, 0, 4, 1, 4032, 4040, 4092, 4096, 0xffff_ffff]);
    switch (operation) {
      case 0: {
        const valid = this.draw(4) !== 0;
        put(vcpu_hvm_x86_32, { ...context, mode: valid ? 0 : 7 } as never);
        return { kind: 'context', valid };
      }
      case 6: {
        const period = this.pick([0n, 999_999n, 1_000_000n, 10_000_000n, (1n << 62n) - 1n, 1n << 62n]);
        put(v.vcpu_set_periodic_timer, { period_ns: period });
        return { kind: 'period', period };
      }
      case 8:
        put(v.vcpu_set_singleshot_timer, { timeout_abs_ns: BigInt(this.draw(1 << 30)), flags: this.draw(2) });
        return { kind: 'other' };
      case 10: {
        const frame = this.pick(['ram', 'ram', 'ram', 'hole', 'overflow'] as const);
        // A place of its own for each vCPU, so that their clocks can be told apart.
        const own = offset === 0 || (offset === 4032 && id !== 33) ? (id & 63) * 64 : offset;
        put(v.vcpu_register_vcpu_info, {
          mfn: { ram: 8n, hole: 0x700n, overflow: 1n << 52n }[frame],
          offset: own,
          rsvd: 0,
        });
        return { kind: 'place', frame, offset: own };
      }
      case 14:
      case 15: {
        const frame = this.pick(['ram', 'ram', 'hole', 'none'] as const);
        const place = (offset & 4095) + (offset === 0 ? (id & 63) * 64 : 0);
        const page = operation === 14 ? 9n : 10n;
        const addr = { ram: page << 12n, hole: 0x70_0000n, none: 0n }[frame] + BigInt(place);
        put(v.vcpu_register_phys_area, { addr: frame === 'none' ? (1n << 64n) - 1n : addr });
        return { kind: 'address', frame, offset: place };
      }
      default:
        put(v.vcpu_register_area, { addr: 0xb000n + BigInt(id & 63) * 64n });
        return { kind: 'other' };
    }
  }

  /** After every step: the same facts, and clocks that only go forward. */
  private check(): void {
    const { model, d } = this;
    const { domain } = d;
    assert.equal(domain.shutdownState?.reason, model.poweredOff ? 0 : undefined, 'power');
    if (model.poweredOff) return;
    for (const id of ACTIVE) {
      const want = model.vcpus[id]!;
      const vcpu = domain.vcpus[id]!;
      if (vcpu.isInitialised !== want.initialised) assert.fail(`v${id}: initialised is ${vcpu.isInitialised}`);
      if (vcpu.isOnline === want.down) assert.fail(`v${id}: online is ${vcpu.isOnline}`);
      if (vcpu.isRunnable !== want.runnable) assert.fail(`v${id}: runnable is ${vcpu.isRunnable}`);
      if (vcpu.runstate !== want.state) assert.fail(`v${id}: runstate is ${vcpu.runstate}, not ${want.state}`);
      const area = domain.info.vcpuInfoArea(vcpu.id);
      const kind = want.registered ? 'registered' : id < 32 ? 'slot' : 'unset';
      if (area.kind !== kind) assert.fail(`v${id}: vcpu_info is ${area.kind}, not ${kind}`);
      const { time, state_entry_time: entry } = runstateOf(vcpu);
      const sum = time[0]! + time[1]! + time[2]! + time[3]!;
      if (sum !== model.now - model.created) assert.fail(`v${id}: times sum to ${sum}`);
      const times = model.timesOf(id);
      if (time.some((ns, state) => ns !== times[state]))
        assert.fail(`v${id}: times are ${time.join()}, not ${times.join()}`);
      const clock = area.kind === 'unset' ? undefined : area.view;
      const version = clock?.getUint32(32, true) ?? 0;
      const systemTime = clock?.getBigUint64(48, true) ?? 0n;
      const before = this.seen.get(id);
      if (before !== undefined) {
        if (time.some((ns, state) => ns < before.times[state]!)) assert.fail(`v${id}: a time decreased`);
        if (entry < before.entry) assert.fail(`v${id}: the entry time went back`);
        if (version < before.version) assert.fail(`v${id}: the clock's version went back`);
        if (systemTime < before.systemTime) assert.fail(`v${id}: system time went back`);
        if (systemTime !== before.systemTime && version === before.version)
          assert.fail(`v${id}: changed without a version`);
      }
      if (version % 2 !== 0) assert.fail(`v${id}: the clock's version is odd at rest`);
      if (systemTime > model.now) assert.fail(`v${id}: the clock is ahead`);
      this.seen.set(id, { times: time, entry, version, systemTime });
    }
    const sleeper = domain.vcpus[17]!;
    if (sleeper.runstate !== OFFLINE) assert.fail('a vCPU nobody touched left its state');
  }
}

test(`vCPUs: ${STEPS} random operations behave as the model says`, (context) => {
  let done = 0;
  let seed = SEED;
  for (; done < STEPS; seed++) {
    const episode = new Episode(seed);
    try {
      for (let n = 0; n < EPISODE && done < STEPS; n++) {
        done++;
        if (!episode.step()) break;
      }
    } catch (error) {
      const last = episode.log.slice(-15).join('\n  ');
      throw new Error(`seed ${seed} (XENOLITH_SEED=${seed}): ${(error as Error).message}\n  ${last}`, { cause: error });
    }
  }
  context.diagnostic(`${done} operations, seeds ${SEED} to ${seed - 1}`);
});

/** A view that tells of every write before it happens. */
class WatchedView extends DataView<ArrayBuffer> {
  onWrite: (offset: number) => void = () => {};
  override setUint8(at: number, value: number): void {
    this.onWrite(at);
    super.setUint8(at, value);
  }
  override setInt8(at: number, value: number): void {
    this.onWrite(at);
    super.setInt8(at, value);
  }
  override setUint32(at: number, value: number, little?: boolean): void {
    this.onWrite(at);
    super.setUint32(at, value, little);
  }
  override setBigUint64(at: number, value: bigint, little?: boolean): void {
    this.onWrite(at);
    super.setBigUint64(at, value, little);
  }
}

test('clock: the version is odd while anything else changes, even and higher afterwards', () => {
  const view = new WatchedView(new ArrayBuffer(64));
  let writes = 0;
  view.onWrite = (at) => {
    if (at === VCPU_INFO_TIME) return;
    writes++;
    assert.equal(view.getUint32(VCPU_INFO_TIME, true) & 1, 1, `byte ${at} written at an even version`);
  };
  let last = 0;
  for (let n = 1; n < 50; n++) {
    const clock = { tsc: BigInt(n), systemTime: BigInt(n), stable: true, mul: 1 << 31, shift: 1 };
    writeTimeInfo(view, VCPU_INFO_TIME, clock);
    const version = view.getUint32(VCPU_INFO_TIME, true);
    assert.ok(version % 2 === 0 && version > last);
    last = version;
  }
  assert.ok(writes >= 49 * 4);
});
