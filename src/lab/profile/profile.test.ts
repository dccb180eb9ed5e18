import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Machine } from '../machine/machine.ts';
import { Profiler } from './profile.ts';

const image = readFileSync(new URL('../../../guests/images/hello64.elf', import.meta.url));

function profiled() {
  const machine = new Machine(image, { memory: 16 });
  const profiler = new Profiler(machine.control.machine);
  while (machine.run({ instructions: 1_000 }).kind === 'paused') profiler.sample();
  return { machine, profile: profiler.result() };
}

test('Profiler: counts the hypercalls, routines and places of a guest, and changes nothing', () => {
  const plain = new Machine(image, { memory: 16 });
  plain.run();
  const { machine, profile } = profiled();
  assert.equal(machine.digest(), plain.digest());
  assert.equal(profile.instructions, plain.instructions);
  const of = (list: readonly { what: string; count: number }[], what: string): number =>
    list.find((row) => row.what === what)?.count ?? 0;
  assert.equal(of(profile.hypercalls, 'sched_op SCHEDOP_shutdown'), 1);
  assert.ok(of(profile.routines, 'CPUID') > 0);
  assert.ok(of(profile.exits, 'routine') >= of(profile.routines, 'CPUID'));
  assert.ok(profile.tlbMisses.reads > 0 && profile.tlbMisses.writes > 0);
  assert.equal(
    profile.places.reduce((sum, { count }) => sum + count, 0),
    Math.floor(plain.instructions / 1_000),
  );
});

test('Profiler: the same guest gives the same profile', () => {
  assert.deepEqual(profiled().profile, profiled().profile);
});
