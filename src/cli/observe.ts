/** Runs a guest for what can be seen of it from outside: its console is not shown, and it gets no input. */
import { EXIT } from './command.ts';
import type { Host } from './host.ts';
import type { Machine, RunObserver, RunOutcome } from './machine.ts';
import type { Planned } from './plan.ts';

/** Runs to the end of the guest or of its time. `stopped` as `end`: somebody interrupted the command. */
export async function observe(
  host: Host,
  machine: Machine,
  { plan, wallTimeout }: Planned,
  attach: NonNullable<RunObserver['attach']>,
): Promise<RunOutcome> {
  const deadline = wallTimeout === undefined ? undefined : host.now() + wallTimeout * 1000;
  return machine.run(
    plan,
    {
      attach,
      console: () => {},
      emergency: () => {},
      trace: () => {},
      poll: async () => {
        await host.breathe();
        if (host.stopped !== undefined) return 'stop';
        return deadline !== undefined && host.now() >= deadline ? 'wall-timeout' : undefined;
      },
      input: () => new Uint8Array(0),
      realTime: () => undefined,
      wait: () => host.breathe(1),
    },
    await host.interpreter(),
  );
}

/** Exit code of an interrupted command. */
export function stopCode(host: Host): number {
  if (host.stopped === 'broken-pipe') return EXIT.brokenPipe;
  host.stderr('xenolith: interrupted\n');
  return host.stopped === 'terminate' ? EXIT.terminated : EXIT.interrupted;
}
