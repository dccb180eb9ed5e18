/** How the program starts: the code that bin/xenolith.mjs keeps between runs, and what it tells V8. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { opcodePlace, PLACE_PLUS_R, parseRow } from '../src/cpu/isa/encoding.ts';
import { integerRows, mayBeVector, vectorRows } from '../src/cpu/isa/index.ts';
import { ensureBuilt } from '../tools/build.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = join(root, 'bin', 'xenolith.mjs');
const hello = join(root, 'guests', 'images', 'hello64.elf');

async function inFolder(action: (folder: string) => void): Promise<void> {
  await ensureBuilt();
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-start-'));
  try {
    action(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Says hello with a compile cache of its own. */
function run(folder: string, more: NodeJS.ProcessEnv = {}, args: readonly string[] = [hello]): void {
  const env = { ...process.env, NODE_COMPILE_CACHE: folder, ...more };
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'run', ...args], { encoding: 'utf8', env });
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^Goodbye\.$/m);
}

const kept = (folder: string): string[] => globSync('xenolith-*/*', { cwd: folder });

test('start: compiled code is kept, one file per command, and used', () =>
  inFolder((folder) => {
    run(folder);
    const [file, ...others] = kept(folder);
    assert.ok(file !== undefined && others.length === 0, kept(folder).join());
    for (let i = 0; i < 5; i++) run(folder);
    assert.deepEqual(kept(folder), [file]);
    const settled = readFileSync(join(folder, file));
    run(folder);
    assert.ok(readFileSync(join(folder, file)).equals(settled), 'after some runs nothing is written any more');
    spawnSync(process.execPath, [bin, '--version'], { env: { ...process.env, NODE_COMPILE_CACHE: folder } });
    assert.equal(kept(folder).length, 2);
  }));

test('start: what a short run does without is loaded when something of it is used, and kept as well', () =>
  inFolder((folder) => {
    const later = (): string[] => kept(folder).filter((file) => file.includes('later'));
    run(folder);
    assert.deepEqual(later(), []);
    const pv = join(root, 'guests', 'images', 'hellopv64.elf');
    for (const args of [[pv], ['--engine', 'translate', hello]]) for (let i = 0; i < 2; i++) run(folder, {}, args);
    assert.equal(later().length, 1);
    assert.equal(kept(folder).length, 2);
  }));

test('start: kept code that is damaged, of another program, or cannot be written does no harm', () =>
  inFolder((folder) => {
    run(folder);
    const file = join(folder, kept(folder)[0]!);
    const good = readFileSync(file);
    const changed = Buffer.from(good);
    changed.fill(0, good.length >> 1, (good.length >> 1) + 3 * 4096);
    const otherMark = Buffer.concat([good.subarray(0, -27), Buffer.from('0123456789abcdef'), good.subarray(-11)]);
    for (const bytes of [changed, good.subarray(0, 1000), Buffer.alloc(0), otherMark]) {
      writeFileSync(file, bytes);
      run(folder);
    }
    rmSync(file);
    mkdirSync(file);
    run(folder);
  }));

test('start: NODE_DISABLE_COMPILE_CACHE keeps nothing', () =>
  inFolder((folder) => {
    run(folder, { NODE_DISABLE_COMPILE_CACHE: '1' });
    assert.ok(!existsSync(folder) || kept(folder).length === 0);
  }));

/** Runs the guest with a builtin that throws; what is reported. */
function withMistake(broken: string, ...options: string[]): string {
  const args = ['--import', `data:text/javascript,${encodeURIComponent(broken)}`, bin, 'run', ...options, hello];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.equal(status, 1);
  assert.doesNotMatch(stderr, /\.cjs:/);
  return stderr;
}

test('start: a mistake of the program is reported in terms of its sources', async () => {
  await ensureBuilt();
  const memory = withMistake('WebAssembly.Memory = class { constructor() { throw new TypeError("no memory here"); } }');
  assert.match(memory, /^xenolith: this is a mistake in xenolith: TypeError: no memory here$/m);
  assert.match(memory, /^ +at .*src\/machine\/memory\/guest-memory\.ts:\d+:\d+\)?$/m);
  // In what is loaded later.
  const line = withMistake('JSON.stringify = () => { throw new TypeError("no text"); }', '--trace', 'hypercalls');
  assert.match(line, /^ +at .*src\/lab\/trace\/line\.ts:\d+:\d+\)?$/m);
});

test('start: rows made late are told by their opcodes', () => {
  for (const row of vectorRows()) {
    const { vex, map, opcode } = parseRow(row).encoding;
    assert.ok(vex || mayBeVector(map, opcode), `${row.name} ${row.encoding}`);
  }
  // What every guest begins with does not bring them.
  for (const name of ['MOV', 'CPUID', 'WRMSR', 'VMCALL', 'LGDT', 'MFENCE', 'RET', 'JNE'])
    for (const row of integerRows.filter((each) => each.name === name)) {
      const { vex, map, opcode } = parseRow(row).encoding;
      assert.ok(!vex && !mayBeVector(map, opcode), `${row.name} ${row.encoding}`);
    }
});

test('start: what is read of a row that nobody met agrees with all that can be read', () => {
  for (const row of [...integerRows, ...vectorRows()]) {
    const { vex, map, opcode, plusR } = parseRow(row).encoding;
    const place = (((vex ? 4 : 0) + map) << 8) | opcode;
    assert.equal(opcodePlace(row.encoding), plusR ? place | PLACE_PLUS_R : place, `${row.name} ${row.encoding}`);
  }
});
