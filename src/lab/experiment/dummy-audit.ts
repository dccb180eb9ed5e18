/** Which places of the hypervisor work on the dummy page for vCPUs that never registered a vcpu_info. */
import { DEFAULT_VERSION } from '../../xen/index.ts';
import type { Cell, Experiment, RunRecord } from './experiment.ts';

const VCPUS = 64;
/** Everything the guest can do to unregistered vCPUs. */
const STEPS = 'block unmask timer spiv receive crowd stray';
const TIME_SITE = 'update_vcpu_system_time';

const rows = (records: readonly RunRecord[]): Cell[][] =>
  records.flatMap(({ accesses }) => accesses.map(({ site, mode, count, vcpus }) => [site, mode, count, vcpus]));

function answer(table: readonly (readonly Cell[])[]): string[] {
  const sum = (keep: (row: readonly Cell[]) => boolean): number =>
    table.filter(keep).reduce((total, row) => total + Number(row[2]), 0);
  const sites = new Set(table.map(([site]) => site));
  const reads = sum(([, mode]) => mode !== 'write');
  const wasted = sum(([site]) => site === TIME_SITE);
  return [
    `${sites.size} places use the dummy, ${sum(() => true)} times in all; ${reads} of these uses depend on what it holds.`,
    `${wasted} updates of the clock were written where no guest can read them.`,
  ];
}

export const dummyAudit: Experiment = {
  name: 'dummy-audit',
  question: `Who in the hypervisor reads or writes the dummy vcpu_info, with ${VCPUS} vCPUs of which those from 32 on registered none?`,
  runs: [{ guest: 'dummy64', vcpus: VCPUS, xen: DEFAULT_VERSION, cmdline: STEPS, observe: 'accesses' }],
  columns: ['place in the hypervisor', 'access', 'times', 'vCPUs'],
  rows,
  answer,
};
