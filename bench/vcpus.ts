/** What it costs that vCPUs take turns: the same total work, dealt out to more and more of them. */
import { join } from 'node:path';
import { root } from './machines.ts';
import { comparable, run as measured, median, type Note } from './measure.ts';
import type { Options } from './options.ts';
import type { Work } from './stamp.ts';
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

async function once(bits: Bits, vcpus: number, units: number, note: Note): Promise<Work | undefined> {
  const guest = join(root, 'guests', 'images', `share${bits}.elf`);
  const run = await measured([
    ...([process.execPath, join(root, 'bin', 'xenolith.mjs'), 'run', guest, '--memory', '128'] as const),
    ...['--vcpus', String(vcpus), '--cmdline', `work=${units}`],
  ]);
  const work = run.work.get('share');
  if (work === undefined) note(`share${bits} with ${vcpus} vCPUs ended with ${run.status}:\n${run.output.slice(-500)}`);
  return work;
}

export async function measureVcpus(bits: Bits, { runs, div }: Options, note: Note): Promise<Shared[]> {
  const found = new Map<number, Work[]>(VCPUS.map((vcpus) => [vcpus, []]));
  for (let round = 1; round <= runs; round++) {
    for (const [vcpus, all] of found) {
      const one = await once(bits, vcpus, Math.ceil(UNITS / div), note);
      if (one !== undefined) all.push(one);
    }
    note(`share${bits}, run ${round} of ${runs}`);
  }
  const middleOf = (vcpus: number): number | undefined =>
    median(comparable(found.get(vcpus)!).map((work) => work.top ?? work.wall));
  const alone = middleOf(1);
  return VCPUS.flatMap((vcpus) => {
    const middle = middleOf(vcpus);
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
