/**
 * An experiment is data: a question, the runs of guests that answer it, and how their records become a table.
 * `runExperiment` in `run.ts` does the running. Nothing here depends on the day: the same images give the same bytes.
 */
import type { InterpreterModules, RuleName, SchedulerOptions, Version } from '../../xen/index.ts';
import type { AccessCount } from './access-counts.ts';
import type { BringUp } from './bring-up-meter.ts';

/** One run of a guest. */
export interface RunSpec {
  /** Image, without its folder and extension. */
  readonly guest: string;
  readonly vcpus: number;
  readonly xen: Version;
  readonly rules?: Readonly<Partial<Record<RuleName, string>>>;
  readonly cmdline?: string;
  /** What is watched from outside while the guest runs. */
  readonly observe?: 'accesses' | 'bring-up';
}

/** What is left of a run. */
export interface RunRecord {
  readonly spec: RunSpec;
  /** Lines of the console, but for the guest's title. */
  readonly lines: readonly string[];
  /** How it ended: 'poweroff', or what went wrong. */
  readonly end: string;
  /** Site of the first access through a NULL pointer, where that design is in force. */
  readonly fault?: string;
  /** Accesses to vcpu_info that was never registered; empty unless asked for. */
  readonly accesses: readonly AccessCount[];
  /** One for each vCPU started; empty unless asked for. */
  readonly bringUps: readonly BringUp[];
}

export type Cell = string | number;

export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

export interface Experiment {
  readonly name: string;
  /** One sentence that ends with a question mark. */
  readonly question: string;
  readonly runs: readonly RunSpec[];
  readonly columns: readonly string[];
  /** One row per line of the table, each as long as `columns`. */
  rows(records: readonly RunRecord[]): readonly (readonly Cell[])[];
  /** What follows from the table, computed from its rows. */
  answer(rows: readonly (readonly Cell[])[]): readonly string[];
  /** Runs that are meant to end otherwise than by power off. */
  readonly mayCrash?: boolean;
}

export interface ExperimentResult {
  readonly name: string;
  readonly question: string;
  readonly table: Table;
  readonly answer: readonly string[];
  /** Runs that did not end as they should: the table is not to be trusted then. */
  readonly problems: readonly string[];
}

/** What the runner needs of its surroundings. */
export interface Surroundings {
  /** The image of a guest by name. */
  image(name: string): Uint8Array;
  readonly interpreter?: InterpreterModules;
  /** Slice lengths, to show that results do not depend on them. */
  readonly schedule?: Partial<SchedulerOptions>;
}
