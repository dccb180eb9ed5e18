/** Debian's kernel as a PVH guest with BusyBox (tests/support/linux.ts tells where they come from). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Boot, boot, finished, prepareLinux, skip } from '../support/linux.ts';

prepareLinux();

test('Linux: boots with one vCPU to a shell on hvc0 that answers, and powers off', { skip }, async () => {
  const result = await boot('pvh', 1, 'quiet do=shell', ['--input'], 'echo answer $((6 * 7))\npoweroff -f\n');
  finished(result, 1);
  assert.match(result.output, /^answer 42$/m);
});

test('Linux: takes a vCPU offline and online again', { skip }, async () => {
  const result = await boot('pvh', 2, 'do=replug');
  finished(result, 2);
  assert.deepEqual(result.output.match(/^online: .*/gm), ['online: 0', 'online: 0-1', 'online: 0', 'online: 0-1']);
  assert.match(result.output, /Booting kernel on Xen PVH/);
  assert.match(result.output, /xen-percpu +-virq +timer1$/m);
});

test('Linux: brings up sixteen vCPUs', { skip }, async () => finished(await boot('pvh', 16, 'quiet'), 16));

test('Linux: every engine gives the same run', { skip }, async () => {
  const run = (engine: string): Promise<Boot> =>
    boot('pvh', 2, 'earlyprintk=xen', ['--engine', engine, '--timeout', '0.5', '--json']);
  const interpreted = await run('interpret');
  assert.match(interpreted.output, /"instructions": "\d{8,}"/);
  assert.match(interpreted.errors, /Booting kernel on Xen PVH/);
  for (const engine of ['auto', 'translate']) assert.deepEqual(await run(engine), interpreted, engine);
});
