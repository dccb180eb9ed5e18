import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { FileProblem } from './host.ts';
import { nodeHost } from './host-node.ts';

const bin = fileURLToPath(new URL('../../bin/xenolith.mjs', import.meta.url));
const host = nodeHost();
const problem = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof FileProblem, String(error));
    return error.message;
  }
  return 'none';
};

test('host: files that cannot be read or written say why', () => {
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-'));
  try {
    assert.equal(
      problem(() => host.readFile(folder)),
      `${folder}: is a directory`,
    );
    assert.equal(
      problem(() => host.readFile(join(folder, 'no'))),
      `${join(folder, 'no')}: no such file`,
    );
    assert.equal(
      problem(() => host.writeFile(join(folder, 'no', 'x'), '')),
      `${join(folder, 'no', 'x')}: no such file`,
    );
    host.writeFile(join(folder, 'a'), 'text');
    assert.equal(new TextDecoder().decode(host.readFile(join(folder, 'a'))), 'text');
    assert.equal(
      problem(() => host.readFile(join(folder, 'a', 'b'))),
      `${join(folder, 'a', 'b')}: a part of the path is not a directory`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('host: unpacks gzip and Zstandard, and says that it cannot do others', () => {
  const data = new TextEncoder().encode('kernel');
  assert.deepEqual(new Uint8Array(host.decompress('gzip', gzipSync(data))!), data);
  assert.deepEqual(new Uint8Array(host.decompress('zstd', zstdCompressSync(data))!), data);
  assert.equal(host.decompress('xz', data), undefined);
});

test('xenolith as a process: streams and exit codes', () => {
  const run = (...args: string[]) => spawnSync(process.execPath, args, { encoding: 'utf8' });
  const version = run(bin, '--version');
  assert.match(version.stdout, /^xenolith \d/);
  assert.equal(version.status, 0);
  const wrong = run(bin, 'nonsense');
  assert.deepEqual([wrong.status, wrong.stdout], [2, '']);
  assert.match(wrong.stderr, /^xenolith: unknown command nonsense/);
});
