/** Measures: every machine runs once, then every machine again, so that what else the host does meets all of them alike. */
import { join } from 'node:path';
import { type Command, type Machine, root } from './machines.ts';
import type { Options } from './options.ts';
import { type Run, stamp, type Work } from './stamp.ts';
import { type Bits, WORKLOADS } from './workloads.ts';

/** Medians of one workload on one machine. */
export interface Speed {
  /** Processor seconds of the busiest thread (elapsed seconds where that is unknown). */
  readonly seconds: number;
  /** Of all threads. */
  readonly all: number;
  /** Guest instructions per microsecond of `seconds`. */
  readonly mips: number;
  readonly checksum: string;
}

export interface Measured {
  readonly speeds: Readonly<Record<string, Speed>>;
  /** Peak resident memory of the process, MiB: the largest of the runs. */
  readonly residentMib?: number;
}

/** Milliseconds from process start to its end. */
export interface Start {
  readonly median: number;
  readonly best: number;
}

/** Says on standard error what is being done or went wrong. */
export type Note = (text: string) => void;

/** Middle value; undefined when nothing was measured. */
export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length & 1 ? sorted[middle] : sorted.length ? (sorted[middle - 1]! + sorted[middle]!) / 2 : undefined;
}

/** Milliseconds after which a machine that has not ended is stopped: one that hangs must not hold up the others. */
const WORK_LIMIT = 600_000,
  START_LIMIT = 60_000;

/** Runs again when the process was gone before its processor time could be read, which happens on a busy host. */
export async function run([command, ...args]: Command, limit = WORK_LIMIT): Promise<Run> {
  for (let attempt = 1; ; attempt++) {
    const result = await stamp(command, args, limit);
    const known = [...result.work.values()].every((work) => work.top !== undefined);
    if (known || attempt === 3 || process.platform !== 'linux') return result;
  }
}

/** Those whose processor time is known, if there are any: elapsed seconds are another thing. */
export const comparable = (works: readonly Work[]): readonly Work[] => {
  const known = works.filter((work) => work.top !== undefined);
  return known.length > 0 ? known : works;
};

/** Speed of the machines on one build of the guest; a machine or workload that did not finish is missing. */
export async function measureSpeed(
  machines: readonly Machine[],
  bits: Bits,
  options: Options,
  note: Note,
): Promise<Record<string, Measured>> {
  const found = new Map<Machine, Run[]>(machines.map((machine) => [machine, []]));
  for (let round = 1; round <= options.runs; round++)
    for (const [machine, results] of found) {
      const names = machine.able(bits, options.names);
      if (names.length === 0) continue;
      const result = await run(machine.command(bits, names, options.div));
      const missing = names.filter((name) => !result.work.has(name));
      const at = `bench${bits}, run ${round} of ${options.runs}, ${machine.name}`;
      if (missing.length > 0)
        note(`${at}: no result for ${missing.join(', ')} (${result.status}):\n${result.output.slice(-500)}`);
      else note(`${at}: ${result.wall.toFixed(1)} s`);
      results.push(result);
    }
  const measured: Record<string, Measured> = {};
  for (const [machine, results] of found) {
    if (results.length === 0) continue;
    const resident = Math.max(...results.map((result) => result.resident ?? 0));
    measured[machine.name] = {
      speeds: medians(results, bits, options),
      ...(resident > 0 && { residentMib: resident / 2 ** 20 }),
    };
  }
  return measured;
}

function medians(results: readonly Run[], bits: Bits, { names, div }: Options): Record<string, Speed> {
  const speeds: Record<string, Speed> = {};
  for (const name of names) {
    const works = comparable(results.flatMap((result) => result.work.get(name) ?? []));
    const seconds = median(works.map((work) => work.top ?? work.wall));
    const all = median(works.map((work) => work.cpu ?? work.wall));
    if (seconds === undefined || all === undefined) continue;
    const checksum = [...new Set(works.map((work) => work.checksum))].join('/');
    speeds[name] = { seconds, all, mips: WORKLOADS[name]!.millions[bits] / div / seconds, checksum };
  }
  return speeds;
}

/** Start to verdict: of hello64 here, of the benchmark guest told to do nothing elsewhere, of Node without a script. */
export async function measureStart(
  machines: readonly Machine[],
  starts: number,
  note: Note,
): Promise<Record<string, Start>> {
  const commands: Record<string, Command> = { 'node -e 0': [process.execPath, '-e', '0'] };
  for (const machine of machines)
    if (machine.name === 'xenolith')
      commands['xenolith'] = [
        process.execPath,
        ...[join(root, 'bin', 'xenolith.mjs'), 'run', join(root, 'guests', 'images', 'hello64.elf')],
      ];
    else if (machine.name === 'qemu' || machine.name === 'v86') commands[machine.name] = machine.command(32, [], 1);
  const walls: Record<string, number[]> = {};
  // The first start fills the caches of disk and compiler and is not counted.
  for (let i = -1; i < starts; i++)
    for (const [name, command] of Object.entries(commands)) {
      const result = await run(command, START_LIMIT);
      // QEMU's exit device makes 33 of a good end.
      if (result.status !== 0 && !(name === 'qemu' && result.status === 33)) {
        note(`start of ${name} ended with ${result.status}:\n${result.output.slice(-500)}`);
        delete commands[name];
      } else if (i >= 0) {
        walls[name] ??= [];
        walls[name].push(result.wall * 1000);
      }
    }
  note(`${starts} starts of ${Object.keys(commands).join(', ')}`);
  return Object.fromEntries(
    Object.entries(walls)
      .filter(([name]) => name in commands)
      .map(([name, values]) => [name, { median: median(values)!, best: Math.min(...values) }]),
  );
}
