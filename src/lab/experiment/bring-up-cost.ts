/** What the two ways to start a vCPU cost. */
import { DEFAULT_VERSION } from '../../xen/index.ts';
import type { Cell, Experiment, RunRecord } from './experiment.ts';

const WAYS: Readonly<Record<number, string>> = { 1: 'VCPUOP_initialise, up', 2: 'INIT-SIPI-SIPI' };
const [STARTED_BY, TOTAL, HYPERCALLS, APIC_WRITES, SWITCHES] = [1, 4, 5, 6, 7];

const GUESTS = ['bringup64', 'bringup32', 'bringuppv64', 'bringuppv32'] as const;
const titleOf = (guest: string): string => `${guest.includes('pv') ? 'PV, ' : ''}${guest.slice(-2)}-bit`;

const rows = (records: readonly RunRecord[]): Cell[][] =>
  records.flatMap(({ spec, bringUps }) =>
    bringUps.map(({ vcpu, starter, started, hypercalls, apicWrites, modes }) => [
      titleOf(spec.guest),
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
  return GUESTS.map((guest) => {
    const title = titleOf(guest);
    const [call, apic] = [1, 2].map((way) => table.find((row) => row[0] === title && row[STARTED_BY] === WAYS[way]));
    const pv = title.startsWith('PV');
    if (call === undefined || (apic === undefined && !pv)) return `${title}: not every way started its vCPU.`;
    const said = `${title}: ${call[TOTAL]} instructions, ${call[HYPERCALLS]} hypercalls and ${call[SWITCHES]} mode switches`;
    if (apic === undefined) return `${said}; there is no other way.`;
    return `${said} against ${apic[TOTAL]} instructions, ${apic[APIC_WRITES]} register writes (${apic[HYPERCALLS]} hypercalls) and ${apic[SWITCHES]} mode switches.`;
  });
}

export const bringUpCost: Experiment = {
  name: 'bring-up-cost',
  question:
    'What does it take until a new vCPU executes its first instruction in the mode its guest works in, from the first step of the vCPU that starts it?',
  runs: GUESTS.map((guest) => ({
    guest,
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
