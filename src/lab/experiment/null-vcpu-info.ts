/** The other design debated: no dummy page, a NULL pointer until registration. Who would have followed it first? */
import { DEFAULT_VERSION } from '../../xen/index.ts';
import type { Cell, Experiment, RunRecord, RunSpec } from './experiment.ts';

/** Steps of the guest, and what happens to vCPU 33 in each. */
const STEPS: readonly (readonly [step: string, title: string])[] = [
  ['run', 'started by the local APIC, runs, goes down'],
  ['hlt', 'waits in HLT'],
  ['block', 'waits in SCHEDOP_block'],
  ['send', 'an event is sent to it'],
  ['unmask', 'a pending event is unmasked'],
  ['timer', 'its singleshot timer runs out while it is down'],
  ['spiv', 'has an upcall vector, enables its local APIC'],
  ['vector', 'runs with a callback vector'],
];
const VCPUS = 64;
const NONE = 'none';

const runs = STEPS.flatMap(([cmdline]): RunSpec[] => {
  const spec: RunSpec = { guest: 'dummy64', vcpus: VCPUS, xen: DEFAULT_VERSION, cmdline };
  return [spec, { ...spec, rules: { 'vcpu-info-unset': 'fault' } }];
});

function rows(records: readonly RunRecord[]): Cell[][] {
  return STEPS.map(([step, title]) => {
    const [dummy, none] = [false, true].map((fault) =>
      records.find(({ spec }) => spec.cmdline === step && (spec.rules !== undefined) === fault),
    );
    const said = dummy?.lines.find((line) => line.startsWith(`${step} vcpu 33 `))?.slice(`${step} vcpu 33 `.length);
    return [title, said ?? dummy?.end ?? 'no answer', none?.fault ?? NONE, ending(none)];
  });
}

function ending(record: RunRecord | undefined): string {
  if (record === undefined) return 'no answer';
  return record.fault === undefined ? record.end : 'Xen crashes';
}

function answer(table: readonly (readonly Cell[])[]): string[] {
  const harmless = table.filter((row) => row[2] === NONE).map(([title]) => title);
  const sites = new Set(table.filter((row) => row[2] !== NONE).map((row) => row[2]));
  return [
    `Without a dummy ${table.length - harmless.length} of ${table.length} things a guest may do follow the NULL pointer, at ${sites.size} places: each would need a test first.`,
    `Harmless: ${harmless.join('; ') || 'nothing'} (updates of the clock test the pointer already).`,
  ];
}

export const nullVcpuInfo: Experiment = {
  name: 'null-vcpu-info',
  question: 'If vcpu_info of an unregistered vCPU were a NULL pointer, what would dereference it first?',
  runs,
  columns: ['vCPU 33, unregistered', 'with the dummy page', 'first to follow NULL', 'then'],
  rows,
  answer,
  mayCrash: true,
};
