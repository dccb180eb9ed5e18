/** `npm run bench`: speed, start to verdict, and memory, beside other machines. See options.ts for what it can be asked. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { ensureBuilt } from '../tools/build.ts';
import { findMachines, root } from './machines.ts';
import { type Measured, measureSpeed, measureStart } from './measure.ts';
import { HELP, type Options, parseOptions, UsageError } from './options.ts';
import { mistakes, type Report, show } from './report.ts';
import { measureVcpus, type Shared, showVcpus } from './vcpus.ts';
import type { Bits } from './workloads.ts';

const note = (text: string): void => console.error(`bench: ${text}`);
const baselineFile = join(root, 'bench', 'baseline.json');

async function bench(options: Options): Promise<number> {
  const machines = findMachines(options.machines, options.bits, (name, why) => note(`without ${name}: ${why}`));
  const start = options.starts > 0 ? await measureStart(machines, options.starts, note) : {};
  const guests: Partial<Record<Bits, Record<string, Measured>>> = {};
  for (const bits of options.bits) guests[bits] = await measureSpeed(machines, bits, options, note);
  const report: Report = {
    host: `${cpus()[0]?.model.trim() ?? 'unknown'} x${availableParallelism()}, Node ${process.versions.node}`,
    div: options.div,
    runs: options.runs,
    versions: Object.fromEntries(machines.map(({ name, version }) => [name, version])),
    start,
    guests,
  };
  const baseline: Report | undefined = existsSync(baselineFile)
    ? JSON.parse(readFileSync(baselineFile, 'utf8'))
    : undefined;
  if (options.save) writeFileSync(baselineFile, `${JSON.stringify(report, null, 2)}\n`);
  console.log(options.json ? JSON.stringify(report, null, 2) : show(report, baseline, options.names));
  const wrong = mistakes(report, options.names);
  for (const line of wrong) note(`wrong: ${line}`);
  return wrong.length > 0 ||
    (options.starts > 0 && machines.some(({ name }) => name === 'xenolith') && !start['xenolith'])
    ? 1
    : 0;
}

async function vcpus(options: Options): Promise<number> {
  const found: Partial<Record<Bits, Shared[]>> = {};
  for (const bits of options.bits) found[bits] = await measureVcpus(bits, options, note);
  if (options.json) console.log(JSON.stringify({ div: options.div, runs: options.runs, guests: found }, null, 2));
  else console.log(options.bits.map((bits) => showVcpus(bits, options.div, found[bits]!)).join('\n\n'));
  return options.bits.every((bits) => found[bits]!.length === 4) ? 0 : 1;
}

async function main(): Promise<number> {
  let options: Options | undefined;
  try {
    options = parseOptions(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    note(error.message);
    return 2;
  }
  if (options === undefined) {
    console.log(HELP);
    return 0;
  }
  await ensureBuilt();
  return options.vcpus ? vcpus(options) : bench(options);
}

process.exitCode = await main();
