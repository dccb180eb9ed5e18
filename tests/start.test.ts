/** How the program starts: the code that bin/xenolith.mjs keeps between runs, and what it tells V8. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildInterpreter } from '../src/cpu/interpret/build.ts';
import { parseRow } from '../src/cpu/isa/encoding.ts';
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
function run(folder: string, more: NodeJS.ProcessEnv = {}): void {
  const env = { ...process.env, NODE_COMPILE_CACHE: folder, ...more };
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'run', hello], { encoding: 'utf8', env });
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^Goodbye\.$/m);
}

const kept = (folder: string): string[] => globSync('*/xenolith*', { cwd: folder });

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

test('start: a mistake of the program is reported in terms of its sources', async () => {
  await ensureBuilt();
  const broken = 'WebAssembly.Memory = class { constructor() { throw new TypeError("no memory here"); } }';
  const args = ['--import', `data:text/javascript,${encodeURIComponent(broken)}`, bin, 'run', hello];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /^xenolith: this is a mistake in xenolith: TypeError: no memory here$/m);
  assert.match(stderr, /^ +at .*src\/machine\/memory\/guest-memory\.ts:\d+:\d+\)?$/m);
  assert.doesNotMatch(stderr, /run\.cjs/);
});

/** Index of an exported function (key `wasm:binary "Export section"`). */
function exportedFunction(wasm: Uint8Array, wanted: string): number | undefined {
  let at = 8;
  const u32 = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = wasm[at++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  };
  while (at < wasm.length) {
    const id = wasm[at++];
    const size = u32();
    const end = at + size;
    if (id === 7)
      for (let count = u32(); count > 0; count--) {
        const length = u32();
        const name = new TextDecoder().decode(wasm.subarray(at, at + length));
        at += length;
        const kind = wasm[at++];
        const index = u32();
        if (kind === 0 && name === wanted) return index;
      }
    at = end;
  }
  return undefined;
}

test("start: V8 is told to optimise the interpreter's loop and nothing else", () => {
  const told = /MAIN_FUNCTION = (\d+)/.exec(readFileSync(bin, 'utf8'))?.[1];
  assert.equal(Number(told), exportedFunction(buildInterpreter(), 'run'));
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
