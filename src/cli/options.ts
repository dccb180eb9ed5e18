/** Reads a command line by a command's options. */
import { parseArgs } from 'node:util';
import { type Arguments, type Command, UsageError } from './command.ts';

export function parseOptions(command: Command, argv: readonly string[]): Arguments {
  const options = Object.fromEntries(
    command.options.map((option) => [
      option.name,
      { type: option.value === undefined ? ('boolean' as const) : ('string' as const) },
    ]),
  );
  const { tokens } = parseArgs({ args: [...argv], options, allowPositionals: true, strict: false, tokens: true });
  const positionals: string[] = [];
  const switches = new Set<string>();
  const values = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const option = command.options.find((candidate) => candidate.name === token.name);
    if (option === undefined) throw new UsageError(`unknown option ${token.rawName}${hint(token.name, command)}`);
    if (option.value === undefined) {
      if (token.value !== undefined) throw new UsageError(`option --${option.name} takes no value`);
      switches.add(option.name);
      continue;
    }
    if (token.value === undefined || (!token.inlineValue && token.value.startsWith('--'))) {
      throw new UsageError(`option --${option.name} needs a value (${option.value})`);
    }
    const earlier = values.get(option.name) ?? [];
    if (earlier.length > 0 && !option.multiple) throw new UsageError(`option --${option.name} is given twice`);
    values.set(option.name, [...earlier, token.value]);
  }
  const [least, most] = command.operandCount;
  if (positionals.length < least) throw new UsageError(`${command.operands} is missing`);
  if (positionals.length > most) throw new UsageError(`unexpected argument ${positionals[most]}`);
  return { positionals, switches, values };
}

function hint(name: string, command: Command): string {
  const near = closest(
    name,
    command.options.map((option) => option.name),
  );
  return near === undefined ? '' : `; did you mean --${near}?`;
}

/** The candidate nearest to a word, at most two edits and less than half of it away. */
export function closest(word: string, candidates: readonly string[]): string | undefined {
  let best: { readonly name: string; readonly edits: number } | undefined;
  for (const name of candidates) {
    const edits = distance(word, name);
    if (edits <= 2 && edits * 2 < word.length && (best === undefined || edits < best.edits)) best = { name, edits };
  }
  return best?.name;
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}

/** A whole number within limits. */
export function integerOption(args: Arguments, name: string, least: number, most: number): number | undefined {
  const text = args.values.get(name)?.[0];
  if (text === undefined) return undefined;
  const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most))
    throw new UsageError(`--${name} ${text}: must be a whole number from ${least} to ${most}`);
  return value;
}

/** Seconds, with a fraction if wanted. */
export function secondsOption(args: Arguments, name: string): number | undefined {
  const text = args.values.get(name)?.[0];
  if (text === undefined) return undefined;
  const value = /^[0-9]*\.?[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value > 0 && value <= 1e9))
    throw new UsageError(`--${name} ${text}: must be a number of seconds above 0, at most 1000000000`);
  return value;
}

export function choiceOption<T extends string>(args: Arguments, name: string, choices: readonly T[]): T | undefined {
  const text = args.values.get(name)?.[0];
  if (text === undefined) return undefined;
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw new UsageError(`--${name} ${text}: must be one of ${choices.join(', ')}`);
  return found;
}
