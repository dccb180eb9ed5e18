/**
 * `npm run bench`: process start to verdict of a small guest, and guest instructions per second of the workloads in
 * guests/, beside QEMU's software emulation where it is installed.
 *
 *     --quick             fewer runs, shorter workloads, `int` only
 *     --runs N            repetitions per number (medians are shown)
 *     --div N             divides the workloads' iteration counts
 *     --only int,sort     which workloads
 *     --bits 32|64        which build of the guest (default 64)
 *     --json              one JSON document on standard output
 *     --save              writes bench/baseline.json
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ensureBuilt } from '../tools/build.ts';
import { type Run, stamp } from './stamp.ts';

/** Millions of guest instructions at div=1 (guests/README.md), 32-bit and 64-bit build, and checksums that do not depend on either. */
const instructions: Readonly<Record<string, readonly [number, number]>> = {
  int: [1742.297, 1755.025],
  mem: [733.7, 770.311],
  rep: [68.81, 67.994],
  call: [950.024, 875.015],
  sort: [1809.379, 1802.877],
  sse: [853.644, 854.946],
  cr3: [45.582, 43.482],
  pte: [84.082, 78.082],
  int80: [75, 69],
  pio: [192, 192],
  smc: [42.697, 44.731],
};

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    runs: { type: 'string' },
    div: { type: 'string' },
    only: { type: 'string' },
    bits: { type: 'string', default: '64' },
    json: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
  },
});

const root = fileURLToPath(new URL('..', import.meta.url));
const cli = join(root, 'bin', 'xenolith.mjs');
const wide = options.bits !== '32';
const guest = join(root, 'bench', 'guests', wide ? 'bench64.elf' : 'bench32.elf');
const runs = Number(options.runs ?? (options.quick ? 3 : 5));
const starts = Number(options.runs ?? (options.quick ? 5 : 15));
const div = Number(options.div ?? (options.quick ? 100 : 10));
const names = options.only?.split(',') ?? (options.quick ? ['int'] : Object.keys(instructions));
for (const name of names) if (!instructions[name]) throw new Error(`no workload named ${name}`);

/** Middle value; undefined when nothing was measured. */
function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length & 1 ? sorted[middle] : sorted.length ? (sorted[middle - 1]! + sorted[middle]!) / 2 : undefined;
}

const note = (text: string): void => console.error(`bench: ${text}`);

async function startToVerdict(image: string): Promise<{ median?: number; min?: number; status: Run['status'] }> {
  const walls: number[] = [];
  let status: Run['status'] = null;
  for (let i = 0; i < starts; i++) {
    const run = await stamp(process.execPath, [cli, 'run', image]);
    status = run.status;
    if (status !== 0) {
      note(`${image} ended with ${status}:\n${run.output.slice(-500)}`);
      return { status };
    }
    walls.push(run.wall * 1000);
  }
  return { median: median(walls), min: Math.min(...walls), status };
}

interface Speed {
  /** Processor seconds of the busiest thread (elapsed seconds where that is unknown). */
  readonly seconds: number;
  /** All threads. */
  readonly all: number;
  readonly mips: number;
  readonly checksum: string;
}

async function speeds(what: string, command: string, args: readonly string[]): Promise<Record<string, Speed>> {
  const found: Run[] = [];
  for (let i = 0; i < runs; i++) {
    const run = await stamp(command, args);
    if (run.work.size < names.length) {
      note(
        `${what} finished ${run.work.size} of ${names.length} workloads (${run.status}):\n${run.output.slice(-500)}`,
      );
    }
    found.push(run);
  }
  const result: Record<string, Speed> = {};
  for (const name of names) {
    const works = found.flatMap((run) => run.work.get(name) ?? []);
    const seconds = median(works.map((work) => work.top ?? work.wall));
    const all = median(works.map((work) => work.cpu ?? work.wall));
    if (seconds === undefined || all === undefined) continue;
    const checksums = new Set(works.map((work) => work.checksum));
    if (checksums.size > 1) note(`${what} ${name}: checksums differ between runs: ${[...checksums].join(' ')}`);
    const mips = instructions[name]![wide ? 1 : 0] / div / seconds;
    result[name] = { seconds, all, mips, checksum: works[0]!.checksum };
  }
  return result;
}

await ensureBuilt();
const cmdline = `div=${div} only=${names.join(',')}`;
const start = await startToVerdict(join(root, 'guests', 'images', 'hello64.elf'));
const run = (engine: string): string[] => [
  cli,
  'run',
  guest,
  '--memory',
  '128',
  '--engine',
  engine,
  '--cmdline',
  cmdline,
];
const own = await speeds('xenolith', process.execPath, run('auto'));
const interpreted = await speeds('interpreter', process.execPath, run('interpret'));

const emulator = 'qemu-system-x86_64';
const found = spawnSync(emulator, ['--version'], { encoding: 'utf8' });
const qemuVersion = found.status === 0 ? (/version (\S+)/.exec(found.stdout)?.[1] ?? 'unknown') : undefined;
const qemu =
  qemuVersion === undefined
    ? {}
    : await speeds('qemu', emulator, [
        '-accel',
        'tcg,thread=single',
        '-display',
        'none',
        '-monitor',
        'none',
        '-m',
        '128',
        '-nodefaults',
        '-no-reboot',
        '-serial',
        'stdio',
        '-device',
        'isa-debug-exit,iobase=0xf4,iosize=4',
        '-kernel',
        guest,
        '-append',
        cmdline,
      ]);

const report = {
  host: `${cpus()[0]?.model.trim() ?? 'unknown'} x${availableParallelism()}, Node ${process.versions.node}`,
  qemu: qemuVersion ?? null,
  guest: wide ? 'bench64' : 'bench32',
  div,
  startToVerdictMs: start,
  xenolith: own,
  interpreter: interpreted,
  tcg: qemu,
};

const baselineFile = join(root, 'bench', 'baseline.json');
const baseline: Partial<typeof report> = existsSync(baselineFile) ? JSON.parse(readFileSync(baselineFile, 'utf8')) : {};

function table(): string {
  const lines = [`${report.host}; ${report.guest}, div=${div}${qemuVersion ? `; QEMU ${qemuVersion} TCG` : ''}`, ''];
  const was = baseline.startToVerdictMs?.median;
  lines.push(
    start.median === undefined
      ? 'start to verdict (hello64): failed'
      : `start to verdict (hello64): median ${start.median.toFixed(0)} ms, best ${start.min!.toFixed(0)} ms of ${starts} runs` +
          (was === undefined ? '' : ` (baseline ${was.toFixed(0)} ms)`),
    '',
    'workload    seconds     MIPS   baseline   interpreter   TCG MIPS   of TCG   checksum',
  );
  for (const name of names) {
    const mine = own[name];
    const theirs = qemu[name];
    const before = baseline.guest === report.guest ? baseline.xenolith?.[name]?.mips : undefined;
    const ratio = mine && theirs ? (mine.mips / theirs.mips).toFixed(2) : '';
    const same = mine && theirs && mine.checksum !== theirs.checksum ? `${mine.checksum} but ${theirs.checksum}` : '';
    lines.push(
      [
        name.padEnd(9),
        (mine?.seconds.toFixed(3) ?? '-').padStart(10),
        (mine?.mips.toFixed(0) ?? '-').padStart(9),
        (before?.toFixed(0) ?? '').padStart(11),
        (interpreted[name]?.mips.toFixed(0) ?? '-').padStart(14),
        (theirs?.mips.toFixed(0) ?? '').padStart(11),
        ratio.padStart(9),
        `   ${same || (mine?.checksum ?? '')}`,
      ].join(''),
    );
  }
  return lines.join('\n');
}

if (options.save) writeFileSync(baselineFile, `${JSON.stringify(report, null, 2)}\n`);
console.log(options.json ? JSON.stringify(report, null, 2) : table());
const complete = start.median !== undefined && names.every((name) => own[name] && interpreted[name]);
process.exitCode = complete ? 0 : 1;
