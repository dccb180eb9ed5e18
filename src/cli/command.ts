/** What a command is: data for parsing and help, and what it does. */
import type { Host } from './host.ts';
import type { Machine } from './machine.ts';

export interface Option {
  readonly name: string;
  /** Name of the value in help; none for a switch. */
  readonly value?: string;
  readonly help: string;
  readonly multiple?: boolean;
}

export interface Arguments {
  readonly positionals: readonly string[];
  readonly switches: ReadonlySet<string>;
  /** Values by option name, in the order given. */
  readonly values: ReadonlyMap<string, readonly string[]>;
}

export interface Command {
  readonly name: string;
  readonly summary: string;
  /** Positional arguments in help, and how many there must be. */
  readonly operands: string;
  readonly operandCount: readonly [least: number, most: number];
  readonly options: readonly Option[];
  run(args: Arguments, host: Host, machine: () => Promise<Machine>): Promise<number>;
}

/** The user typed or handed in something wrong: one line, exit code 2, nothing was run. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

/** Exit codes; those from 3 on are the Xen Test Framework runner's. */
export const EXIT = {
  success: 0,
  internal: 1,
  usage: 2,
  skip: 3,
  error: 4,
  failure: 5,
  crash: 6,
  interrupted: 130,
  terminated: 143,
  brokenPipe: 141,
} as const;
