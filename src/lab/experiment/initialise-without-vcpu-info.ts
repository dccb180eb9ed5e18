/** The question of the thread: what becomes of vCPUs that nobody registered a vcpu_info for, in every release. */

import { resultName } from '../../abi/xen/errno.ts';
import { VERSIONS, type Version } from '../../xen/index.ts';
import type { Cell, Experiment, RunRecord, RunSpec } from './experiment.ts';

const VCPUS = [1, 31, 32, 40, 63, 127] as const;
const WIDTHS = [64, 32] as const;
const WAYS = ['hypercall', 'apic'] as const;
type Way = (typeof WAYS)[number];
const WAY_TITLES: Readonly<Record<Way, string>> = { hypercall: 'VCPUOP_initialise, up', apic: 'INIT-SIPI-SIPI' };
const RUNS = 'runs';

const guestOf = (width: number): string => `vcpuinit${width}`;

/** What one run says of one vCPU started one way. */
function outcome(record: RunRecord | undefined, vcpu: number, way: Way): string {
  const lines = record?.lines ?? [];
  const ran = lines.find((line) => line.startsWith(`${way} vcpu ${vcpu} ran `));
  const rc = lines.find((line) => line.startsWith(`${way} vcpu ${vcpu} initialise `))?.split(' ')[4];
  if (ran === undefined) return 'no answer';
  const result = ran.includes(' ran yes ') ? (ran.includes(` apic ${2 * vcpu} `) ? RUNS : 'wrong APIC id') : 'down';
  return rc === undefined ? result : `${resultName(Number(rc))}, ${result}`;
}

function rows(records: readonly RunRecord[]): Cell[][] {
  const find = (xen: Version, width: number): RunRecord | undefined =>
    records.find(({ spec }) => spec.xen === xen && spec.guest === guestOf(width));
  return WIDTHS.flatMap((width) =>
    WAYS.flatMap((way) =>
      VCPUS.map((vcpu) => [
        `${width}-bit`,
        WAY_TITLES[way],
        vcpu,
        ...VERSIONS.map((xen) => outcome(find(xen, width), vcpu, way)),
      ]),
    ),
  );
}

function answer(table: readonly (readonly Cell[])[]): string[] {
  const cells = (way: Way, keep: (vcpu: number) => boolean, version: number): Cell[] =>
    table.filter((row) => row[1] === WAY_TITLES[way] && keep(Number(row[2]))).map((row) => row[3 + version]);
  const all = (found: readonly Cell[], text: string): boolean => found.every((cell) => cell === text);
  const refusing = VERSIONS.filter((_, n) =>
    all(
      cells('hypercall', (vcpu) => vcpu >= 32, n),
      '-EINVAL, down',
    ),
  );
  const taking = VERSIONS.filter((_, n) =>
    all(
      cells('hypercall', (vcpu) => vcpu >= 32, n),
      `0, ${RUNS}`,
    ),
  );
  const low = VERSIONS.every((_, n) =>
    all(
      cells('hypercall', (vcpu) => vcpu < 32, n),
      `0, ${RUNS}`,
    ),
  );
  const apic = VERSIONS.every((_, n) =>
    all(
      cells('apic', () => true, n),
      RUNS,
    ),
  );
  return [
    `vCPUs from 32 on: ${refusing.join(', ') || 'no release'} refuse VCPUOP_initialise; ${taking.join(', ') || 'no release'} take it and the vCPU runs.`,
    `vCPUs below 32 ${low ? 'start' : 'do not always start'} by VCPUOP_initialise in every release.`,
    `The local APIC ${apic ? 'starts every one of them in every release: the check never kept such vCPUs from running' : 'does not start all of them'}.`,
  ];
}

export const initialiseWithoutVcpuInfo: Experiment = {
  name: 'initialise-without-vcpu-info',
  question: 'Can an HVM vCPU whose vcpu_info nobody registered be initialised, and does it run?',
  runs: VERSIONS.flatMap((xen) => WIDTHS.map((width): RunSpec => ({ guest: guestOf(width), vcpus: 128, xen }))),
  columns: ['caller', 'started by', 'vCPU', ...VERSIONS],
  rows,
  answer,
};
