/** Debian's kernel as a PV guest with BusyBox (tests/support/linux.ts tells where they come from). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConsoleGuest } from '../support/console-guest.ts';
import { type Boot, boot, finished, kernelFile, prepareLinux, ramdisk, skip } from '../support/linux.ts';

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

test('Linux, PV: the tool stack takes a vCPU away and gives it back', { skip }, () => {
  const guest = new ConsoleGuest(kernelFile, {
    type: 'pv',
    memoryMib: 256,
    vcpus: 2,
    cmdline: 'console=hvc0 quiet do=shell',
    modules: [ramdisk()],
  });
  let at = guest.expect('nproc: 2', 0, 60);
  at = guest.expect('# ', at, 5);
  guest.services.writeNode('cpu/1/availability', 'offline');
  guest.run(1);
  guest.type('echo now $(nproc)\r');
  at = guest.expect('now 1', at, 5);
  // Linux learns that it is there again; who brings it online is left to user space.
  guest.services.writeNode('cpu/1/availability', 'online');
  guest.run(1);
  guest.type('echo 1 > /sys/devices/system/cpu/cpu1/online; echo now $(nproc)\r');
  at = guest.expect('now 2', at, 5);
  guest.type('poweroff -f\r');
  assert.deepEqual(guest.run(5), { kind: 'shutdown', shutdown: { reason: 0 } });
});

test('Linux, PV: every engine gives the same run', { skip }, async () => {
  const run = (engine: string): Promise<Boot> =>
    boot('pv', 2, 'earlyprintk=xen', ['--engine', engine, '--timeout', '0.2', '--json']);
  const interpreted = await run('interpret');
  assert.match(interpreted.output, /"instructions": "\d{7,}"/);
  for (const engine of ['auto', 'translate']) assert.deepEqual(await run(engine), interpreted, engine);
});
