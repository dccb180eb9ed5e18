/** The verdict of a test guest, and the exit code of a run. */
import { EXIT } from './command.ts';
import type { RunOutcome } from './machine.ts';

export type Verdict = 'success' | 'skip' | 'error' | 'failure' | 'crash';
const LINE = /^Test result: (SUCCESS|SKIP|ERROR|FAILURE|CRASH)\b/;

/** Reads console output as it comes and keeps the last verdict line of the Xen Test Framework. */
export class VerdictReader {
  verdict: Verdict | undefined;
  private line = '';

  push(text: string): void {
    const pieces = (this.line + text).split('\n');
    // Only the start of a line matters; a line without an end must not grow for ever.
    this.line = pieces.pop()!.slice(0, 4096);
    for (const piece of pieces) this.look(piece);
  }

  /** Call at the end: the last line may lack its line end. */
  finish(): Verdict | undefined {
    this.look(this.line);
    return this.verdict;
  }

  private look(line: string): void {
    const word = LINE.exec(line)?.[1];
    if (word !== undefined) this.verdict = word.toLowerCase() as Verdict;
  }
}

/** Names of SHUTDOWN_* (`xen:public/sched.h`). */
export const SHUTDOWN_NAMES = ['poweroff', 'reboot', 'suspend', 'crash', 'watchdog', 'soft_reset'] as const;
const SHUTDOWN_crash = 3,
  SHUTDOWN_watchdog = 4;

/** A shutdown that the hypervisor decided (its message says why) is a crash whatever its reason: a triple fault is a reboot to Xen. */
export const isCrash = (outcome: RunOutcome): boolean =>
  outcome.end !== 'shutdown' ||
  outcome.message !== undefined ||
  outcome.reason === SHUTDOWN_crash ||
  outcome.reason === SHUTDOWN_watchdog;

export function exitCode(verdict: Verdict | undefined, outcome: RunOutcome): number {
  if (outcome.end === 'timeout' || outcome.end === 'wall-timeout') return EXIT.crash;
  if (verdict !== undefined) return EXIT[verdict];
  return isCrash(outcome) ? EXIT.crash : EXIT.success;
}

/** One line about how a run ended. */
export function describeEnd(outcome: RunOutcome): string {
  const seconds = Number(outcome.time / 1000n) / 1e6;
  switch (outcome.end) {
    case 'timeout':
      return `timeout: the guest was still running after ${seconds} s of its time`;
    case 'wall-timeout':
      return `timeout: the guest was still running, at ${seconds} s of its time`;
    case 'deadlock':
      return `every vCPU is blocked or down with nothing left to wake it, at ${seconds} s of guest time`;
    case 'stopped':
      return 'stopped';
    case 'shutdown': {
      const name = SHUTDOWN_NAMES[outcome.reason ?? -1] ?? `reason ${outcome.reason}`;
      return outcome.message === undefined ? `the guest shut down (${name})` : `the guest crashed: ${outcome.message}`;
    }
  }
}
