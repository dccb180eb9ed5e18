/** The import matrix of docs/architecture.md, read from the sources: every wrong edge is named. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What may be imported from another layer. Whole folders end in a slash. */
const matrix: Readonly<Record<string, readonly string[]>> = {
  base: [],
  abi: ['base/'],
  cpu: ['base/', 'abi/x86/'],
  machine: ['base/', 'abi/x86/', 'types of cpu/ports.ts'],
  // Of constants that are written where they are used, the module itself.
  xen: ['base/', 'abi/', 'cpu/index.ts', 'cpu/state.ts', 'machine/index.ts', 'machine/irq/lapic-registers.ts'],
  toolstack: ['base/', 'abi/', 'xen/control.ts'],
  lab: [
    'base/',
    'abi/',
    'cpu/index.ts',
    'cpu/state.ts',
    'machine/index.ts',
    'xen/index.ts',
    'xen/control.ts',
    'toolstack/index.ts',
  ],
  cli: ['base/', 'abi/', 'xen/index.ts', 'xen/control.ts', 'toolstack/index.ts', 'lab/index.ts', 'lab/trace/line.ts'],
  // The library's front door.
  'index.ts': ['base/', 'cpu/index.ts', 'machine/index.ts', 'xen/index.ts', 'toolstack/index.ts', 'lab/index.ts'],
};

interface Import {
  readonly from: string;
  readonly line: number;
  readonly specifier: string;
  /** Only types: gone at run time. */
  readonly types: boolean;
}

/** Comments become spaces, so that positions stay; strings stay, since specifiers are strings. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|(?<![:'"`\\])\/\/.*$/gm, (comment) => comment.replace(/[^\n]/g, ' '));
}

function importsOf(file: string): Import[] {
  const text = withoutComments(readFileSync(`${root}/${file}`, 'utf8'));
  const found: Import[] = [];
  const pattern =
    /^\s*(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?'([^']+)'|\bimport\(\s*'([^']+)'\s*\)(\.[A-Z])?/gm;
  for (const match of text.matchAll(pattern)) {
    found.push({
      from: file,
      line: text.slice(0, match.index).trimStart() === '' ? 1 : text.slice(0, match.index).split('\n').length,
      specifier: (match[2] ?? match[3])!,
      types: match[1] !== undefined || match[4] !== undefined,
    });
  }
  return found;
}

const sources = globSync('src/**/*.ts', { cwd: root })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => !file.endsWith('.test.ts') && !file.endsWith('.d.ts'));
const layerOf = (path: string): string => path.split('/')[1]!;

/** Why an import is wrong, or undefined. */
function objection({ from, specifier, types }: Import): string | undefined {
  const layer = layerOf(from);
  if (!specifier.startsWith('.')) {
    if (layer === 'cli') return undefined;
    // The trace's disassembler: loaded when somebody asks for a trace.
    if (layer === 'lab' && specifier === 'iced-x86') return undefined;
    return `packages and Node modules belong to cli, not to ${layer}`;
  }
  if (!specifier.endsWith('.ts')) return 'the extension .ts is missing';
  const target = posix.normalize(posix.join(posix.dirname(from), specifier));
  if (!target.startsWith('src/')) return 'leaves src/';
  if (layerOf(target) === layer) return undefined;
  const inner = target.slice('src/'.length);
  const allowed = matrix[layer];
  if (!allowed) return `layer ${layer} is not in the matrix`;
  const right = allowed.some(
    (rule) => (rule.endsWith('/') ? inner.startsWith(rule) : inner === rule) || (types && rule === `types of ${inner}`),
  );
  return right ? undefined : `${layer} may import only ${allowed.join(', ') || 'itself'}`;
}

test('src/: every import follows the layers', () => {
  const wrong = sources.flatMap(importsOf).flatMap((found) => {
    const why = objection(found);
    return why ? [`${found.from}:${found.line} imports ${found.specifier}: ${why}`] : [];
  });
  assert.deepEqual(wrong, []);
});

test('src/: the import reader sees imports, re-exports and dynamic imports', () => {
  assert.ok(sources.length > 10, 'sources are found');
  const all = sources.flatMap(importsOf);
  assert.ok(all.some((found) => found.types) && all.some((found) => !found.types));
  const edge = (specifier: string, types: boolean): string | undefined =>
    objection({ from: 'src/machine/x.ts', line: 1, specifier, types });
  assert.equal(edge('../cpu/ports.ts', true), undefined);
  assert.match(edge('../cpu/ports.ts', false) ?? '', /machine may import only/);
  assert.match(edge('../xen/index.ts', true) ?? '', /machine may import only/);
  assert.match(edge('node:fs', false) ?? '', /belong to cli/);
});

test('src/: nothing below cli reads a clock, a random source or a global of its host', () => {
  const outside =
    /(?<![\w./'"])(?:Date\.now|new Date\b|performance\.|Math\.random|crypto\.|setTimeout|setInterval|setImmediate|queueMicrotask|process\.|console\.|fetch\()/;
  const wrong = sources
    .filter((file) => layerOf(file) !== 'cli')
    .flatMap((file) =>
      withoutComments(readFileSync(`${root}/${file}`, 'utf8'))
        .split('\n')
        .flatMap((line, index) => (outside.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])),
    );
  assert.deepEqual(wrong, []);
});
