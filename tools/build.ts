/** Builds dist/: the bundled command and library, the interpreter as a ready WebAssembly module, and the experiments' guests. */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
const stampFile = join(dist, '.stamp');

/** Entry points of the library: one per `exports` subpath of package.json. */
const entries: Readonly<Record<string, string>> = {
  index: './src/index.ts',
  cpu: './src/cpu/index.ts',
  machine: './src/machine/index.ts',
  xen: './src/xen/index.ts',
  toolstack: './src/toolstack/index.ts',
  lab: './src/lab/index.ts',
};

/** Images of the built-in guests. */
const guests = (): string[] => globSync('guests/images/*.elf', { cwd: root }).sort();

/** Changes whenever a file that goes into dist/ does. */
function fingerprint(): string {
  const hash = createHash('sha256');
  const files = globSync('src/**/*.ts', { cwd: root }).filter((file) => !file.endsWith('.test.ts'));
  for (const file of [...files.sort(), ...guests(), 'tools/build.ts', 'package-lock.json']) {
    const { size, mtimeMs } = statSync(join(root, file));
    hash.update(`${file} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

/** Builds into a folder beside dist/ and swaps it in, so that a reader never sees half of it. */
export async function build(): Promise<void> {
  const stamp = fingerprint();
  const next = `${dist}.${process.pid}`;
  try {
    const { build: bundle } = await import('esbuild');
    const common = {
      absWorkingDir: root,
      outdir: next,
      bundle: true,
      platform: 'node',
      target: 'node22',
      packages: 'external',
      minifySyntax: true,
      minifyWhitespace: true,
      minifyIdentifiers: false,
      sourcemap: false,
      logLevel: 'warning',
    } as const;
    await bundle({ ...common, entryPoints: { ...entries }, splitting: true, format: 'esm' });
    // The program is a script whose value is a function: that starts faster than a graph of modules (see bin/xenolith.mjs).
    for (const [name, entry] of Object.entries({ run: 'entry-run', cli: 'entry' })) {
      const { outputFiles } = await bundle({
        ...common,
        entryPoints: [`./src/cli/${entry}.ts`],
        format: 'iife',
        globalName: 'program',
        minifyIdentifiers: true,
        sourcemap: 'external',
        sourcesContent: false,
        outdir: next,
        define: { 'import.meta.url': 'bundleUrl' },
        banner: { js: '(function(require,bundle){const bundleUrl=require("node:url").pathToFileURL(bundle).href;' },
        footer: { js: 'return program})' },
        // It is read byte by byte.
        charset: 'ascii',
        write: false,
      });
      const [text, map] = ['.js', '.js.map'].map((end) => outputFiles.find(({ path }) => path.endsWith(end))!.text);
      // The mark tells whether code that was kept from earlier runs belongs to this text.
      const mark = createHash('sha256').update(text).digest('hex').slice(0, 16);
      writeFileSync(join(next, `${name}.cjs`), `/*${mark}*/${text}`);
      writeFileSync(join(next, `${name}.cjs.map`), map!);
    }
    const { buildInterpreter, buildVectors } = await import('../src/cpu/interpret/build.ts');
    writeFileSync(join(next, 'interpreter.wasm'), buildInterpreter());
    writeFileSync(join(next, 'vectors.wasm'), buildVectors());
    mkdirSync(join(next, 'guests'));
    for (const image of guests()) copyFileSync(join(root, image), join(next, 'guests', basename(image)));
    writeFileSync(join(next, '.stamp'), stamp);
    rmSync(dist, { recursive: true, force: true });
    renameSync(next, dist);
  } finally {
    rmSync(next, { recursive: true, force: true });
  }
}

/** Builds unless dist/ already corresponds to the sources. */
export async function ensureBuilt(): Promise<'built' | 'current'> {
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === fingerprint()) return 'current';
  await build();
  return 'built';
}

if (import.meta.main) {
  const started = performance.now();
  await build();
  const total = globSync('*', { cwd: dist }).reduce((sum, file) => sum + statSync(join(dist, file)).size, 0);
  console.log(`dist/: ${(total / 1024).toFixed(0)} KiB in ${((performance.now() - started) / 1000).toFixed(2)} s`);
}
