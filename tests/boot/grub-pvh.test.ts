/** GRUB as Debian packages it for PVH domains (grub-xen-host): its prompt on the Xen console, commands, and the way out. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { ConsoleGuest } from '../support/console-guest.ts';

const GRUB = '/usr/lib/grub-xen/grub-i386-xen_pvh.bin';
const PROMPT = 'grub> ';

test('GRUB as a PVH guest reaches its prompt, answers commands and powers off', (context) => {
  if (!existsSync(GRUB)) {
    context.skip('grub-xen-host is not installed');
    return;
  }
  const grub = new ConsoleGuest(GRUB, { memoryMib: 128 });
  let at = grub.expect(PROMPT, 0, 5);
  assert.match(grub.console, /Welcome to GRUB!/);
  assert.match(grub.console, /GNU GRUB {2}version 2\./);

  for (const [command, answer] of [
    ['echo hello', 'hello'],
    // The processor has long mode, and physical address extension.
    ['cpuid -l; echo $?', '0'],
    ['cpuid -p; echo $?', '0'],
    ['set x=21; if [ $x -lt 30 ]; then echo less; fi', 'less'],
    ['nonsense', "error: can't find command `nonsense'."],
  ] as const) {
    grub.type(`${command}\r`);
    at = grub.expect(`\n\r${answer}\n\r${PROMPT}`, at, 2);
  }

  grub.type('halt\r');
  const stop = grub.run(2);
  assert.deepEqual(stop, { kind: 'shutdown', shutdown: { reason: 0 } });
});
