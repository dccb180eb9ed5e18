/** `xenolith experiment`: questions about Xen's behaviour, answered by running guests. */

import {
  EXPERIMENTS,
  type Experiment,
  type ExperimentResult,
  renderData,
  renderText,
  runExperiment,
} from '../../lab/index.ts';
import type { InterpreterModules } from '../../xen/index.ts';
import { type Arguments, type Command, EXIT, UsageError } from '../command.ts';
import { guestImage } from '../guest-images.ts';
import type { Host } from '../host.ts';

export const experiment: Command = {
  name: 'experiment',
  summary: 'answer a question about vCPUs by running built-in guests; without a name, all of them',
  operands: '[NAME]',
  operandCount: [0, 1],
  options: [{ name: 'json', help: 'print one JSON document instead of tables' }],
  run: execute,
};

async function execute(args: Arguments, host: Host): Promise<number> {
  const chosen = choose(args.positionals[0]);
  const json = args.switches.has('json');
  const surroundings = { image: (name: string) => host.readFile(guestImage(name)), ...(await interpreterOf(host)) };
  const results: ExperimentResult[] = [];
  for (const each of chosen) {
    await host.breathe();
    if (host.stopped !== undefined) return stopCode(host);
    const result = runExperiment(each, surroundings);
    if (!json) host.stdout(`${results.length === 0 ? '' : '\n'}${renderText(result)}`);
    results.push(result);
  }
  if (json) host.stdout(`${JSON.stringify(results.map(renderData), undefined, 2)}\n`);
  return results.some(({ problems }) => problems.length > 0) ? EXIT.crash : EXIT.success;
}

async function interpreterOf(host: Host): Promise<{ readonly interpreter?: InterpreterModules }> {
  const interpreter = await host.interpreter();
  return interpreter === undefined ? {} : { interpreter };
}

function choose(name: string | undefined): readonly Experiment[] {
  if (name === undefined) return EXPERIMENTS;
  const found = EXPERIMENTS.find((known) => known.name === name);
  if (found !== undefined) return [found];
  throw new UsageError(
    `unknown experiment ${name}; experiments are ${EXPERIMENTS.map((known) => known.name).join(', ')}`,
  );
}

function stopCode(host: Host): number {
  if (host.stopped === 'broken-pipe') return EXIT.brokenPipe;
  host.stderr('xenolith: interrupted\n');
  return host.stopped === 'terminate' ? EXIT.terminated : EXIT.interrupted;
}
