/**
 * Every committed guest image runs through the command line and prints exactly what the file beside it says, twice, to the
 * byte. After a wanted change: `UPDATE_EXPECTED=1 npm test -- tests/guests`, then review the difference.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ensureBuilt } from '../tools/build.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const images = globSync('guests/images/*.elf', { cwd: root }).sort();

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function xenolith(...args: string[]): Promise<Outcome> {
  return new Promise((done, reject) => {
    const child = spawn(process.execPath, [join(root, 'bin', 'xenolith.mjs'), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 60_000,
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (data: Buffer) => stdout.push(data));
    child.stderr.on('data', (data: Buffer) => stderr.push(data));
    child.on('error', reject);
    child.on('close', (status) =>
      done({
        status,
        stdout: Buffer.concat(stdout).toString('latin1'),
        stderr: Buffer.concat(stderr).toString('latin1'),
      }),
    );
  });
}

for (const image of images) {
  const expected = join(root, image.replace(/\.elf$/, '.out'));
  test(`${basename(image)}: prints what is expected, the same in every run`, async () => {
    await ensureBuilt();
    const run = (): Promise<Outcome> => xenolith('run', join(root, image), '--xen', '4.19', '--memory', '64');
    const first = await run();
    if (process.env['UPDATE_EXPECTED']) writeFileSync(expected, first.stdout, 'latin1');
    assert.ok(existsSync(expected), `${expected} is missing`);
    assert.equal(first.stdout, readFileSync(expected, 'latin1'), first.stderr);
    assert.equal(first.status, 0, first.stderr);
    assert.deepEqual(await run(), first);
  });
}

const make = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync('make', ['-s', '-C', join(root, 'guests'), ...args], { encoding: 'utf8' });

test('guests/Makefile: rebuilding gives the committed images', (context) => {
  const compiler = spawnSync('gcc', ['-m32', '-x', 'c', '-ffreestanding', '-c', '-o', '/dev/null', '-'], {
    input: '#include <stdint.h>\nint32_t x;\n',
  });
  if (compiler.status !== 0 || make('--version').status !== 0) {
    context.skip('needs make and a gcc that builds 32-bit code');
    return;
  }
  const out = mkdtempSync(join(tmpdir(), 'xenolith-guests-'));
  try {
    const { status, stderr } = make(`OUT=${out}`, `TMP=${join(out, 'tmp')}`);
    assert.equal(status, 0, stderr);
    const built = globSync('*.elf', { cwd: out }).sort();
    assert.deepEqual(
      built,
      images.map((image) => basename(image)),
    );
    const same = make('toolchain').stdout === readFileSync(join(root, 'guests/images/toolchain.txt'), 'utf8');
    for (const image of built) {
      const now = readFileSync(join(out, image));
      // Another compiler makes other code; that it builds is what can be checked then.
      if (same)
        assert.ok(
          now.equals(readFileSync(join(root, 'guests/images', image))),
          `${image} differs: run make in guests/`,
        );
    }
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
});
