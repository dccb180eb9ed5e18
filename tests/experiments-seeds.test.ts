/**
 * What guests of the experiments see does not depend on how long a vCPU stays on the processor. A failure names its seed and the
 * longest slice: both go to `schedule` of a machine.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { interpreterModules } from '../src/cpu/interpret/instance.ts';
import { type RunSpec, runGuest, type Surroundings } from '../src/lab/experiment/index.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const surroundings: Surroundings = {
  image: (name) => readFileSync(`${root}/guests/images/${name}.elf`),
  interpreter: interpreterModules(),
};

for (const [spec, seeds] of [
  [{ guest: 'vcpuinit64', vcpus: 41, xen: '4.17' }, 100],
  [{ guest: 'vcpuinit32', vcpus: 41, xen: '4.19' }, 10],
  [{ guest: 'dummy64', vcpus: 44, xen: '4.22' }, 100],
  [{ guest: 'dummy32', vcpus: 44, xen: '4.17' }, 10],
] as const satisfies readonly (readonly [RunSpec, number])[]) {
  test(`${spec.guest}: the guest sees the same with ${seeds} seeds of slice lengths`, () => {
    const expected = runGuest(spec, surroundings).lines;
    for (let seed = 1; seed <= seeds; seed++) {
      const schedule = { seed, slice: 1 << (6 + (seed % 12)) };
      const { lines, end } = runGuest(spec, { ...surroundings, schedule });
      assert.equal(end, 'poweroff', `seed ${seed}, slices up to ${schedule.slice}`);
      assert.deepEqual(lines, expected, `seed ${seed}, slices up to ${schedule.slice}`);
    }
  });
}
