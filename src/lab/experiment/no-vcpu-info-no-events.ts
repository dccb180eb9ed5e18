/** What reaches a vCPU that has no vcpu_info. */

import { resultName } from '../../abi/xen/errno.ts';
import { DEFAULT_VERSION } from '../../xen/index.ts';
import type { Cell, Experiment, RunRecord } from './experiment.ts';

/** What the guest reports, and how the table calls it. */
const THINGS: readonly (readonly [key: string, title: string])[] = [
  ['apic-ipi', 'IPI of the local APIC'],
  ['apic-timer', 'timer of the local APIC'],
  ['time-area', 'clock in a registered time area'],
  ['poll', 'event, waited for in SCHEDOP_poll'],
  ['upcall-vector', 'setting an upcall vector'],
  ['event', 'event, upcall vector'],
  ['event-again', '… and another one'],
  ['xen-timer', 'singleshot timer, VIRQ_TIMER'],
];
const REGISTERED: readonly (readonly [key: string, title: string])[] = [
  ['registered', 'registering vcpu_info, then'],
  ['registered-event', 'event, upcall vector'],
  ['registered-event-again', '… and another one'],
];
const VCPUS = [1, 33, 40] as const;

/** The guest's words in the table's. */
function said(record: RunRecord | undefined, vcpu: number, key: string): string {
  const start = `receive vcpu ${vcpu} ${key} `;
  const line = record?.lines.find((each) => each.startsWith(start));
  if (line === undefined) return 'no answer';
  const text = line.slice(start.length);
  const upcalls = /^upcalls (\d+) events (\d+)/.exec(text);
  if (upcalls !== null) return `upcalls ${upcalls[1]}, events ${upcalls[2]}`;
  const rc = /^rc (-?\d+) clock (yes|no)/.exec(text);
  return rc === null ? text : `${resultName(Number(rc[1]))}, ${rc[2]}`;
}

function rows([record]: readonly RunRecord[]): Cell[][] {
  const stray = record?.lines.find((line) => line.startsWith('stray ')) ?? '';
  return [
    ...THINGS.map(([key, title]) => [title, ...VCPUS.map((vcpu) => said(record, vcpu, key))]),
    ...REGISTERED.map(([key, title]) => [title, '', '', said(record, 40, key)]),
    ['callback vector set, nothing sent (vCPU 41)', '', `upcalls ${/ upcalls (\S+)/.exec(stray)?.[1] ?? '?'}`, ''],
  ];
}

function answer(table: readonly (readonly Cell[])[]): string[] {
  const cell = (key: string, column: number): Cell => {
    const title = [...THINGS, ...REGISTERED].find(([name]) => name === key)?.[1];
    const found = key.startsWith('registered')
      ? table.filter((row) => row[0] === title).at(-1)
      : table.find((row) => row[0] === title);
    return found?.[column] ?? '';
  };
  const apic = ['apic-ipi', 'apic-timer', 'poll'].every((key) => cell(key, 2) === 'yes' && cell(key, 3) === 'yes');
  const lost = ['event', 'event-again', 'xen-timer'].every((key) =>
    [2, 3].every((n) => /events 0$/.test(`${cell(key, n)}`)),
  );
  return [
    `An unregistered vCPU ${apic ? 'receives' : 'does not always receive'} what its local APIC brings, and SCHEDOP_poll wakes it.`,
    `Event channels: ${lost ? 'no event is ever found: an upcall comes at most once, since the selector bit stays set in a page that the guest cannot read or clear, and a bit left by one vCPU silences the next' : 'some events are found'}.`,
    `Registration repairs it: ${cell('registered-event-again', 3)} for each event after it.`,
  ];
}

export const noVcpuInfoNoEvents: Experiment = {
  name: 'no-vcpu-info-no-events',
  question: 'What can a vCPU without vcpu_info receive, and what not?',
  runs: [{ guest: 'dummy64', vcpus: 64, xen: DEFAULT_VERSION }],
  columns: ['brought by', 'vCPU 1 (slot in shared_info)', 'vCPU 33 (none)', 'vCPU 40 (none; registers later)'],
  rows,
  answer,
};
