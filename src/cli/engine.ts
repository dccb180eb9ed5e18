/** The real machine behind the commands: one domain under the hypervisor, served by the tool stack. */

import { traceLine } from '../lab/trace/line.ts';
import { BadInput, launch, ramBytes, viridianBits } from '../toolstack/index.ts';
import type { InterpreterModules } from '../xen/index.ts';
import { Control, DEFAULT_VERSION, type MachineConfig, RULES, Rules, type Shutdown, VERSIONS } from '../xen/index.ts';
import type { Machine, RunObserver, RunOutcome, RunPlan } from './machine.ts';

const MIB = 1024 * 1024;
const DOMID = 1;
const SHUTDOWN_soft_reset = 5;
/** Pages a domain may own beyond what it starts with, as xl grants them. */
const SPARE_BYTES = MIB;
/** Instructions between looks at the outside world: some ten milliseconds. Always the same, so that it does not change a run. */
const STRETCH = 500_000;
/** Hypercalls and jumps over idle time between such looks; they may take up to a millisecond each. */
const TURNS = 1_000;
/** 2024-01-01 UTC at system time 0: runs must not depend on the day. */
const WALLCLOCK_BASE = 1_704_067_200n * 1_000_000_000n;

export const machine: Machine = {
  versions: VERSIONS,
  defaultVersion: DEFAULT_VERSION,
  rules: RULES,
  engines: ['auto', 'interpret', 'translate'],
  // 4 GiB of linear memory less the code cache, processor states and special pages.
  maximumMemoryMib: 4000,
  run,
};

async function run(
  plan: RunPlan,
  observer: RunObserver,
  interpreter: InterpreterModules | undefined,
): Promise<RunOutcome> {
  const control = create(plan, interpreter);
  const { scheduler, time } = control.machine;
  control.onConsoleOutput((bytes) => observer.console(bytes));
  control.onDebugOutput((bytes) => observer.emergency(bytes));
  if (plan.trace.includes('hypercalls')) {
    control.machine.table.onHypercall = (trace) => observer.trace(traceLine(trace));
  }
  observer.attach?.(control.machine);
  const { name, uuid, memoryMib, maxMemoryMib } = plan;
  const services = launch(control, plan.image, {
    domid: DOMID,
    name,
    uuid,
    memoryMib,
    maxMemoryMib,
    output: (bytes) => observer.console(bytes),
  });
  const outcome = (end: RunOutcome['end'], more: Partial<RunOutcome> = {}): RunOutcome => {
    services.service();
    const vcpus = scheduler
      .stopPoints()
      .map(({ vcpu, rip, online }) => ({ id: vcpu, rip, state: online ? 'online' : 'down' }));
    return { end, instructions: BigInt(scheduler.instructions), time: time.now(), vcpus, ...more };
  };
  for (;;) {
    const stop = control.run({ instructions: STRETCH, turns: TURNS, ...untilOf(plan, observer) });
    if (stop.kind === 'shutdown') {
      const again = stop.shutdown.reason === SHUTDOWN_soft_reset && plan.softReset && control.softReset();
      if (!again) return outcome('shutdown', shutdownOf(control.shutdown ?? stop.shutdown));
      services.reconnect();
    }
    if (plan.timeLimit !== undefined && time.now() >= plan.timeLimit) return outcome('timeout');
    const asked = await observer.poll();
    if (asked !== undefined) return outcome(asked === 'stop' ? 'stopped' : asked);
    const typed = observer.input();
    if (typed.length > 0) services.input(typed);
    const paced = observer.realTime() !== undefined;
    if (stop.kind === 'stuck' && typed.length === 0 && !paced) return outcome('deadlock');
    if (stop.kind !== 'paused' && paced) await observer.wait();
  }
}

/** Guest time at which to stop: the limit, or real time when the guest may not run ahead of it. */
function untilOf(plan: RunPlan, observer: RunObserver): { readonly until?: bigint } {
  const real = observer.realTime();
  if (real === undefined) return plan.timeLimit === undefined ? {} : { until: plan.timeLimit };
  return { until: plan.timeLimit !== undefined && plan.timeLimit < real ? plan.timeLimit : real };
}

const shutdownOf = ({ reason, message }: Shutdown): Partial<RunOutcome> => ({
  reason,
  ...(message === undefined ? {} : { message }),
});

function create(plan: RunPlan, interpreter: InterpreterModules | undefined): Control {
  const { image } = plan;
  const config: MachineConfig = {
    type: image.type,
    domid: DOMID,
    maxVcpus: image.maxVcpus,
    maxMemory: ramBytes(image) + (plan.maxMemoryMib - plan.memoryMib) * MIB + SPARE_BYTES,
    rules: new Rules(versionOf(plan.xen), plan.rules),
    uuid: Uint8Array.from(plan.uuid.replaceAll('-', '').match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)),
    viridian: viridianBits(plan.viridian),
    forcedEmulation: plan.forcedEmulation,
    engine: plan.engine,
    wallclockBase: WALLCLOCK_BASE,
    ...(plan.cpuid.length === 0 ? {} : { cpuid: plan.cpuid.join(',') }),
    ...(plan.maxEventChannels === undefined ? {} : { maxEventChannels: plan.maxEventChannels }),
    ...(plan.maxGrantFrames === undefined ? {} : { maxGrantFrames: plan.maxGrantFrames }),
    ...(plan.maxGrantVersion === undefined ? {} : { maxGrantVersion: plan.maxGrantVersion }),
    ...(plan.maxMaptrackFrames === undefined ? {} : { maxMaptrackFrames: plan.maxMaptrackFrames }),
    ...(plan.pirqs === undefined ? {} : { pirqs: plan.pirqs }),
    ...(interpreter === undefined ? {} : { interpreter }),
  };
  try {
    return new Control(config);
  } catch (error) {
    // Settings and sizes that only the hypervisor can judge.
    if (error instanceof RangeError) throw new BadInput('domain', `the domain cannot be created: ${error.message}`);
    throw error;
  }
}

function versionOf(name: string): (typeof VERSIONS)[number] {
  const version = VERSIONS.find((known) => known === name);
  if (version === undefined) throw new BadInput('version', `no rules for Xen ${name}`);
  return version;
}
