/** What it costs that vCPUs take turns: the same total work, dealt out to more and more of them. */
import { join } from 'node:path';
import { root } from './machines.ts';
import { median, type Note } from './measure.ts';
import type { Options } from './options.ts';
import { stamp } from './stamp.ts';
import type { Bits } from './workloads.ts';

const VCPUS = [1, 4, 32, 128] as const;
/** Units of work at div=1: some 2000 million instructions. */
const UNITS = 100_000;

export interface Shared {
  readonly vcpus: number;
  /** Processor seconds of the thread that runs the guest: median. */
  readonly seconds: number;
  /** Relative to one vCPU. */
  readonly slowdown: number;
}

async function seconds(bits: Bits, vcpus: number, units: number, note: Note): Promise<number | undefined> {
  const guest = join(root, 'guests', 'images', `share${bits}.elf`);
  const run = await stamp(process.execPath, [
    ...[join(root, 'bin', 'xenolith.mjs'), 'run', guest, '--memory', '128'],
    ...['--vcpus', String(vcpus), '--cmdline', `work=${units}`],
  ]);
  const work = run.work.get('share');
  if (work === undefined) note(`share${bits} with ${vcpus} vCPUs ended with ${run.status}:\n${run.output.slice(-500)}`);
  return work && (work.top ?? work.wall);
}

export async function measureVcpus(bits: Bits, { runs, div }: Options, note: Note): Promise<Shared[]> {
  const found = new Map<number, number[]>(VCPUS.map((vcpus) => [vcpus, []]));
  for (let round = 1; round <= runs; round++) {
    for (const [vcpus, all] of found) {
      const one = await seconds(bits, vcpus, Math.ceil(UNITS / div), note);
      if (one !== undefined) all.push(one);
    }
    note(`share${bits}, run ${round} of ${runs}`);
  }
  const alone = median(found.get(1)!);
  return VCPUS.flatMap((vcpus) => {
    const middle = median(found.get(vcpus)!);
    return middle === undefined || alone === undefined ? [] : { vcpus, seconds: middle, slowdown: middle / alone };
  });
}

export const showVcpus = (bits: Bits, div: number, rows: readonly Shared[]): string =>
  [
    `share${bits}, div=${div}: the same work on more vCPUs, processor seconds`,
    '',
    'vCPUs  seconds  to one vCPU',
    ...rows.map(
      ({ vcpus, seconds, slowdown }) =>
        `${String(vcpus).padStart(5)}  ${seconds.toFixed(3).padStart(7)}  ${slowdown.toFixed(2).padStart(11)}`,
    ),
  ].join('\n');
