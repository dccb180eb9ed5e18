/** The other half of the question of the thread: PV vCPUs, for which the check stayed. */

import { resultName } from '../../abi/xen/errno.ts';
import { VERSIONS, type Version } from '../../xen/index.ts';
import type { Cell, Experiment, RunRecord, RunSpec } from './experiment.ts';

const VCPUS = [1, 31, 32, 40, 63] as const;
const WIDTHS = [64, 32] as const;
const FIRST_WITHOUT_SLOT = 32;
const STEPS = ['unregistered', 'registered'] as const;
type Step = (typeof STEPS)[number];
const RUNS = '0, runs';
const REFUSED = '-EINVAL, down';

const guestOf = (width: number): string => `vcpuinitpv${width}`;
/** vCPUs with a slot in shared_info run before they register, and cannot be initialised twice. */
const stepsOf = (vcpu: number): readonly Step[] => (vcpu < FIRST_WITHOUT_SLOT ? ['unregistered'] : STEPS);

/** What one run says of VCPUOP_initialise and VCPUOP_up of one vCPU. */
function outcome(record: RunRecord | undefined, vcpu: number, step: Step): string {
  const lines = record?.lines ?? [];
  const start = `${step} vcpu ${vcpu} `;
  const rc = lines.find((line) => line.startsWith(`${start}early-up `))?.match(/ initialise (-?\d+) /)?.[1];
  const ran = lines.find((line) => line.startsWith(`${start}ran `));
  if (rc === undefined || ran === undefined) return 'no answer';
  return `${resultName(Number(rc))}, ${ran.includes(' ran yes ') ? 'runs' : 'down'}`;
}

/** What registering a second time answers. */
function again(record: RunRecord | undefined): string {
  const line = record?.lines.find((each) => /^registered vcpu \d+ rc 0 again /.test(each));
  const rc = line?.match(/ again (-?\d+)$/)?.[1];
  return rc === undefined ? 'no answer' : resultName(Number(rc));
}

function rows(records: readonly RunRecord[]): Cell[][] {
  const find = (xen: Version, width: number): RunRecord | undefined =>
    records.find(({ spec }) => spec.xen === xen && spec.guest === guestOf(width));
  return WIDTHS.flatMap((width) => [
    ...VCPUS.flatMap((vcpu) =>
      stepsOf(vcpu).map((step) => [
        `${width}-bit`,
        `initialise, up; ${step}`,
        vcpu,
        ...VERSIONS.map((xen) => outcome(find(xen, width), vcpu, step)),
      ]),
    ),
    [`${width}-bit`, 'register_vcpu_info, the second time', 'any', ...VERSIONS.map((xen) => again(find(xen, width)))],
  ]);
}

function answer(table: readonly (readonly Cell[])[]): string[] {
  const every = (keep: (row: readonly Cell[]) => boolean, text: string): boolean =>
    table.filter(keep).every((row) => row.slice(3).every((cell) => cell === text));
  const high = (row: readonly Cell[]): boolean => Number(row[2]) >= FIRST_WITHOUT_SLOT;
  const registered = (row: readonly Cell[]): boolean => String(row[1]).endsWith(' registered');
  const refused = every((row) => high(row) && !registered(row), REFUSED);
  const taken = every((row) => (high(row) ? registered(row) : Number(row[2]) > 0), RUNS);
  return [
    `Every release ${refused ? 'refuses' : 'does not always refuse'} to initialise an unregistered PV vCPU from 32 on: its interrupt flag would be in a page that it cannot reach.`,
    `${taken ? 'All others run' : 'Not all others run'}: those with a place in shared_info, and those that registered one.`,
  ];
}

export const pvInitialiseWithoutVcpuInfo: Experiment = {
  name: 'pv-initialise-without-vcpu-info',
  question: 'Can a PV vCPU whose vcpu_info nobody registered be initialised, and does it run?',
  runs: VERSIONS.flatMap((xen) => WIDTHS.map((width): RunSpec => ({ guest: guestOf(width), vcpus: 64, xen }))),
  columns: ['guest', 'what is done', 'vCPU', ...VERSIONS],
  rows,
  answer,
};
