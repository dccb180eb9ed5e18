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
import type { Program } from './program.ts';

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

/** What the command loads: `run` soonest, and without what a short run of a PVH guest has no use for. */
const PROGRAMS: readonly Program[] = [
  {
    name: 'run',
    entry: './src/cli/entry-run.ts',
    deferred: [
      'src/cpu/fpu/simd-float.ts',
      'src/cpu/fpu/simd-integer.ts',
      'src/cpu/interpret/build.ts',
      'src/cpu/isa/sse.ts',
      'src/cpu/isa/x87.ts',
      'src/cpu/translate/region.ts',
      'src/lab/trace/line.ts',
      'src/toolstack/build/lz4.ts',
      'src/toolstack/build/pv-image.ts',
      'src/toolstack/build/pv-layout.ts',
      'src/toolstack/build/pv-symbols.ts',
      'src/toolstack/build/xz.ts',
      'src/toolstack/launch-pv.ts',
      'src/xen/hypercalls/pv.ts',
      'src/xen/pv/create.ts',
      'src/xen/pv/mm/grant-map.ts',
      'src/xen/pv/mm/reservation.ts',
      'src/xen/viridian-host.ts',
    ],
    constants: ['src/abi/', 'src/base/', 'src/cpu/state.ts', 'src/cpu/wasm/'],
  },
  { name: 'cli', entry: './src/cli/entry.ts' },
];

/** Images of the built-in guests. */
const guests = (): string[] => globSync('guests/images/*.elf', { cwd: root }).sort();

/** Changes whenever a file that goes into dist/ does. */
function fingerprint(): string {
  const hash = createHash('sha256');
  const files = globSync('src/**/*.ts', { cwd: root }).filter((file) => !file.endsWith('.test.ts'));
  for (const file of [...files.sort(), ...guests(), 'tools/build.ts', 'tools/program.ts', 'package-lock.json']) {
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
    const [{ build: bundle }, { bundleProgram, COMMON }] = await Promise.all([
      import('esbuild'),
      import('./program.ts'),
    ]);
    await bundle({
      ...COMMON,
      absWorkingDir: root,
      outdir: next,
      entryPoints: { ...entries },
      splitting: true,
      format: 'esm',
      minifyIdentifiers: false,
      sourcemap: false,
    });
    for (const program of PROGRAMS) await bundleProgram(root, next, program);
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
