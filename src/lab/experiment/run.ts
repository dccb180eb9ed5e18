/** Runs the guests of an experiment and makes its table. */
import type { Stop } from '../../xen/index.ts';
import { Machine } from '../machine/machine.ts';
import { AccessCounts } from './access-counts.ts';
import { BringUpMeter, type Mode } from './bring-up-meter.ts';
import type { Experiment, ExperimentResult, RunRecord, RunSpec, Surroundings } from './experiment.ts';

const MEMORY_MIB = 16;
/** Guest time after which a run is given up, ns. */
const TIME_LIMIT = 60_000_000_000n;
const POWEROFF = 0;

/** Runs one guest to its end. */
export function runGuest(spec: RunSpec, surroundings: Surroundings): RunRecord {
  const accesses = new AccessCounts();
  const machine = new Machine(surroundings.image(spec.guest), {
    xen: spec.xen,
    memory: MEMORY_MIB,
    vcpus: spec.vcpus,
    ...(spec.rules === undefined ? {} : { set: spec.rules }),
    ...(spec.cmdline === undefined ? {} : { cmdline: spec.cmdline }),
    ...(spec.observe === 'accesses' ? { onAccess: (access) => accesses.add(access) } : {}),
    ...(surroundings.interpreter === undefined ? {} : { interpreter: surroundings.interpreter }),
    ...(surroundings.schedule === undefined ? {} : { schedule: surroundings.schedule }),
  });
  const { control } = machine;
  const { access } = control.machine.domain.info;
  let fault: string | undefined;
  const crash = access.onFault;
  access.onFault = (seen) => {
    fault ??= `${seen.site} (${seen.mode})`;
    crash(seen);
  };
  const meter = spec.observe === 'bring-up' ? new BringUpMeter(control, modeOf(spec.guest)) : undefined;
  let stop = machine.run({ until: TIME_LIMIT });
  while (stop.kind === 'paused') {
    if (meter?.wanted === true) meter.measure();
    stop = machine.run({ until: TIME_LIMIT });
  }
  return {
    spec,
    lines: machine.console.split('\n').filter((line) => line !== '' && !line.startsWith('---')),
    end: describeStop(stop),
    ...(fault === undefined ? {} : { fault }),
    accesses: accesses.list(),
    bringUps: meter?.results ?? [],
  };
}

/** Mode in which a guest works, by the end of its name. 32-bit PV kernels run in compatibility mode: the hypervisor's long mode is always on. */
const modeOf = (guest: string): Mode =>
  guest.endsWith('64') ? '64-bit' : guest.endsWith('pv32') ? 'compatibility' : 'protected 32';

function describeStop(stop: Stop): string {
  if (stop.kind !== 'shutdown') return stop.kind;
  const { reason, message } = stop.shutdown;
  if (message !== undefined) return message;
  return reason === POWEROFF ? 'poweroff' : `shutdown, reason ${reason}`;
}

/** Runs everything an experiment needs; takes a second or so. */
export function runExperiment(experiment: Experiment, surroundings: Surroundings): ExperimentResult {
  const records = experiment.runs.map((spec) => runGuest(spec, surroundings));
  const rows = experiment.rows(records);
  const problems = records
    .filter(({ end }) => end !== 'poweroff' && experiment.mayCrash !== true)
    .map(({ spec, end }) => `${spec.guest} with the rules of ${spec.xen}: ${end}`);
  const { name, question, columns } = experiment;
  return { name, question, table: { columns, rows }, answer: experiment.answer(rows), problems };
}
