/** The command line: finds the command, turns what went wrong into one line and an exit code. */
import { type Command, EXIT, UsageError } from './command.ts';
import type { CommandEntry } from './commands/index.ts';
import { commandHelp, generalHelp } from './help.ts';
import { FileProblem, type Host } from './host.ts';
import type { Machine } from './machine.ts';
import { parseOptions } from './options.ts';
import { VERSION } from './version.ts';

/** What a program consists of: all commands (program.ts), or one of them. */
export interface Program {
  readonly commands: readonly CommandEntry[];
  machine(): Promise<Machine>;
}

/** Runs a command line, without the program's name, and gives the exit code. Never throws. */
export async function main(argv: readonly string[], host: Host, program: Program): Promise<number> {
  try {
    return await dispatch(argv, host, program);
  } catch (error) {
    const code = complain(error, host);
    if (code !== EXIT.internal) return code;
    host.stderr(
      `xenolith: this is a mistake in xenolith: ${error instanceof Error ? host.stack(error) : String(error)}\n`,
    );
    return code;
  }
}

/** What a user can mend is one line; anything else is the project's own mistake. */
function complain(error: unknown, host: Host): number {
  const known =
    error instanceof UsageError ||
    error instanceof FileProblem ||
    (error instanceof Error && error.name === 'BadInput');
  if (!known) return EXIT.internal;
  host.stderr(`xenolith: ${(error as Error).message.replaceAll('\n', ' ')}\n`);
  return EXIT.usage;
}

async function dispatch(argv: readonly string[], host: Host, { commands, machine }: Program): Promise<number> {
  const [first, ...rest] = argv;
  if (first === '--version' || first === '-V') {
    host.stdout(`xenolith ${VERSION}\n`);
    return EXIT.success;
  }
  if (first === undefined || first === '--help' || first === '-h' || first === 'help')
    return help(rest[0], first === undefined, host, commands);
  const entry = findCommand(first, commands);
  const command = await entry.load();
  if (wantsHelp(rest)) return showCommand(command, host);
  return command.run(parseOptions(command, rest), host, machine);
}

/** `--help` before a `--` that ends options. */
const wantsHelp = (rest: readonly string[]): boolean => {
  const end = rest.indexOf('--');
  return (end < 0 ? rest : rest.slice(0, end)).some((word) => word === '--help' || word === '-h');
};

function findCommand(name: string, commands: readonly CommandEntry[]): CommandEntry {
  const entry = commands.find((candidate) => candidate.name === name);
  if (entry !== undefined) return entry;
  const what = name.startsWith('-') ? `unknown option ${name}` : `unknown command ${name}`;
  throw new UsageError(`${what}; commands are ${commands.map((known) => known.name).join(', ')} (see xenolith --help)`);
}

/** Help asked for goes to stdout; a bare `xenolith` is a mistake and gets it on stderr. */
async function help(
  name: string | undefined,
  mistake: boolean,
  host: Host,
  commands: readonly CommandEntry[],
): Promise<number> {
  if (name !== undefined) return showCommand(await findCommand(name, commands).load(), host);
  const text = generalHelp(commands);
  if (!mistake) {
    host.stdout(text);
    return EXIT.success;
  }
  host.stderr(text);
  return EXIT.usage;
}

function showCommand(command: Command, host: Host): number {
  host.stdout(commandHelp(command));
  return EXIT.success;
}
