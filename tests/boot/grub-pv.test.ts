/** GRUB as Debian packages it for PV domains of both widths (grub-xen-host): its prompt on the Xen console, commands, and the way out. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { ConsoleGuest } from '../support/console-guest.ts';

const PROMPT = 'grub> ';

for (const [name, width] of [
  ['grub-x86_64-xen.bin', '64-bit'],
  ['grub-i386-xen.bin', '32-bit'],
] as const) {
  const file = `/usr/lib/grub-xen/${name}`;
  test(`GRUB as a ${width} PV guest reaches its prompt, answers commands and powers off`, (context) => {
    if (!existsSync(file)) {
      context.skip('grub-xen-host is not installed');
      return;
    }
    const grub = new ConsoleGuest(file, { type: 'pv', memoryMib: 128 });
    let at = grub.expect(PROMPT, 0, 5);
    assert.match(grub.console, /GNU GRUB {2}version 2\./);

    for (const [command, answer] of [
      ['echo hello', 'hello'],
      ['set x=21; if [ $x -lt 30 ]; then echo less; fi', 'less'],
      ['nonsense', "error: can't find command `nonsense'."],
    ] as const) {
      grub.type(`${command}\r`);
      at = grub.expect(`\n\r${answer}\n\r${PROMPT}`, at, 2);
    }

    grub.type('lsmmap\r');
    const map = at;
    at = grub.expect(PROMPT, at, 2);
    assert.match(grub.console.slice(map, at), /base_addr = 0x0, length = 0x7[0-9a-f]{6}, available RAM/);
    grub.type('help\r');
    at = grub.expect(PROMPT, at, 5);

    grub.type('halt\r');
    assert.deepEqual(grub.run(2), { kind: 'shutdown', shutdown: { reason: 0 } });
  });

  test(`GRUB as a ${width} PV guest reboots`, (context) => {
    if (!existsSync(file)) {
      context.skip('grub-xen-host is not installed');
      return;
    }
    const grub = new ConsoleGuest(file, { type: 'pv', memoryMib: 64 });
    grub.expect(PROMPT, 0, 5);
    grub.type('reboot\r');
    assert.deepEqual(grub.run(2), { kind: 'shutdown', shutdown: { reason: 1 } });
  });
}
