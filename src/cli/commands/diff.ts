/** `xenolith diff`: one guest under the rules of two releases, and the first hypercall that answers otherwise. */
import { CallRecorder, divergenceText, firstDivergence } from '../../lab/index.ts';
import { type Arguments, type Command, EXIT, UsageError } from '../command.ts';
import { GUEST_OPTIONS } from '../guest-options.ts';
import type { Host } from '../host.ts';
import type { Machine, RunOutcome } from '../machine.ts';
import { observe, stopCode } from '../observe.ts';
import { makePlan } from '../plan.ts';
import { describeEnd } from '../verdict.ts';

/** The runs differ. */
const EXIT_DIFFERENT = 1;

export const diff: Command = {
  name: 'diff',
  summary: 'run a guest under the rules of two releases and show the first hypercall that differs',
  operands: 'GUEST',
  operandCount: [1, 1],
  options: [
    ...GUEST_OPTIONS.map((option) =>
      option.name === 'xen' ? { ...option, multiple: true, help: 'give it twice: the releases to compare' } : option,
    ),
    { name: 'json', help: 'print one JSON document' },
  ],
  run: async (args, host, machine) => execute(args, host, await machine()),
};

interface Side {
  readonly xen: string;
  readonly calls: CallRecorder;
  readonly outcome: RunOutcome;
}

async function execute(args: Arguments, host: Host, machine: Machine): Promise<number> {
  const releases = args.values.get('xen') ?? [];
  if (releases.length !== 2) throw new UsageError('diff needs --xen twice, such as --xen 4.18 --xen 4.19');
  const plans = releases.map((xen) =>
    makePlan({ ...args, values: new Map([...args.values, ['xen', [xen]]]) }, host, machine),
  );
  for (const warning of plans[0]!.warnings) host.stderr(`xenolith: warning: ${warning}\n`);
  const sides: Side[] = [];
  for (const planned of plans) {
    const calls = new CallRecorder();
    const outcome = await observe(host, machine, planned, (attached) => calls.attach(attached));
    if (outcome.end === 'stopped') return stopCode(host);
    sides.push({ xen: planned.plan.xen, calls, outcome });
  }
  const [left, right] = sides as [Side, Side];
  const divergence = firstDivergence(left.calls, right.calls);
  const ends = sides.map(({ outcome }) => describeEnd(outcome));
  const same = divergence === undefined && ends[0] === ends[1];
  const code = same ? EXIT.success : EXIT_DIFFERENT;
  if (args.switches.has('json')) {
    const runs = sides.map(({ xen, calls, outcome }, n) => ({
      xen,
      hypercalls: calls.total,
      end: ends[n],
      instructions: outcome.instructions.toString(),
    }));
    const document = { exitCode: code, same, runs, divergence: divergence ?? null };
    host.stdout(
      `${JSON.stringify(document, (_key, value) => (typeof value === 'bigint' ? value.toString() : value), 2)}\n`,
    );
    return code;
  }
  const names = sides.map(({ xen }) => `Xen ${xen}`) as [string, string];
  if (divergence !== undefined) host.stdout(divergenceText(divergence, names));
  if (ends[0] !== ends[1]) host.stdout(`${names[0]}: ${ends[0]}\n${names[1]}: ${ends[1]}\n`);
  if (same) host.stdout(`no difference in ${left.calls.total} hypercalls\n`);
  if (left.calls.cut || right.calls.cut) host.stderr('xenolith: the guest made more hypercalls than are compared\n');
  if (divergence?.left?.key.includes('XENVER_version') === true)
    host.stderr(
      `xenolith: the guest asked for the release; --set reported-version=${left.xen} gives both the same answer\n`,
    );
  return code;
}
