/** `npm run profile -- GUEST`: where a guest's time goes. */
import { existsSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { interpreterModules } from '../../src/cpu/index.ts';
import { BadInput, Machine, type MachineOptions } from '../../src/index.ts';
import { type Count, type Profile, Profiler, table } from '../../src/lab/index.ts';
import { sampled } from './sampler.ts';

const HELP = `usage: npm run profile -- GUEST [OPTION...]

Runs a PVH or PV kernel and shows where its time goes: compiled code, translation, what makes the guest leave compiled code,
the code cache, the TLB, and the places where its instructions are. GUEST may be a speed guest: bench/guests/bench64.elf.

  --engine auto|interpret|translate
  --memory MIB         (default 128)
  --vcpus N            (default 1)
  --cmdline TEXT
  --instructions N     stops there
  --top N              rows of each list (default 10)
  --json
  --help`;

/** Instructions between looks at where the guest is: prime, so that loops are not met at the same place. */
const STRETCH = 20_011;

class UsageError extends Error {}

interface Options extends MachineOptions {
  readonly guest: string;
  readonly instructions: number;
  readonly top: number;
  readonly json: boolean;
}

const ENGINES = ['auto', 'interpret', 'translate'] as const;

const count = (option: string, text: string | undefined, otherwise: number): number => {
  if (text === undefined) return otherwise;
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new UsageError(`--${option} wants a positive number, not "${text}"`);
  return Number(text);
};

function parse(args: readonly string[]): Options | undefined {
  const { values, positionals } = read(args);
  if (values.help === true) return undefined;
  const [guest] = positionals;
  if (guest === undefined || positionals.length > 1) throw new UsageError('one GUEST is wanted (see --help)');
  if (!existsSync(guest)) throw new UsageError(`${guest}: no such file`);
  const engine = ENGINES.find((known) => known === (values.engine ?? 'auto'));
  if (engine === undefined) throw new UsageError(`--engine is one of ${ENGINES.join(', ')}, not "${values.engine}"`);
  return {
    guest,
    engine,
    memory: count('memory', values.memory, 128),
    vcpus: count('vcpus', values.vcpus, 1),
    instructions: count('instructions', values.instructions, Number.MAX_SAFE_INTEGER),
    top: count('top', values.top, 10),
    json: values.json === true,
    ...(values.cmdline === undefined ? {} : { cmdline: values.cmdline }),
  };
}

function read(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        ...{ engine: text, memory: text, vcpus: text, cmdline: text, instructions: text, top: text },
        ...{ json: flag, help: { ...flag, short: 'h' } },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

interface Result {
  readonly guest: string;
  readonly seconds: number;
  /** Milliseconds by what they were spent on. */
  readonly time: Readonly<Record<string, number>>;
  readonly profile: Profile;
}

async function profile(options: Options): Promise<Result> {
  const interpreter = interpreterModules();
  const machine = new Machine(readFileSync(options.guest), { ...options, interpreter });
  const profiler = new Profiler(machine.control.machine);
  const started = process.hrtime.bigint();
  const time = await sampled(() => {
    while (machine.instructions < options.instructions && machine.run({ instructions: STRETCH }).kind === 'paused')
      profiler.sample();
  });
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  return { guest: options.guest, seconds, time: Object.fromEntries(time), profile: profiler.result() };
}

const spelled = (name: string): string => name.replace(/([A-Z])/g, ' $1').toLowerCase();

function show({ guest, seconds, time, profile }: Result, top: number): string {
  const total = Object.values(time).reduce((a, b) => a + b, 0);
  const percent = (part: number, of: number): string => `${((100 * part) / of).toFixed(1)} %`;
  const parts = [
    `${guest}: ${(profile.instructions / 1e6).toFixed(1)} million instructions in ${seconds.toFixed(2)} s (watched: slower than alone)\n`,
    table(
      ['time spent on', 'ms', 'share'],
      Object.entries(time).map(([what, ms]) => [what, Math.round(ms), percent(ms, total)]),
    ),
  ];
  const list = (head: string, counts: readonly Count[], of?: number): void => {
    if (counts.length === 0) return;
    const rows = counts
      .slice(0, top)
      .map(({ what, count }) => [what, count, ...(of === undefined ? [] : [percent(count, of)])]);
    parts.push(table([head, 'count', ...(of === undefined ? [] : ['share'])], rows));
  };
  list('compiled code left by', profile.exits);
  list('routine', profile.routines);
  list('exception', profile.exceptions);
  list('hypercall', profile.hypercalls);
  list('port', profile.ports);
  list('device page', profile.mmio);
  parts.push(
    table(
      ['code cache and TLB', 'count'],
      [
        ...Object.entries(profile.code).map(([name, value]): [string, number] => [spelled(name), value]),
        ['tlb misses, reads', profile.tlbMisses.reads],
        ['tlb misses, writes', profile.tlbMisses.writes],
      ],
    ),
  );
  list(
    'place',
    profile.places,
    profile.places.reduce((sum, { count }) => sum + count, 0),
  );
  return parts.join('\n');
}

async function main(): Promise<number> {
  try {
    const options = parse(process.argv.slice(2));
    if (options === undefined) console.log(HELP);
    else {
      const result = await profile(options);
      process.stdout.write(options.json ? `${JSON.stringify(result, null, 2)}\n` : show(result, options.top));
    }
    return 0;
  } catch (error) {
    if (!(error instanceof UsageError || error instanceof BadInput)) throw error;
    console.error(`profile: ${error.message}`);
    return 2;
  }
}

process.exitCode = await main();
