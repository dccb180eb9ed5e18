/** Every committed guest image gives the same run twice and with every engine: console, instructions, guest time and memory. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildInterpreter } from '../src/cpu/interpret/build.ts';
import { buildPvh, launch, openKernel } from '../src/toolstack/index.ts';
import { Control, type MachineConfig } from '../src/xen/index.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const interpreter = buildInterpreter();
const MIB = 1024 * 1024;
const MEMORY_MIB = 16;

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

function run(file: string, vcpus: number, more: Partial<MachineConfig>): Run {
  const image = buildPvh({
    kernel: openKernel(readFileSync(file), () => undefined),
    memoryMib: MEMORY_MIB,
    vcpus,
    maxVcpus: vcpus,
    modules: [],
  });
  const populated = image.populate.reduce((sum, range) => sum + range.size, 0);
  const control = new Control({
    type: image.type,
    maxVcpus: vcpus,
    maxMemory: populated + MIB,
    codeBytes: 4 * MIB,
    interpreter,
    ...more,
  });
  let console = '';
  const services = launch(control, image, {
    domid: 1,
    name: basename(file),
    uuid: '00000000-0000-4000-8000-000000000001',
    memoryMib: MEMORY_MIB,
    maxMemoryMib: MEMORY_MIB,
    output: (bytes) => {
      console += Buffer.from(bytes).toString('latin1');
    },
  });
  const stop = control.run({ until: 60_000_000_000n, instructions: 50_000_000 });
  services.service();
  return {
    console,
    end: JSON.stringify(stop.kind === 'shutdown' ? stop.shutdown : stop.kind),
    instructions: control.machine.scheduler.instructions,
    time: control.machine.time.now(),
    memory: memoryHash(control),
  };
}

for (const image of globSync('guests/images/*.elf', { cwd: root }).sort()) {
  const file = join(root, image);
  test(`${basename(image)}: the same run twice and with every engine`, () => {
    const first = run(file, 2, { engine: 'interpret' });
    assert.match(first.end, /"reason":0/, first.console);
    for (const engine of ['interpret', 'auto', 'translate'] as const) {
      assert.deepEqual(run(file, 2, { engine }), first, engine);
    }
  });

  test(`${basename(image)}: the same seed of the scheduler gives the same run`, () => {
    const schedule = { slice: 1_000, seed: 7 };
    assert.deepEqual(run(file, 2, { schedule }), run(file, 2, { schedule }));
  });
}
