import assert from 'node:assert/strict';
import { test } from 'node:test';
import { domId, vcpuId } from '../base/int.ts';
import { GuestMemory } from '../machine/index.ts';
import { Domain } from './domain.ts';
import { attachGuestInterfaces } from './guest-interfaces.ts';
import { Audit } from './hypercall.ts';
import { Rules } from './rules.ts';
import { DEFAULT_SCHEDULE, Scheduler, type SchedulerOptions } from './scheduler.ts';
import { MachineTime } from './system-time.ts';
import { StubCpu } from './testing.ts';
import { RUNSTATE_blocked, Vcpu, VPF_down } from './vcpu.ts';

/** A processor that runs a TypeScript program: one step an instruction. */
class StepCpu extends StubCpu {
  executed = 0;
  total = 0;
  step: () => void = () => {};
  private leave = false;
  override run(budget = 0): number {
    this.leave = false;
    for (this.executed = 0; this.executed < budget && !this.leave; ) {
      this.executed++;
      this.total++;
      this.step();
    }
    return this.executed;
  }
  override requestExit(): void {
    this.leave = true;
  }
}

function make(count: number, options: Partial<SchedulerOptions> = {}) {
  const memory = new GuestMemory({ cpuBytes: 0, codeBytes: 0, frames: 16 });
  const time = new MachineTime();
  const config = {
    id: domId(1),
    type: 'hvm' as const,
    pvh: true,
    maxVcpus: count,
    maxEventChannels: 1023,
    maxGrantFrames: 1,
    maxMaptrackFrames: 1,
    maxGrantVersion: 1,
    uuid: new Uint8Array(16),
    viridian: false,
    pirqs: false,
    consoleIo: false,
    maxPages: 8,
    wallclockBase: 0n,
  };
  const domain = new Domain(config, { memory, rules: new Rules(), time, audit: new Audit() });
  attachGuestInterfaces(domain);
  const cpus = Array.from({ length: count }, (_, id) => {
    const cpu = new StepCpu(memory);
    const vcpu = new Vcpu(domain, vcpuId(id), cpu);
    vcpu.isInitialised = true;
    vcpu.clearPauseFlags(VPF_down);
    domain.vcpus.push(vcpu);
    return cpu;
  });
  const order: number[] = [];
  const scheduler = new Scheduler(domain, time, (vcpu) => order.push(vcpu.id), {
    ...DEFAULT_SCHEDULE,
    slice: 100,
    ...options,
  });
  return { domain, time, cpus, scheduler, order };
}

test('Scheduler: runnable vCPUs take turns of one slice', () => {
  const { scheduler, cpus, order } = make(3);
  assert.deepEqual(scheduler.run({ instructions: 600 }), { kind: 'paused' });
  assert.deepEqual(order, [0, 1, 2, 0, 1, 2]);
  assert.deepEqual(
    cpus.map((cpu) => cpu.total),
    [200, 200, 200],
  );
});

test('Scheduler: time advances with instructions, and within a slice', () => {
  const { scheduler, domain, cpus } = make(1);
  const seen: bigint[] = [];
  cpus[0].step = () => seen.push(domain.now());
  scheduler.run({ instructions: 3 });
  assert.deepEqual(seen, [4n, 8n, 12n]);
});

test('Scheduler: a timer rings at its instruction, also when it is set in the middle of a slice', () => {
  const { scheduler, domain, cpus } = make(1);
  let rang = 0;
  cpus[0].step = () => {
    if (cpus[0].total === 10)
      domain.time.alarm(domain.now() + 40n, () => {
        rang = cpus[0].total;
      });
  };
  scheduler.run({ instructions: 100 });
  assert.equal(rang, 20);
});

test('Scheduler: when all are idle, time jumps to the next timer', () => {
  const { scheduler, domain, cpus } = make(1);
  const [vcpu] = domain.vcpus;
  cpus[0].step = () => {
    if (cpus[0].total === 1) {
      domain.time.alarm(1_000_000_000n, () => vcpu.unblock());
      vcpu.block();
    } else domain.shutdown(0);
  };
  assert.deepEqual(scheduler.run(), { kind: 'shutdown', shutdown: { reason: 0 } });
  assert.equal(domain.now(), 1_000_000_004n);
  assert.equal(vcpu.runstateTime[RUNSTATE_blocked], 1_000_000_000n - 4n);
});

test('Scheduler: nothing runnable and no timer is a dead end, with the place of every vCPU', () => {
  const { scheduler, domain } = make(2);
  for (const vcpu of domain.vcpus) vcpu.block();
  const stop = scheduler.run();
  assert.equal(stop.kind, 'stuck');
  assert.deepEqual(stop.kind === 'stuck' && stop.at.map((p) => p.vcpu), [0, 1]);
});

test('Scheduler: a time limit ends a run, idle or not', () => {
  const busy = make(1);
  assert.equal(busy.scheduler.run({ until: 4000n }).kind, 'timeout');
  assert.equal(busy.domain.now(), 4000n);
  const idle = make(1);
  idle.domain.vcpus[0].block();
  idle.domain.time.alarm(10_000n, () => {});
  assert.equal(idle.scheduler.run({ until: 4000n }).kind, 'timeout');
  assert.equal(idle.domain.now(), 4000n);
});

test('Scheduler: the same seed gives the same slices, another seed others', () => {
  const slices = (seed: number): number[] => {
    const { scheduler } = make(2, { seed });
    const seen: number[] = [];
    scheduler.onSlice = (_vcpu, budget) => seen.push(budget);
    scheduler.run({ instructions: 1000 });
    return seen;
  };
  assert.deepEqual(slices(7), slices(7));
  assert.notDeepEqual(slices(7), slices(8));
});
