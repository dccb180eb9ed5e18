/** `xenolith run`: one guest, to its end. */
import type { InterpreterModules } from '../../xen/index.ts';
import { type Arguments, type Command, EXIT } from '../command.ts';
import { GUEST_OPTIONS } from '../guest-options.ts';
import type { Host } from '../host.ts';
import { junit } from '../junit.ts';
import type { Machine, RunOutcome } from '../machine.ts';
import { stopCode } from '../observe.ts';
import { makePlan, type Planned } from '../plan.ts';
import { describeEnd, exitCode, isCrash, SHUTDOWN_NAMES, type Verdict, VerdictReader } from '../verdict.ts';

export const run: Command = {
  name: 'run',
  summary: 'run a guest: a PVH or PV kernel, HVM firmware, or an xl configuration file',
  operands: 'GUEST',
  operandCount: [1, 1],
  options: [
    ...GUEST_OPTIONS,
    { name: 'trace', value: 'WHAT', help: 'hypercalls: print each hypercall to stderr' },
    { name: 'check-frames', help: 'at the end, count the page references of a PV guest afresh; 1 when they disagree' },
    { name: 'input', help: 'pass standard input to the console; guest time then keeps to real time' },
    { name: 'json', help: 'print one JSON document instead of the console' },
    { name: 'junit', value: 'FILE', help: 'write the result as a JUnit document' },
  ],
  run: async (args, host, machine) => {
    const [interpreter, real] = await Promise.all([host.interpreter(), machine()]);
    const junitFile = args.values.get('junit')?.[0];
    // Found out before anything runs, not after.
    if (junitFile !== undefined) host.checkWritable(junitFile);
    return execute(args, host, real, makePlan(args, host, real), interpreter);
  },
};

async function execute(
  args: Arguments,
  host: Host,
  machine: Machine,
  planned: Planned,
  interpreter: InterpreterModules | undefined,
): Promise<number> {
  for (const warning of planned.warnings) host.stderr(`xenolith: warning: ${warning}\n`);
  const json = args.switches.has('json');
  const junitFile = args.values.get('junit')?.[0];
  const text = new TextDecoder();
  const verdicts = new VerdictReader();
  const kept: string[] = [];
  const input: Uint8Array[] = [];
  const stopInput = args.switches.has('input') ? host.readInput((bytes) => void input.push(bytes)) : undefined;
  const deadline = planned.wallTimeout === undefined ? undefined : host.now() + planned.wallTimeout * 1000;

  const started = host.now();
  let check = (): string[] => [];

  let outcome: RunOutcome;
  try {
    outcome = await machine.run(
      planned.plan,
      {
        attach: ({ domain }) => {
          if (args.switches.has('check-frames')) check = () => domain.pv?.mm.check() ?? [];
        },
        console: (bytes) => {
          const piece = text.decode(bytes, { stream: true });
          verdicts.push(piece);
          if (json || junitFile !== undefined) kept.push(piece);
          if (!json) host.stdout(bytes);
        },
        emergency: (bytes) => host.stderr(new TextDecoder('latin1').decode(bytes)),
        trace: (line) => host.stderr(`${line}\n`),
        poll: async () => {
          await host.breathe();
          if (host.stopped !== undefined) return 'stop';
          return deadline !== undefined && host.now() >= deadline ? 'wall-timeout' : undefined;
        },
        input: () => takeAll(input),
        realTime: () => (stopInput === undefined ? undefined : BigInt(Math.round((host.now() - started) * 1e6))),
        wait: () => host.breathe(1),
      },
      interpreter,
    );
  } finally {
    stopInput?.();
  }
  if (outcome.end === 'stopped') return stopCode(host);
  const verdict = verdicts.finish();
  const wrong = check();
  for (const line of wrong) host.stderr(`xenolith: accounting: ${line}\n`);
  const code = wrong.length > 0 ? EXIT.internal : exitCode(verdict, outcome);
  const output = kept.join('');
  report(host, outcome, verdict);
  if (json) host.stdout(`${JSON.stringify(document(output, verdict, outcome, code), undefined, 2)}\n`);
  if (junitFile !== undefined) {
    const result = verdict ?? (code === EXIT.success ? 'success' : 'crash');
    const time = Number(outcome.time) / 1e9;
    host.writeFile(
      junitFile,
      junit({
        suite: 'xenolith',
        name: planned.plan.name,
        time,
        outcome: result,
        message: describeEnd(outcome),
        output,
      }),
    );
  }
  return code;
}

function takeAll(pieces: Uint8Array[]): Uint8Array {
  const taken = pieces.splice(0);
  return taken.length === 1 ? taken[0]! : Uint8Array.from(taken.flatMap((piece) => [...piece]));
}

/** Diagnostics: how an unhappy run ended, and where every vCPU was. */
function report(host: Host, outcome: RunOutcome, verdict: Verdict | undefined): void {
  if (!isCrash(outcome) || (verdict !== undefined && outcome.end === 'shutdown' && outcome.message === undefined))
    return;
  host.stderr(`xenolith: ${describeEnd(outcome)}\n`);
  for (const vcpu of outcome.vcpus)
    host.stderr(`xenolith: vCPU ${vcpu.id}: ${vcpu.state}, at 0x${vcpu.rip.toString(16)}\n`);
}

/** Counts that may exceed 2^53 are strings. */
const document = (console: string, verdict: Verdict | undefined, outcome: RunOutcome, code: number): unknown => ({
  exitCode: code,
  verdict: verdict ?? null,
  end: outcome.end,
  shutdown:
    outcome.reason === undefined
      ? null
      : { reason: outcome.reason, name: SHUTDOWN_NAMES[outcome.reason] ?? null, message: outcome.message ?? null },
  instructions: outcome.instructions.toString(),
  guestTimeNs: outcome.time.toString(),
  vcpus: outcome.vcpus.map((vcpu) => ({ id: vcpu.id, state: vcpu.state, rip: `0x${vcpu.rip.toString(16)}` })),
  console,
});
