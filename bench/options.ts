/** The command line of `npm run bench`. */
import { parseArgs } from 'node:util';
import { type Bits, WORKLOADS } from './workloads.ts';

export const HELP = `usage: npm run bench -- [OPTION...]

Guest instructions per second, start to verdict, and memory; beside QEMU's software emulation, v86 and this processor,
as far as they are installed. The machines take turns, run by run.

  --only NAME,...      which workloads: ${Object.keys(WORKLOADS).join(' ')}
  --bits 32|64|both    which build of the guest (default both)
  --machines NAME,...  which machines: xenolith interpreter qemu v86 native (default all but interpreter)
  --runs N             runs of each machine; medians are shown (default 3)
  --div N              divides the workloads' iteration counts (default 1)
  --no-start           leaves out start to verdict
  --quick              one run of \`int\` with a tenth of its iterations, few starts
  --vcpus              instead: the same total work on 1, 4, 32 and 128 vCPUs
  --json               one JSON document on standard output
  --save               makes the result bench/baseline.json
  --help

Seconds are processor seconds of the thread that runs the guest. Exit code: 0; 1 when a machine did not finish or
results differ; 2 for a wrong option.`;

export const MACHINES = ['xenolith', 'interpreter', 'qemu', 'v86', 'native'] as const;
export type MachineName = (typeof MACHINES)[number];

export interface Options {
  readonly names: readonly string[];
  readonly bits: readonly Bits[];
  readonly machines: readonly MachineName[];
  readonly runs: number;
  readonly div: number;
  /** Starts of each machine; 0 leaves them out. */
  readonly starts: number;
  readonly vcpus: boolean;
  readonly json: boolean;
  readonly save: boolean;
}

/** What is wrong with the command line; the message is for the user. */
export class UsageError extends Error {}

const count = (option: string, text: string | undefined, otherwise: number): number => {
  if (text === undefined) return otherwise;
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new UsageError(`--${option} wants a number from 1 to 999999, not "${text}"`);
  return Number(text);
};

/** Names of a comma-separated list, in the order of `all`. */
function list<T extends string>(option: string, text: string, all: readonly T[]): T[] {
  const given = new Set(text.split(','));
  const known = all.filter((name) => given.delete(name));
  for (const name of given) throw new UsageError(`--${option}: there is no "${name}"; known are ${all.join(', ')}`);
  return known;
}

const BITS: Readonly<Record<string, readonly Bits[]>> = { 32: [32], 64: [64], both: [32, 64] };

/** Throws {@link UsageError}; undefined when help is wanted. */
export function parseOptions(args: readonly string[]): Options | undefined {
  const parsed = parse(args);
  if (parsed.help === true) return undefined;
  const quick = parsed.quick === true;
  const bits = BITS[parsed.bits ?? 'both'];
  if (bits === undefined) throw new UsageError(`--bits is 32, 64 or both, not "${parsed.bits}"`);
  const names = list('only', parsed.only ?? (quick ? 'int' : Object.keys(WORKLOADS).join()), Object.keys(WORKLOADS));
  const machines = list('machines', parsed.machines ?? 'xenolith,qemu,v86,native', MACHINES);
  return {
    names,
    bits,
    machines,
    runs: count('runs', parsed.runs, quick ? 1 : 3),
    div: count('div', parsed.div, quick ? 10 : 1),
    starts: parsed.start === false ? 0 : quick ? 5 : 15,
    vcpus: parsed.vcpus === true,
    json: parsed.json === true,
    save: parsed.save === true,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowNegative: true,
      options: {
        only: { type: 'string' },
        bits: { type: 'string' },
        machines: { type: 'string' },
        runs: { type: 'string' },
        div: { type: 'string' },
        start: { type: 'boolean' },
        quick: { type: 'boolean' },
        vcpus: { type: 'boolean' },
        json: { type: 'boolean' },
        save: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
