/** The commands of the laboratory, with the real machine and committed guests. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { RULES, VERSIONS } from '../../xen/index.ts';
import type { Host } from '../host.ts';
import { main } from '../main.ts';
import { program } from '../program.ts';

const guest = (name: string): string => fileURLToPath(new URL(`../../../guests/images/${name}.elf`, import.meta.url));

async function xenolith(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const host: Host = {
    stdout: (data) => {
      out += typeof data === 'string' ? data : new TextDecoder().decode(data);
    },
    stderr: (text) => {
      err += text;
    },
    readFile: (path) => readFileSync(path),
    writeFile: () => {},
    checkWritable: () => {},
    decompress: () => undefined,
    now: () => 0,
    wallClock: () => 0,
    breathe: async () => {},
    interpreter: async () => undefined,
    stack: (error) => error.stack ?? error.message,
    readInput: () => () => {},
    stopped: undefined,
  };
  return { code: await main(argv, host, program), out, err };
}

test('behaviours: every rule with its value in every release', async () => {
  const { code, out } = await xenolith('behaviours');
  assert.equal(code, 0);
  for (const { name, source } of RULES) {
    assert.match(out, new RegExp(`^${name} .*${source}$`, 'm'));
  }
  const json = JSON.parse((await xenolith('behaviours', '--json')).out);
  assert.equal(json.length, RULES.length);
  assert.deepEqual(Object.keys(json[0].byRelease), [...VERSIONS]);
  assert.equal(json[0].byRelease['4.18'], 'on');
  const one = JSON.parse((await xenolith('behaviours', '--xen', '4.19', '--json')).out);
  assert.deepEqual(one[0].byRelease, { '4.19': 'off' });
});

test('behaviours, --set: unknown releases, rules and values are one line that names the known ones', async () => {
  for (const [argv, line] of [
    [['behaviours', '--xen', '4.16'], '--xen 4.16: must be one of 4.17, 4.18, 4.19, 4.20, 4.21, 4.22'],
    [
      ['run', guest('hello64'), '--set', 'nonsense=on'],
      '--set nonsense=on: there is no rule nonsense; known are initialise-',
    ],
    [
      ['run', guest('hello64'), '--set', 'phys-areas=maybe'],
      '--set phys-areas=maybe: the value of phys-areas must be one of off, on',
    ],
    [['diff', guest('hello64'), '--xen', '4.18'], 'diff needs --xen twice'],
  ] as const) {
    const { code, out, err } = await xenolith(...argv);
    assert.equal(code, 2);
    assert.equal(out, '');
    assert.ok(err.startsWith(`xenolith: ${line}`), err);
    assert.equal(err.split('\n').length, 2);
  }
});

test('audit: a table of accesses, or one document', async () => {
  const { code, out } = await xenolith('audit', guest('hello64'), '--memory', '32');
  assert.equal(code, 0);
  assert.match(out, /^vcpu_info +slot +update_vcpu_system_time +write +\d+ +0$/m);
  assert.match(out, /The guest ended: /);
  const report = JSON.parse((await xenolith('audit', guest('hello64'), '--memory', '32', '--json')).out);
  assert.equal(report.exitCode, 0);
  assert.ok(report.areas.every((row: { count: number }) => row.count > 0));
  assert.deepEqual(Object.keys(report), ['exitCode', 'end', 'xen', 'areas', 'counts', 'unclaimed']);
});

test('audit: under the NULL design the run stops and the report names the site', async () => {
  const options = ['--vcpus', '34', '--memory', '32', '--set', 'vcpu-info-unset=fault'];
  const { code, out } = await xenolith('audit', guest('vcpuinit64'), ...options);
  assert.equal(code, 6);
  assert.match(out, /NULL dereferenced by \w+/);
});

test('diff: exit status 1 with both calls side by side, 0 without a difference', async () => {
  const options = ['--memory', '32', '--xen', '4.18', '--xen', '4.19'];
  const different = await xenolith('diff', guest('vcpuinit64'), '--vcpus', '34', ...options);
  assert.equal(different.code, 1);
  assert.match(different.out, /> +#\d+ +vcpu_op VCPUOP_initialise.* = -EINVAL +vcpu_op VCPUOP_initialise.* = 0$/m);
  const json = await xenolith('diff', guest('vcpuinit64'), '--vcpus', '34', '--json', ...options);
  assert.equal(JSON.parse(json.out).divergence.left.vcpu, 0);
  const same = await xenolith('diff', guest('hello64'), ...options, '--set', 'reported-version=4.19');
  assert.equal(same.code, 0);
  assert.match(same.out, /^no difference in \d+ hypercalls$/m);
});
