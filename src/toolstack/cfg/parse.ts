/**
 * Syntax of xl's configuration files (`xen:man/xl.cfg.5`, "Syntax"): `name = value` and `name += value`, ended by a
 * line end or a semicolon; a value is a quoted string, a number or a list of values; `#` starts a comment. Inside a list
 * line ends may stand between values and a last comma is allowed.
 */
import { BadInput } from '../bad-input.ts';

/** Numbers stay as written: what a key's value means is decided by the key. */
export type CfgValue =
  | { readonly kind: 'string'; readonly text: string; readonly line: number; readonly column: number }
  | { readonly kind: 'number'; readonly text: string; readonly line: number; readonly column: number }
  | { readonly kind: 'list'; readonly items: readonly CfgValue[]; readonly line: number; readonly column: number };

export interface CfgSetting {
  readonly name: string;
  readonly value: CfgValue;
  /** Where the name stands, from 1. */
  readonly line: number;
  readonly column: number;
}

interface Token {
  readonly kind: 'name' | 'number' | 'string' | 'newline' | 'end' | '=' | '+=' | '[' | ']' | ',' | ';';
  readonly text: string;
  readonly line: number;
  readonly column: number;
}

/** Message of an error in a file, in the form compilers use. */
export const at = (file: string, place: { readonly line: number; readonly column: number }, message: string): string =>
  `${file}:${place.line}:${place.column}: ${message}`;

const syntax = (file: string, place: { readonly line: number; readonly column: number }, message: string): BadInput =>
  new BadInput('xlcfg-syntax', at(file, place, message));

const PATTERNS: readonly (readonly [Token['kind'] | 'space', RegExp])[] = [
  ['space', /[ \t\r]+|#[^\n]*/y],
  ['newline', /\n/y],
  ['name', /[a-z][._0-9a-z]*/y],
  ['number', /[0-9][0-9a-fx]*/y],
  ['string', /'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/y],
  ['+=', /\+=/y],
  ['=', /=/y],
  ['[', /\[/y],
  [']', /\]/y],
  [',', /,/y],
  [';', /;/y],
];

function* tokens(file: string, source: string): Generator<Token> {
  let line = 1;
  let lineStart = 0;
  let offset = 0;
  while (offset < source.length) {
    const place = { line, column: offset - lineStart + 1 };
    const found = match(source, offset);
    if (!found) throw syntax(file, place, lexicalError(source, offset));
    offset += found.text.length;
    if (found.kind !== 'space') yield { ...place, kind: found.kind, text: found.text };
    if (found.kind === 'newline') {
      line++;
      lineStart = offset;
    }
  }
  yield { kind: 'end', text: '', line, column: offset - lineStart + 1 };
}

function match(source: string, offset: number): { kind: Token['kind'] | 'space'; text: string } | undefined {
  for (const [kind, pattern] of PATTERNS) {
    pattern.lastIndex = offset;
    const text = pattern.exec(source)?.[0];
    if (text !== undefined) return { kind, text };
  }
  return undefined;
}

function lexicalError(source: string, offset: number): string {
  const character = source[offset]!;
  if (character === '"' || character === "'") return 'string is not closed on its line';
  if (/[A-Z]/.test(character)) return `unexpected ${character}: names are lower case, strings are quoted`;
  if (/[-+.():{}]/.test(character)) return `unexpected ${character} (Python expressions are not part of the format)`;
  return `unexpected ${JSON.stringify(character)}`;
}

const describe = (token: Token): string => {
  if (token.kind === 'end') return 'the end of the file';
  return token.kind === 'newline' ? 'the end of the line' : token.text;
};

/** Parses a file into its settings in order. Throws {@link BadInput} `xlcfg-syntax` with file, line and column. */
export function parseCfg(file: string, source: string): CfgSetting[] {
  const stream = [...tokens(file, source)];
  const settings = new Map<string, CfgSetting>();
  let position = 0;
  const peek = (): Token => stream[position]!;
  const next = (): Token => stream[position++]!;
  const skipNewlines = (): void => {
    while (peek().kind === 'newline') position++;
  };

  const value = (): CfgValue => {
    const token = next();
    const place = { line: token.line, column: token.column };
    if (token.kind === 'number') return { kind: 'number', text: token.text, ...place };
    if (token.kind === 'string') return { kind: 'string', text: unquote(file, token), ...place };
    if (token.kind === '[') return { kind: 'list', items: items(token), ...place };
    const hint = token.kind === 'name' ? ' (a string needs quotes)' : '';
    throw syntax(file, token, `expected a string, a number or a list, found ${describe(token)}${hint}`);
  };

  const items = (open: Token): CfgValue[] => {
    const list: CfgValue[] = [];
    for (;;) {
      skipNewlines();
      if (peek().kind === ']') break;
      list.push(value());
      skipNewlines();
      if (peek().kind === ',') position++;
      else if (peek().kind !== ']') {
        const where = peek().kind === 'end' ? ` (the list was opened in line ${open.line})` : '';
        throw syntax(file, peek(), `expected a comma or ], found ${describe(peek())}${where}`);
      }
    }
    position++;
    return list;
  };

  for (;;) {
    const token = next();
    if (token.kind === 'end') return [...settings.values()];
    if (token.kind === 'newline' || token.kind === ';') continue;
    if (token.kind !== 'name') throw syntax(file, token, `expected the name of a setting, found ${describe(token)}`);
    const operator = next();
    if (operator.kind !== '=' && operator.kind !== '+=')
      throw syntax(file, operator, `expected = behind ${token.text}, found ${describe(operator)}`);
    const setting = { name: token.text, value: value(), line: token.line, column: token.column };
    const before = settings.get(token.text);
    // A later setting replaces an earlier one in place of it.
    settings.delete(token.text);
    settings.set(
      token.text,
      operator.kind === '+=' && before ? { ...setting, value: added(file, before, setting) } : setting,
    );
    const end = peek();
    if (end.kind !== 'newline' && end.kind !== ';' && end.kind !== 'end') {
      throw syntax(file, end, `expected the end of the line behind the value of ${token.text}, found ${describe(end)}`);
    }
  }
}

/** `+=` joins strings and appends to lists. */
function added(file: string, before: CfgSetting, more: CfgSetting): CfgValue {
  const [a, b] = [before.value, more.value];
  const place = { line: b.line, column: b.column };
  if (a.kind === 'list' && b.kind === 'list') return { kind: 'list', items: [...a.items, ...b.items], ...place };
  if (a.kind !== 'list' && b.kind !== 'list') return { kind: 'string', text: a.text + b.text, ...place };
  throw syntax(file, more, `${more.name} += mixes a list with a string`);
}

const ESCAPES: Readonly<Record<string, string>> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

/** Text of a string token: backslash escapes of C, with up to two hexadecimal or three octal digits. */
function unquote(file: string, token: Token): string {
  return token.text
    .slice(1, -1)
    .replace(/\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))/g, (whole, hex, octal, letter, offset) => {
      if (hex !== undefined || octal !== undefined)
        return String.fromCharCode(Number.parseInt(hex ?? octal, hex === undefined ? 8 : 16) & 255);
      if (letter === '"' || letter === "'" || letter === '\\') return letter;
      const character = ESCAPES[letter];
      if (character === undefined) {
        throw syntax(
          file,
          { line: token.line, column: token.column + 1 + offset },
          `unknown escape ${whole} in a string`,
        );
      }
      return character;
    });
}
