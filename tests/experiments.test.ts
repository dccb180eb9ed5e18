/**
 * The experiments: what their tables say, that they say it again, and that real Xen says the same.
 * docs/real-xen/README.md tells how the records were made.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { COMMANDS } from '../src/cli/commands/index.ts';
import type { Host } from '../src/cli/host.ts';
import { main } from '../src/cli/main.ts';
import { program } from '../src/cli/program.ts';
import { interpreterModules } from '../src/cpu/interpret/instance.ts';
import {
  EXPERIMENTS,
  type ExperimentResult,
  renderData,
  renderText,
  runExperiment,
  runGuest,
  type Surroundings,
} from '../src/lab/experiment/index.ts';
import { RULES } from '../src/xen/index.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const interpreter = interpreterModules();
const image = (name: string): Uint8Array => readFileSync(`${root}/guests/images/${name}.elf`);
const surroundings: Surroundings = { image, interpreter };
const bytesOf = (result: ExperimentResult): string => renderText(result) + JSON.stringify(renderData(result));

/** First results, kept for the tests of what they say. */
const results = new Map<string, ExperimentResult>();
for (const experiment of EXPERIMENTS) {
  test(`experiment ${experiment.name}: the same bytes in every run, and every guest ends as it should`, () => {
    const first = runExperiment(experiment, surroundings);
    results.set(experiment.name, first);
    assert.deepEqual(first.problems, []);
    assert.ok(first.table.rows.length > 0);
    for (const row of first.table.rows) assert.equal(row.length, first.table.columns.length);
    assert.equal(bytesOf(runExperiment(experiment, surroundings)), bytesOf(first));
  });
}

const rowsOf = (name: string): readonly (readonly (string | number)[])[] => results.get(name)?.table.rows ?? [];

test('initialise-without-vcpu-info: refused from vCPU 32 on until 4.18, taken from 4.19 on; the local APIC starts all', () => {
  const rows = rowsOf('initialise-without-vcpu-info');
  assert.equal(rows.length, 24);
  for (const [, way, vcpu, ...cells] of rows) {
    const refused = way !== 'INIT-SIPI-SIPI' && Number(vcpu) >= 32;
    const runs = way === 'INIT-SIPI-SIPI' ? 'runs' : '0, runs';
    const old = refused ? '-EINVAL, down' : runs;
    assert.deepEqual(cells, [old, old, runs, runs, runs, runs], `vCPU ${vcpu}, ${way}`);
  }
});

test('pv-initialise-without-vcpu-info: refused from vCPU 32 on in every release until a place is registered', () => {
  const rows = rowsOf('pv-initialise-without-vcpu-info');
  assert.equal(rows.length, 18);
  for (const [, what, vcpu, ...cells] of rows) {
    const [until417, from418] = String(what).startsWith('register_vcpu_info')
      ? ['-EINVAL', '-EBUSY']
      : Array(2).fill(Number(vcpu) >= 32 && what === 'initialise, up; unregistered' ? '-EINVAL, down' : '0, runs');
    assert.deepEqual(cells, [until417, ...Array(5).fill(from418)], `vCPU ${vcpu}, ${what}`);
  }
});

test('bring-up-cost: the hypercalls need no mode switch, the local APIC goes through real mode', () => {
  const rows = rowsOf('bring-up-cost');
  const [hypercalls, writes, switches] = [5, 6, 7];
  assert.deepEqual(
    rows.map((row) => [row[0], row[hypercalls], row[writes], row[switches]]),
    [
      ['64-bit', 2, 0, 0],
      ['64-bit', 0, 5, 4],
      ['32-bit', 2, 0, 0],
      ['32-bit', 0, 5, 2],
      ['PV, 64-bit', 2, 0, 0],
      ['PV, 32-bit', 2, 0, 0],
    ],
  );
});

test('null-vcpu-info: only running and the clock are harmless', () => {
  const harmless = rowsOf('null-vcpu-info').filter((row) => row[2] === 'none');
  assert.deepEqual(
    harmless.map((row) => row[0]),
    ['started by the local APIC, runs, goes down'],
  );
});

test('dummy-audit: updates of the clock are among the work done for nobody', () => {
  const clock = rowsOf('dummy-audit').find(([site]) => site === 'update_vcpu_system_time');
  assert.ok(clock !== undefined && Number(clock[2]) >= 100, String(clock));
});

for (const file of globSync('docs/real-xen/*/*.txt', { cwd: root }).sort()) {
  const version = file.split(/[\\/]/).at(-2);
  test(`${basename(file, '.txt')}: every line as on real Xen ${version}`, () => {
    const text = readFileSync(`${root}/${file}`, 'utf8').split('\n');
    const given = (name: string): string =>
      text.find((line) => line.startsWith(`# ${name}: `))?.slice(`# ${name}: `.length) ?? '';
    const real = text.filter((line) => line !== '' && !line.startsWith('#') && !line.startsWith('---'));
    const xen = '4.17' as const;
    assert.equal(version, xen);
    const { lines, end } = runGuest(
      { guest: given('guest'), vcpus: Number(given('vcpus')), xen, cmdline: given('cmdline') },
      surroundings,
    );
    assert.equal(end, 'poweroff');
    assert.ok(real.length > 1);
    assert.deepEqual(lines, real);
  });
}

for (const width of [64, 32]) {
  test(`smp, ${width}-bit: 128 vCPUs started by each way, each with its APIC id`, (context) => {
    const started = performance.now();
    const { lines, end } = runGuest({ guest: `smp${width}`, vcpus: 128, xen: '4.22' }, surroundings);
    context.diagnostic(`${(performance.now() - started).toFixed(0)} ms`);
    const others = Array.from({ length: 127 }, (_, n) => n + 1);
    assert.equal(end, 'poweroff');
    assert.deepEqual(lines, [
      'vcpus 128',
      ...['hypercall', 'apic'].flatMap((way) => others.map((vcpu) => `${way} vcpu ${vcpu} apic ${2 * vcpu}`)),
    ]);
  });
}

for (const width of [64, 32]) {
  test(`smp, PV, ${width}-bit: 256 vCPUs, of which those from 32 on register a place first`, () => {
    const { lines, end } = runGuest({ guest: `smppv${width}`, vcpus: 256, xen: '4.22' }, surroundings);
    assert.equal(end, 'poweroff');
    assert.deepEqual(lines, ['vcpus 256', ...Array.from({ length: 255 }, (_, n) => `vcpu ${n + 1} started`)]);
  });
}

/** Enough of a host for a command that reads images and writes text. */
function testHost(): { readonly host: Host; readonly out: string[]; readonly err: string[] } {
  const out: string[] = [];
  const err: string[] = [];
  const host: Host = {
    stdout: (data) => void out.push(typeof data === 'string' ? data : new TextDecoder().decode(data)),
    stderr: (text) => void err.push(text),
    readFile: (path) => readFileSync(path),
    writeFile: () => {},
    checkWritable: () => {},
    decompress: () => undefined,
    interpreter: async () => interpreter,
    stack: (error) => error.stack ?? error.message,
    now: () => 0,
    wallClock: () => 0,
    breathe: async () => {},
    readInput: () => () => {},
    stopped: undefined,
  };
  return { host, out, err };
}

test('xenolith experiment: an unknown name is exit code 2 and tells the known ones', async () => {
  assert.ok(COMMANDS.some(({ name }) => name === 'experiment'));
  const { host, out, err } = testHost();
  assert.equal(await main(['experiment', 'nonsense'], host, program), 2);
  assert.deepEqual(out, []);
  assert.match(
    err.join(''),
    /unknown experiment nonsense; experiments are initialise-without-vcpu-info, pv-initialise-without-vcpu-info, bring-up-cost/,
  );
});

test('xenolith experiment NAME: prints the table; --json prints the same as one document', async () => {
  const text = testHost();
  assert.equal(await main(['experiment', 'bring-up-cost'], text.host, program), 0);
  assert.match(text.out.join(''), /^bring-up-cost: [\s\S]*INIT-SIPI-SIPI[\s\S]*\n> /);
  const json = testHost();
  assert.equal(await main(['experiment', 'bring-up-cost', '--json'], json.host, program), 0);
  const [document] = JSON.parse(json.out.join('')) as [{ readonly name: string; readonly rows: readonly object[] }];
  assert.equal(document.name, 'bring-up-cost');
  assert.equal(document.rows.length, 6);
  assert.ok('hypercalls' in document.rows[0]!);
});

test('docs/thread.md: every command exists, with its experiment, guest and rules', () => {
  const page = readFileSync(`${root}/docs/thread.md`, 'utf8');
  const commands = [...page.matchAll(/^ {4}xenolith (.+)$/gm)].map(([, line]) => line!.split(' '));
  assert.ok(commands.length > 10);
  for (const [name, operand, ...rest] of commands) {
    const line = [name, operand, ...rest].join(' ');
    assert.ok(
      COMMANDS.some((command) => command.name === name),
      line,
    );
    if (operand === undefined) continue;
    if (name === 'experiment')
      assert.ok(
        EXPERIMENTS.some((experiment) => experiment.name === operand),
        line,
      );
    else assert.ok(readFileSync(`${root}/${operand}`).length > 0, line);
    const set = rest[rest.indexOf('--set') + 1];
    if (rest.includes('--set'))
      assert.ok(
        RULES.some((rule) => rule.name === set?.split('=')[0]),
        line,
      );
  }
  for (const { name } of EXPERIMENTS) assert.ok(page.includes(`xenolith experiment ${name}\n`), name);
});
