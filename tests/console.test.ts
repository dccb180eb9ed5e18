/** Where a guest's output goes: its console ring and, when its rules allow console_io, the hypervisor's console. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const at = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
const hello = (...options: string[]) =>
  spawnSync(process.execPath, [at('bin/xenolith.mjs'), 'run', at('guests/images/hello64.elf'), ...options], {
    encoding: 'utf8',
  });

test('console_io: an ordinary guest gets -EPERM and its ring is standard output', () => {
  const { stdout, stderr } = hello('--trace', 'hypercalls');
  assert.match(stdout, /^Hello from a guest/m);
  assert.match(stderr, /console_io.* = -(1|EPERM)/);
});

test('console_io: with guest-console-io=on the text is standard output too, and the ring stays empty', () => {
  const { stdout, stderr } = hello('--set', 'guest-console-io=on', '--trace', 'hypercalls');
  assert.match(stdout, /^Hello from a guest/m);
  assert.doesNotMatch(stderr, /event_channel_op/);
});
