/**
 * `npm test`: the whole check. Types, formatting and lint, generated pages, the build, every unit test, and the guests.
 * The last line is `N passed, N failed[, N skipped]`; the exit status is 1 when anything failed.
 * `npm test -- WORD...` runs only the test files whose path contains one of the words.
 */
import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { run } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ensureBuilt } from './build.ts';
import { stalePages } from './pages.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

const total: Tally = { passed: 0, failed: 0, skipped: 0 };

const seconds = (from: number): string => `${((performance.now() - from) / 1000).toFixed(1)} s`;
const indent = (text: string): string => text.trimEnd().replace(/^/gm, '      ');

/** A step that passes or fails as a whole; `check` returns what is wrong, or nothing. */
async function step(name: string, check: () => Promise<string | undefined>): Promise<void> {
  const started = performance.now();
  let wrong: string | undefined;
  try {
    wrong = await check();
  } catch (error) {
    wrong = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  total[wrong === undefined ? 'passed' : 'failed']++;
  console.log(`${wrong === undefined ? 'ok  ' : 'FAIL'} ${name} (${seconds(started)})`);
  if (wrong !== undefined) console.log(indent(wrong));
}

/** Runs a JavaScript tool of node_modules; returns its output when it failed. */
function tool(path: string, ...args: string[]): Promise<string | undefined> {
  return new Promise((done, reject) => {
    const child = spawn(process.execPath, [join(root, 'node_modules', path), ...args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    const listen = (data: Buffer): void => {
      said += data.toString();
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.on('error', reject);
    child.on('close', (code) => done(code === 0 ? undefined : said || `exit status ${code}`));
  });
}

/** Runs test files, each in its own process, and prints what failed. */
function tests(name: string, files: readonly string[], concurrency: number): Promise<void> {
  const started = performance.now();
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  const failures: string[] = [];
  return new Promise((done) => {
    const stream = run({ files: [...files], concurrency, timeout: 600_000 });
    stream.on('test:pass', (test) => {
      if (test.details.type === 'suite') return;
      tally[test.skip !== undefined || test.todo !== undefined ? 'skipped' : 'passed']++;
    });
    stream.on('test:fail', (test) => {
      const { type } = test.details;
      // Node says here what kind of failure it was.
      const error: Error & { failureType?: string } = test.details.error;
      // A suite, or a file, fails because of the tests in it, which are reported themselves.
      if (error.failureType === 'subtestsFailed') return;
      if (type === 'suite' && error.failureType !== 'hookFailed') return;
      tally.failed++;
      const cause =
        error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : String(error.cause ?? error);
      const place = test.file === undefined ? '' : `${relative(root, test.file)}:${test.line ?? 1}: `;
      failures.push(`${place}${test.name}\n${indent(cause)}`);
    });
    stream.on('end', () => {
      total.passed += tally.passed;
      total.failed += tally.failed;
      total.skipped += tally.skipped;
      const counts = `${tally.passed} of ${tally.passed + tally.failed + tally.skipped} tests`;
      console.log(
        `${failures.length === 0 ? 'ok  ' : 'FAIL'} ${name}: ${counts} in ${files.length} files (${seconds(started)})`,
      );
      for (const failure of failures) console.log(`    ✘ ${failure}`);
      done();
    });
    stream.resume();
  });
}

const words = process.argv.slice(2);
const wanted = (file: string): boolean => words.length === 0 || words.some((word) => file.includes(word));
const files = globSync(['src/**/*.test.ts', 'tests/**/*.test.ts'], { cwd: root }).sort().filter(wanted);
/** Files that start whole machines: few at a time, after the quick ones. */
const heavy = (file: string): boolean => /^tests[\\/](guests|boot)/.test(file);
const absolute = (file: string): string => join(root, file);

const started = performance.now();
if (words.length === 0) {
  await step('types', () => tool('typescript/bin/tsc', '-b'));
  await step('format and lint', () => tool('@biomejs/biome/bin/biome', 'check', '--colors=off', '.'));
  await step('generated pages', async () => {
    const stale = await stalePages();
    return stale.length > 0 ? `not current, run \`npm run pages\`: ${stale.join(', ')}` : undefined;
  });
}
await step('build', async () => {
  await ensureBuilt();
  return undefined;
});
const cores = availableParallelism();
const quick = files.filter((file) => !heavy(file)).map(absolute);
const guests = files.filter(heavy).map(absolute);
if (quick.length > 0) await tests('unit tests', quick, cores);
if (guests.length > 0) await tests('guests', guests, Math.max(1, cores >> 1));
if (words.length > 0 && files.length === 0) console.log(`no test file matches ${words.join(' ')}`);

console.log(`checked in ${seconds(started)}`);
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`);
process.exitCode = total.failed > 0 || (words.length > 0 && files.length === 0) ? 1 : 0;
