/** `npm start`: builds what is missing, runs the built-in guest and shows all experiments, so that the first command shows something. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureBuilt } from './build.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const started = performance.now();
if ((await ensureBuilt()) === 'built') {
  console.error(`xenolith: built dist/ in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

const verdicts: Readonly<Record<number, string>> = {
  0: 'success',
  1: 'a mistake of xenolith',
  2: 'the command line or a file was wrong',
  3: 'the guest says: skip',
  4: 'the guest says: error',
  5: 'the guest says: failure',
  6: 'the guest crashed',
};

/** Runs one command and says how it went; returns its exit code. */
function xenolith(args: readonly string[]): number {
  console.error(`$ xenolith ${args.join(' ')}`);
  const before = performance.now();
  const { status } = spawnSync(process.execPath, [join(root, 'bin', 'xenolith.mjs'), ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  const verdict = verdicts[status ?? 1] ?? `exit status ${status}`;
  console.error(`${status === 0 ? '✔' : '✘'} ${verdict} (${(performance.now() - before).toFixed(0)} ms)`);
  return status ?? 1;
}

const given = process.argv.slice(2);
const commands = given.length > 0 ? [given] : [['run', 'guests/images/hello64.elf'], ['experiment']];
for (const args of commands) process.exitCode ||= xenolith(args);
