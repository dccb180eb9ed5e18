/**
 * Bundles the program: scripts whose value is a function, which start faster than a graph of modules (see bin/xenolith.mjs). What a short
 * run does without is a script of its own: V8 spends about as much on a function that is never called as on one that is.
 */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { type BuildOptions, build, type Plugin } from 'esbuild';

export interface Program {
  readonly name: string;
  readonly entry: string;
  /** Modules that are loaded when a function of theirs is first called. Their functions are all that the rest may use of them. */
  readonly deferred?: readonly string[];
  /** Files and folders of constants and layouts: each script has its own, so that they are written where they are used. */
  readonly constants?: readonly string[];
}

/** Of everything that is bundled. */
export const COMMON = {
  bundle: true,
  platform: 'node',
  target: 'node22',
  packages: 'external',
  minifySyntax: true,
  minifyWhitespace: true,
  logLevel: 'warning',
} as const satisfies BuildOptions;

/** What the first script's text begins with: `load` gives the second, which takes from the first what both use. */
const FIRST =
  '(function(require,bundle,load){let later,provided;' +
  'const $later=()=>later??=load()(require,$take(provided())),' +
  '$take=all=>(file,name)=>all[file][name],' +
  '$provide=all=>{provided=all},' +
  'bundleUrl=require("node:url").pathToFileURL(bundle).href;';
const SECOND = '(function(require,$take){';

/** Writes NAME.cjs, with what is deferred NAME-later.cjs, and their source maps into a folder. */
export async function bundleProgram(root: string, into: string, program: Program): Promise<void> {
  const { name, entry, deferred = [], constants = [] } = program;
  const defer = await deferring(root, deferred);
  const modules = await modulesOf(root, entry, defer);
  const isShared = (file: string): boolean => modules.has(file) && !constants.some((place) => file.startsWith(place));
  let taken = '';
  if (deferred.length > 0)
    taken = await script(root, join(into, `${name}-later`), {
      contents: deferred.map((file) => `export*from"./${file}";`).join(''),
      banner: SECOND,
      plugin: sharing(root, isShared),
    });
  const contents = `export{start}from${JSON.stringify(entry)};${provide(taken)}`;
  await script(root, join(into, name), { contents, banner: FIRST, plugin: defer });
}

/** The modules of the first script. */
async function modulesOf(root: string, entry: string, defer: Plugin): Promise<ReadonlySet<string>> {
  const { metafile } = await build({
    ...COMMON,
    absWorkingDir: root,
    metafile: true,
    write: false,
    entryPoints: [entry],
    outdir: 'x',
    format: 'esm',
    plugins: [defer],
  });
  return new Set(Object.keys(metafile.inputs));
}

/** Calls to deferred modules go through `$later`, which loads them. */
async function deferring(root: string, deferred: readonly string[]): Promise<Plugin> {
  const functions = new Map<string, readonly string[]>();
  for (const file of deferred) functions.set(join(root, file), await functionsOf(join(root, file)));
  return {
    name: 'deferring',
    setup: ({ onResolve, onLoad }) => {
      onResolve({ filter: /\.ts$/ }, ({ path, resolveDir }) => {
        const file = join(resolveDir, path);
        return functions.has(file) ? { path: file, namespace: 'deferred' } : undefined;
      });
      onLoad({ filter: /./, namespace: 'deferred' }, ({ path }) => ({
        contents: functions
          .get(path)!
          .map((name) => `export const ${name}=(...given)=>$later().${name}(...given);`)
          .join(''),
      }));
    },
  };
}

async function functionsOf(file: string): Promise<string[]> {
  const exported = Object.entries((await import(file)) as Record<string, unknown>);
  const isFunction = (value: unknown): boolean => typeof value === 'function' && !/^class\b/.test(String(value));
  return exported.filter(([, value]) => isFunction(value)).map(([name]) => name);
}

/** Modules of the first script are not bundled: what is used of them is taken from there. */
function sharing(root: string, isShared: (file: string) => boolean): Plugin {
  return {
    name: 'sharing',
    setup: ({ onResolve, onLoad }) => {
      onResolve({ filter: /\.ts$/ }, ({ path, resolveDir }) => {
        const file = relative(root, join(resolveDir, path)).replaceAll('\\', '/');
        return isShared(file) ? { path: file, namespace: 'shared' } : undefined;
      });
      onLoad({ filter: /./, namespace: 'shared' }, async ({ path }) => ({
        contents: Object.keys((await import(join(root, path))) as object)
          .map((name) => `export const ${name}=/*@__PURE__*/$take("${path}","${name}");`)
          .join(''),
      }));
    },
  };
}

/** Makes what the second script takes available there. */
function provide(later: string): string {
  const taken = new Map<string, Set<string>>();
  for (const [, file, name] of later.matchAll(/\$take\("([^"]+)","([^"]+)"\)/g)) {
    if (!taken.has(file!)) taken.set(file!, new Set());
    taken.get(file!)!.add(name!);
  }
  let imports = '';
  const objects: string[] = [];
  for (const [file, names] of taken) {
    const own = (name: string): string => `${name}$${objects.length}`;
    imports += `import{${[...names].map((name) => `${name} as ${own(name)}`).join()}}from"./${file}";`;
    objects.push(`"${file}":{${[...names].map((name) => `${name}:${own(name)}`).join()}}`);
  }
  return `${imports}$provide(()=>({${objects.join()}}));`;
}

interface Script {
  readonly contents: string;
  readonly banner: string;
  readonly plugin: Plugin;
}

/** Writes a script and its map; its text. */
async function script(root: string, file: string, { contents, banner, plugin }: Script): Promise<string> {
  const { outputFiles } = await build({
    ...COMMON,
    absWorkingDir: root,
    write: false,
    outfile: `${file}.js`,
    stdin: { contents, resolveDir: root },
    format: 'iife',
    globalName: 'program',
    minifyIdentifiers: true,
    sourcemap: 'external',
    sourcesContent: false,
    // What is not a function of a deferred module is not there, also in a namespace.
    logOverride: { 'import-is-undefined': 'error' },
    define: { 'import.meta.url': 'bundleUrl' },
    banner: { js: banner },
    footer: { js: 'return program})' },
    // It is read byte by byte.
    charset: 'ascii',
    plugins: [plugin],
  });
  const [text, map] = ['.js', '.js.map'].map((end) => outputFiles.find(({ path }) => path.endsWith(end))!.text);
  // The mark tells whether code that was kept from earlier runs belongs to this text.
  const mark = createHash('sha256').update(text!).digest('hex').slice(0, 16);
  writeFileSync(`${file}.cjs`, `/*${mark}*/${text}`);
  writeFileSync(`${file}.cjs.map`, map!);
  return text!;
}
