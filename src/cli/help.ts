/** Help texts, from the commands' own data. */
import type { Command, Option } from './command.ts';
import type { CommandEntry } from './commands/index.ts';

const columns = (rows: readonly (readonly [string, string])[]): string => {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}\n`).join('');
};

const optionName = (option: Option): string =>
  `--${option.name}${option.value === undefined ? '' : ` ${option.value}`}`;

export const generalHelp = (commands: readonly CommandEntry[]): string => `Usage: xenolith COMMAND [ARGUMENT]...

Runs Xen guests where there is no Xen.

Commands:
${columns(commands.map((command) => [command.name, command.summary]))}
Options:
${columns([
  ['--help', 'show this help, or that of a command'],
  ['--version', 'show the version'],
])}
Exit codes: 0 success or poweroff, 2 wrong usage or input, and as the Xen Test
Framework has them: 3 skip, 4 error, 5 failure, 6 crash or timeout.
`;

export const commandHelp = (
  command: Command,
): string => `Usage: xenolith ${command.name} [OPTION]... ${command.operands}

${command.summary[0]!.toUpperCase()}${command.summary.slice(1)}.

Options:
${columns([
  ...command.options.map((option) => [`${optionName(option)}${option.multiple ? '...' : ''}`, option.help] as const),
  ['--help', 'show this help'],
])}`;
