/**
 * Debian's kernel, unmodified, with BusyBox in an initial ramdisk. There when `node tools/fetch-linux.ts` has downloaded both, or when
 * XENOLITH_LINUX names a folder with a kernel `vmlinuz` and a static `busybox`.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ensureBuilt } from '../../tools/build.ts';
import { makeCpio } from './make-cpio.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const linux = process.env['XENOLITH_LINUX'] ?? join(root, '.cache', 'linux');
const available = ['vmlinuz', 'busybox'].every((name) => existsSync(join(linux, name)));
export const skip = available ? false : 'no kernel: run `node tools/fetch-linux.ts`, or set XENOLITH_LINUX';

const INIT = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "nproc: $(nproc)"
online() { echo $1 > /sys/devices/system/cpu/cpu1/online; echo "online: $(cat /sys/devices/system/cpu/online)"; }
case " $(cat /proc/cmdline) " in
*" do=replug "*) online 0; online 1; online 0; online 1; grep timer /proc/interrupts;;
*" do=shell "*) setsid sh -c 'exec sh < /dev/hvc0 > /dev/hvc0 2>&1';;
esac
poweroff -f
`;
const APPLETS = ['sh', 'mount', 'nproc', 'cat', 'grep', 'setsid', 'poweroff'];

let folder = '';

export const kernelFile = join(linux, 'vmlinuz');
/** The ramdisk, once {@link prepareLinux} made it. */
export const ramdisk = (): Uint8Array => readFileSync(join(folder, 'initrd'));

/** Makes the ramdisk before the tests of a file, and removes it. */
export function prepareLinux(): void {
  before(async () => {
    if (!available) return;
    await ensureBuilt();
    folder = mkdtempSync(join(tmpdir(), 'xenolith-linux-'));
    const directory = 0o40755;
    writeFileSync(
      join(folder, 'initrd'),
      makeCpio([
        ...['bin', 'dev', 'proc', 'sys'].map((name) => ({ name, mode: directory })),
        { name: 'dev/console', mode: 0o20600, device: [5, 1] },
        { name: 'bin/busybox', mode: 0o100755, data: readFileSync(join(linux, 'busybox')) },
        ...APPLETS.map((name) => ({ name: `bin/${name}`, mode: 0o120777, data: 'busybox' })),
        { name: 'init', mode: 0o100755, data: INIT },
      ]),
    );
  });
  after(() => {
    if (folder !== '') rmSync(folder, { recursive: true });
  });
}

export interface Boot {
  readonly status: number | null;
  /** Console. */
  readonly output: string;
  /** Standard error: Xen's console and the messages of the command. */
  readonly errors: string;
}

const text = (pieces: readonly Buffer[]): string => Buffer.concat(pieces).toString('latin1').replaceAll('\r', '');

/** Runs the kernel with 256 MiB; `type` decides between its two ways in. */
export function boot(
  type: 'pv' | 'pvh',
  vcpus: number,
  cmdline: string,
  args: readonly string[] = [],
  typed?: string,
): Promise<Boot> {
  return new Promise((done, reject) => {
    const child = spawn(
      process.execPath,
      [
        ...[join(root, 'bin', 'xenolith.mjs'), 'run', join(linux, 'vmlinuz'), '--type', type],
        ...['--module', join(folder, 'initrd')],
        ...['--memory', '256', '--vcpus', String(vcpus), '--cmdline', `console=hvc0 ${cmdline}`, ...args],
      ],
      { stdio: ['pipe', 'pipe', 'pipe'], timeout: 300_000 },
    );
    const pieces: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on('data', (piece: Buffer) => pieces.push(piece));
    child.stderr.on('data', (piece: Buffer) => errors.push(piece));
    child.on('error', reject);
    child.on('close', (status) => done({ status, output: text(pieces), errors: text(errors) }));
    child.stdin.end(typed ?? '');
  });
}

export function finished({ status, output, errors }: Boot, vcpus: number): void {
  assert.match(output, new RegExp(`^nproc: ${vcpus}$`, 'm'), output + errors);
  assert.doesNotMatch(output, /BUG:|WARNING:|Call Trace|rcu.*stall/);
  assert.match(output, /reboot: System halted\n$/);
  assert.equal(status, 0);
}
