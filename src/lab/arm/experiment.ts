/** `xenolith experiment arm-filter`. No guest runs: the hypercall table is asked directly. */
import type { Experiment } from '../experiment/experiment.ts';
import { experimentArmFilter } from './arm-filter.ts';

export const armFilter: Experiment = {
  name: 'arm-filter',
  question: 'which vCPU operations can a guest on Arm reach?',
  runs: [],
  columns: ['operation', 'x86', 'Arm', 'Arm, no such vCPU'],
  rows: () =>
    experimentArmFilter().map(({ operation, x86, arm, armNoSuchVcpu }) => [operation, x86, arm, armNoSuchVcpu]),
  answer: (rows) => {
    const passed = rows.filter(([, , arm]) => arm === '0').map(([operation]) => operation);
    return [
      `On Arm only ${passed.join(' and ')} pass; a vCPU that does not exist is -ENOENT before that, and everything else is -EINVAL, unknown operations too.`,
      'VCPUOP_initialise cannot be reached there, so its dummy check only ever mattered on x86; registration by physical address is refused.',
    ];
  },
};
