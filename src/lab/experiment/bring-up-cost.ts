/** What the two ways to start a vCPU cost. */
import { DEFAULT_VERSION } from '../../xen/index.ts';
import type { Cell, Experiment, RunRecord } from './experiment.ts';

const WAYS: Readonly<Record<number, string>> = { 1: 'VCPUOP_initialise, up', 2: 'INIT-SIPI-SIPI' };
const [STARTED_BY, TOTAL, HYPERCALLS, APIC_WRITES, SWITCHES] = [1, 4, 5, 6, 7];

const rows = (records: readonly RunRecord[]): Cell[][] =>
  records.flatMap(({ spec, bringUps }) =>
    bringUps.map(({ vcpu, starter, started, hypercalls, apicWrites, modes }) => [
      `${spec.guest.slice(-2)}-bit`,
      WAYS[vcpu] ?? `vCPU ${vcpu}`,
      starter,
      started,
      starter + started,
      hypercalls,
      apicWrites,
      modes.length - 1,
      modes.join(' > '),
    ]),
  );

function answer(table: readonly (readonly Cell[])[]): string[] {
  return ['64-bit', '32-bit'].flatMap((width) => {
    const [call, apic] = [1, 2].map((way) => table.find((row) => row[0] === width && row[STARTED_BY] === WAYS[way]));
    if (call === undefined || apic === undefined) return [`${width}: not every way started its vCPU.`];
    return [
      `${width}: ${call[TOTAL]} instructions, ${call[HYPERCALLS]} hypercalls and ${call[SWITCHES]} mode switches against ${apic[TOTAL]} instructions, ${apic[APIC_WRITES]} register writes (${apic[HYPERCALLS]} hypercalls) and ${apic[SWITCHES]} mode switches.`,
    ];
  });
}

export const bringUpCost: Experiment = {
  name: 'bring-up-cost',
  question:
    'What does it take until a new vCPU executes its first 64-bit (for a 32-bit guest: protected-mode) instruction, from the first step of the vCPU that starts it?',
  runs: [64, 32].map((width) => ({
    guest: `bringup${width}`,
    vcpus: 3,
    xen: DEFAULT_VERSION,
    observe: 'bring-up' as const,
  })),
  columns: [
    'guest',
    'started by',
    'starter',
    'started',
    'instructions',
    'hypercalls',
    'WRMSR',
    'mode switches',
    'modes of the new vCPU',
  ],
  rows,
  answer,
};
