/** Every committed guest image gives the same run twice and with every engine: console, instructions, guest time and memory. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { globSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Control, MachineConfig } from '../src/xen/index.ts';
import { PvhGuest } from './support/pvh-guest.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

interface Run {
  readonly console: string;
  readonly end: string;
  readonly instructions: number;
  readonly time: bigint;
  readonly memory: string;
}

/** SHA-256 over the populated guest frames and their numbers. */
function memoryHash(control: Control): string {
  const { memory, domain } = control.machine;
  const hash = createHash('sha256');
  for (let gfn = 0; gfn <= domain.p2m.maxMappedGfn; gfn++) {
    const frame = domain.p2m.frameAt(gfn);
    if (frame !== 0) hash.update(`${gfn}:`).update(memory.frameBytes(frame));
  }
  return hash.digest('hex');
}

function run(file: string, machine: Partial<MachineConfig>): Run {
  const guest = new PvhGuest(file, { memoryMib: 16, vcpus: 2, machine: { codeBytes: 4 * 1024 * 1024, ...machine } });
  const { control } = guest;
  const stop = guest.run(60);
  return {
    console: guest.console,
    end: JSON.stringify(stop.kind === 'shutdown' ? stop.shutdown : stop.kind),
    instructions: control.machine.scheduler.instructions,
    time: control.machine.time.now(),
    memory: memoryHash(control),
  };
}

for (const image of globSync('guests/images/*.elf', { cwd: root }).sort()) {
  const file = join(root, image);
  test(`${basename(image)}: the same run twice and with every engine`, () => {
    const first = run(file, { engine: 'interpret' });
    assert.match(first.end, /"reason":0/, first.console);
    for (const engine of ['interpret', 'auto', 'translate'] as const) {
      assert.deepEqual(run(file, { engine }), first, engine);
    }
  });

  test(`${basename(image)}: the same seed of the scheduler gives the same run`, () => {
    const schedule = { slice: 1_000, seed: 7 };
    assert.deepEqual(run(file, { schedule }), run(file, { schedule }));
  });
}
