/** The command line: finds the command, turns what went wrong into one line and an exit code. */
import { type Command, EXIT, UsageError } from './command.ts';
import { COMMANDS, type CommandEntry } from './commands/index.ts';
import { FileProblem, type Host } from './host.ts';
import type { Machine } from './machine.ts';
import { VERSION } from './version.ts';

const realMachine = async (): Promise<Machine> => (await import('./engine.ts')).machine;

/** Runs a command line, without the program's name, and gives the exit code. Never throws. */
export async function main(
  argv: readonly string[],
  host: Host,
  machine: () => Promise<Machine> = realMachine,
): Promise<number> {
  try {
    return await dispatch(argv, host, machine);
  } catch (error) {
    const code = complain(error, host);
    if (code !== EXIT.internal) return code;
    host.stderr(
      `xenolith: this is a mistake in xenolith: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
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

async function dispatch(argv: readonly string[], host: Host, machine: () => Promise<Machine>): Promise<number> {
  const [first, ...rest] = argv;
  if (first === '--version' || first === '-V') {
    host.stdout(`xenolith ${VERSION}\n`);
    return EXIT.success;
  }
  if (first === undefined || first === '--help' || first === '-h' || first === 'help')
    return help(rest[0], first === undefined, host);
  const entry = findCommand(first);
  const command = await entry.load();
  if (wantsHelp(rest)) return showCommand(command, host);
  const { parseOptions } = await import('./options.ts');
  return command.run(parseOptions(command, rest), host, machine);
}

/** `--help` before a `--` that ends options. */
const wantsHelp = (rest: readonly string[]): boolean => {
  const end = rest.indexOf('--');
  return (end < 0 ? rest : rest.slice(0, end)).some((word) => word === '--help' || word === '-h');
};

function findCommand(name: string): CommandEntry {
  const entry = COMMANDS.find((candidate) => candidate.name === name);
  if (entry !== undefined) return entry;
  const what = name.startsWith('-') ? `unknown option ${name}` : `unknown command ${name}`;
  throw new UsageError(`${what}; commands are ${COMMANDS.map((known) => known.name).join(', ')} (see xenolith --help)`);
}

/** Help asked for goes to stdout; a bare `xenolith` is a mistake and gets it on stderr. */
async function help(name: string | undefined, mistake: boolean, host: Host): Promise<number> {
  if (name !== undefined) return showCommand(await findCommand(name).load(), host);
  const text = (await import('./help.ts')).generalHelp(COMMANDS);
  if (!mistake) {
    host.stdout(text);
    return EXIT.success;
  }
  host.stderr(text);
  return EXIT.usage;
}

async function showCommand(command: Command, host: Host): Promise<number> {
  host.stdout((await import('./help.ts')).commandHelp(command));
  return EXIT.success;
}
