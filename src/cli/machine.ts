/** The machine as commands see it; engine.ts supplies the real one, tests a scripted one. */

import type { GuestImage } from '../toolstack/index.ts';
import type { InterpreterModules, Rule, XenMachine } from '../xen/index.ts';

export type Engine = 'auto' | 'interpret' | 'translate';
export const TRACES = ['hypercalls'] as const;
export type Trace = (typeof TRACES)[number];

/** Everything that decides a run: the same plan gives the same run. */
export interface RunPlan {
  readonly image: GuestImage;
  readonly name: string;
  readonly uuid: string;
  readonly memoryMib: number;
  readonly maxMemoryMib: number;
  readonly xen: string;
  readonly rules: Readonly<Record<string, string>>;
  readonly engine: Engine;
  readonly viridian: readonly string[];
  /** `cpuid` of an xl configuration. */
  readonly cpuid: readonly string[];
  /** The forced emulation prefix is recognised, as with Xen's option hvm_fep. */
  readonly forcedEmulation: boolean;
  readonly maxEventChannels?: number;
  readonly maxGrantFrames?: number;
  readonly maxGrantVersion?: number;
  readonly maxMaptrackFrames?: number;
  /** The guest may use pirqs. */
  readonly pirqs?: boolean;
  /** A soft reset that the guest asks for is carried out; otherwise it ends the run. */
  readonly softReset: boolean;
  readonly trace: readonly Trace[];
  /** Ends the run when guest time reaches it, in nanoseconds. */
  readonly timeLimit?: bigint;
}

export interface RunObserver {
  /** The machine is complete and about to run: the place to subscribe to its probes. */
  attach?(machine: XenMachine): void;
  console(bytes: Uint8Array): void;
  /** Bytes the guest wrote to port 0xe9. */
  emergency(bytes: Uint8Array): void;
  /** A line of trace, without its line end. */
  trace(line: string): void;
  /** Asked between slices; anything but undefined ends the run. */
  poll(): Promise<'stop' | 'wall-timeout' | undefined>;
  /** Input for the guest's console since last asked. */
  input(): Uint8Array;
  /** Nanoseconds of real time since the run began if guest time shall not run ahead of it; else undefined. */
  realTime(): bigint | undefined;
  /** Waits a little for real time to pass. */
  wait(): Promise<void>;
}

export interface VcpuReport {
  readonly id: number;
  /** Linear address of the instruction to be executed next. */
  readonly rip: bigint;
  readonly state: string;
}

export interface RunOutcome {
  readonly end: 'shutdown' | 'timeout' | 'wall-timeout' | 'stopped' | 'deadlock';
  /** SHUTDOWN_* when `end` is 'shutdown', and why if the hypervisor decided it. */
  readonly reason?: number;
  readonly message?: string;
  readonly instructions: bigint;
  /** Guest time in nanoseconds. */
  readonly time: bigint;
  readonly vcpus: readonly VcpuReport[];
}

export interface Machine {
  readonly versions: readonly string[];
  readonly defaultVersion: string;
  readonly rules: readonly Rule[];
  readonly engines: readonly Engine[];
  /** Most guest memory the host's linear memory can hold beside the engine. */
  readonly maximumMemoryMib: number;
  /** Throws `BadInput` for settings of the plan that cannot be had. */
  run(plan: RunPlan, observer: RunObserver, interpreter: InterpreterModules | undefined): Promise<RunOutcome>;
}
