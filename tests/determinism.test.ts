/**
 * Every committed guest image gives the same run twice and with every engine: console, end, instructions of each vCPU, guest time,
 * registers and memory.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { interpreterModules } from '../src/cpu/index.ts';
import { Machine, type MachineOptions } from '../src/index.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const ENGINES = ['interpret', 'auto', 'translate'] as const;
const interpreter = interpreterModules();

function run(file: string, options: MachineOptions): unknown {
  const machine = new Machine(readFileSync(file), { memory: 16, vcpus: 2, interpreter, ...options });
  const stop = machine.run({ until: 60_000_000_000n });
  return {
    console: machine.console,
    end: stop.kind === 'shutdown' ? stop.shutdown : stop.kind,
    instructions: machine.vcpuInstructions,
    time: machine.time,
    digest: machine.digest(),
  };
}

for (const image of globSync('guests/images/*.elf', { cwd: root }).sort()) {
  const file = join(root, image);
  test(`${basename(image)}: the same run twice and with every engine`, () => {
    const first = run(file, { engine: 'interpret' });
    assert.deepEqual(
      (first as { end: unknown }).end,
      { reason: 0 },
      JSON.stringify(first, (_, v) => String(v)),
    );
    for (const engine of ENGINES) assert.deepEqual(run(file, { engine }), first, engine);
  });

  test(`${basename(image)}: the same seed of the scheduler gives the same run`, () => {
    const schedule = { slice: 1_000, seed: 7 };
    assert.deepEqual(run(file, { schedule }), run(file, { schedule }));
  });
}

for (const bits of [32, 64]) {
  const file = join(root, 'bench', 'guests', `bench${bits}.elf`);
  test(`bench${bits}.elf: the same run with every engine`, () => {
    const common = { memory: 64, vcpus: 1, cmdline: 'div=2000' };
    const first = run(file, { engine: 'interpret', ...common });
    for (const engine of ENGINES) assert.deepEqual(run(file, { engine, ...common }), first, engine);
  });
}

test('a run cut into pieces of any length is the same run', () => {
  const file = join(root, 'guests', 'images', 'features64.elf');
  const whole = run(file, { engine: 'interpret' });
  for (const engine of ENGINES) {
    const machine = new Machine(readFileSync(file), { memory: 16, vcpus: 2, interpreter, engine });
    let length = 1;
    for (;;) {
      const stop = machine.run({ instructions: length });
      if (stop.kind === 'shutdown') break;
      length = (length * 7 + 3) % 1009;
    }
    assert.equal(machine.digest(), (whole as { digest: string }).digest, engine);
  }
});
