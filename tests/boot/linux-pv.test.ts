/** Debian's kernel as a PV guest with BusyBox (tests/support/linux.ts tells where they come from). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Boot, boot, finished, prepareLinux, skip } from '../support/linux.ts';

prepareLinux();

test('Linux, PV: boots with one vCPU to a shell on hvc0 that answers, and powers off', { skip }, async () => {
  const result = await boot('pv', 1, 'quiet do=shell', ['--input'], 'echo answer $((6 * 7))\npoweroff -f\n');
  finished(result, 1);
  assert.match(result.output, /^answer 42$/m);
});

test('Linux, PV: brings up four vCPUs, takes one offline and online again', { skip }, async () => {
  const result = await boot('pv', 4, 'do=replug');
  finished(result, 4);
  const online = ['online: 0,2-3', 'online: 0-3', 'online: 0,2-3', 'online: 0-3'];
  assert.deepEqual(result.output.match(/^online: .*/gm), online);
  assert.match(result.output, /Booting kernel on Xen\n/);
  assert.match(result.output, /xen-percpu +-virq +timer1$/m);
});

test('Linux, PV: every engine gives the same run', { skip }, async () => {
  const run = (engine: string): Promise<Boot> =>
    boot('pv', 2, 'earlyprintk=xen', ['--engine', engine, '--timeout', '0.2', '--json']);
  const interpreted = await run('interpret');
  assert.match(interpreted.output, /"instructions": "\d{7,}"/);
  for (const engine of ['auto', 'translate']) assert.deepEqual(await run(engine), interpreted, engine);
});
