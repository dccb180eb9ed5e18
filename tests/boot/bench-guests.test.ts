/** The speed guests of bench/guests with a thousandth of their work: the checksums of their README, in both builds. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ConsoleGuest } from '../support/console-guest.ts';

const folder = new URL('../../bench/guests/', import.meta.url);

/** Column `div=1000` of the table of checksums. */
function expected(): Map<string, string> {
  const rows = readFileSync(new URL('README.md', folder), 'utf8').matchAll(
    /^\| `?(\w+)`? \| `[0-9a-f]{8}` \| `[0-9a-f]{8}` \| `([0-9a-f]{8})` \|$/gm,
  );
  return new Map([...rows].map(([, name, checksum]) => [name!, checksum!]));
}

for (const bits of [32, 64]) {
  test(`bench${bits}.elf: interpreted and translated code execute the same instructions`, () => {
    const file = fileURLToPath(new URL(`bench${bits}.elf`, folder));
    const [first, second] = (['interpret', 'auto'] as const).map((engine) => {
      const guest = new ConsoleGuest(file, { memoryMib: 64, cmdline: 'div=1000', machine: { engine } });
      guest.run(10);
      const { scheduler, time } = guest.control.machine;
      return [scheduler.instructions, time.now()];
    });
    assert.deepEqual(first, second);
  });

  test(`bench${bits}.elf: every workload gives the checksum of the README`, () => {
    const file = fileURLToPath(new URL(`bench${bits}.elf`, folder));
    const guest = new ConsoleGuest(file, { memoryMib: 64, cmdline: 'div=1000' });
    let debug = '';
    guest.control.onDebugOutput((bytes) => {
      debug += Buffer.from(bytes).toString('latin1');
    });
    const stop = guest.run(10);
    assert.deepEqual(stop, { kind: 'shutdown', shutdown: { reason: 0 } }, guest.console || debug);
    const text = guest.console.includes('done') ? guest.console : debug;
    const table = expected();
    assert.equal(table.size, 12);
    assert.match(text, new RegExp(`bench${bits} start boot=pvh xen=1 div=1000`));
    for (const [name, checksum] of table) {
      const found =
        name === 'total'
          ? /done total=([0-9a-f]{8})/.exec(text)
          : new RegExp(`^${name} end checksum=([0-9a-f]{8})`, 'm').exec(text);
      assert.equal(found?.[1], checksum, name);
    }
  });
}
