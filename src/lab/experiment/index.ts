/** The experiments, in the order in which they tell the story. */
import { armFilter } from '../arm/experiment.ts';
import { bringUpCost } from './bring-up-cost.ts';
import { dummyAudit } from './dummy-audit.ts';
import type { Experiment } from './experiment.ts';
import { initialiseWithoutVcpuInfo } from './initialise-without-vcpu-info.ts';
import { noVcpuInfoNoEvents } from './no-vcpu-info-no-events.ts';
import { nullVcpuInfo } from './null-vcpu-info.ts';
import { pvInitialiseWithoutVcpuInfo } from './pv-initialise-without-vcpu-info.ts';

export type { AccessCount } from './access-counts.ts';
export type { BringUp } from './bring-up-meter.ts';
export type * from './experiment.ts';
export { renderData, renderText } from './render.ts';
export { runExperiment, runGuest } from './run.ts';

export const EXPERIMENTS: readonly Experiment[] = [
  initialiseWithoutVcpuInfo,
  pvInitialiseWithoutVcpuInfo,
  bringUpCost,
  dummyAudit,
  nullVcpuInfo,
  noVcpuInfoNoEvents,
  armFilter,
];
