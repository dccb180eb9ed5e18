/**
 * Runs fuzz cases in a worker thread that this thread watches: a case that never ends is a failure, not a hanging test.
 *
 * `XENOLITH_FUZZ=N` runs N times as many cases, `XENOLITH_SEED=S` begins with the case of seed S. Every failure names its seed.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { Worker } from 'node:worker_threads';

export interface Job {
  /** URL of the module whose export `fuzzCase` runs one case. */
  readonly module: string;
  readonly first: number;
  readonly count: number;
  /** Seconds after which no further case is begun. */
  readonly seconds: number;
}

/** What the worker tells at its end. */
export interface Tally {
  readonly cases: number;
  /** How cases ended, and how often. */
  readonly ends: Readonly<Record<string, number>>;
  readonly failures: readonly { readonly seed: number; readonly message: string }[];
}

/** Seconds a single case may take on a busy machine. */
const STUCK_SECONDS = 20;

/** Runs `count` cases, or as many as fit into `seconds`, and fails the test when any of them failed. */
export async function fuzz(context: TestContext, module: URL, count: number, seconds: number): Promise<Tally> {
  const scale = Number(process.env['XENOLITH_FUZZ'] ?? 1);
  assert.ok(scale > 0, 'XENOLITH_FUZZ must be a number above 0');
  const chosen = process.env['XENOLITH_SEED'];
  const first = chosen === undefined ? Date.now() % 0x4000_0000 : Number(chosen);
  context.diagnostic(`first seed ${first}`);
  const progress = new Int32Array(new SharedArrayBuffer(8));
  const job: Job = { module: module.href, first, count: Math.ceil(count * scale), seconds: seconds * scale };
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: { job, progress } });
  const tally = await new Promise<Tally>((done, fail) => {
    let last = -1;
    let since = performance.now();
    const watch = setInterval(() => {
      const begun = Atomics.load(progress, 0);
      if (begun !== last) [last, since] = [begun, performance.now()];
      else if (performance.now() - since > STUCK_SECONDS * 1000) {
        clearInterval(watch);
        void worker.terminate();
        fail(new Error(`case of seed ${Atomics.load(progress, 1)} does not end`));
      }
    }, 250);
    const settle = (action: () => void): void => {
      clearInterval(watch);
      action();
    };
    worker.once('message', (message: Tally) => settle(() => done(message)));
    worker.once('error', (error) => settle(() => fail(error)));
    worker.once('exit', () =>
      settle(() => fail(new Error(`the worker ended in the case of seed ${Atomics.load(progress, 1)}`))),
    );
  });
  context.diagnostic(`${tally.cases} cases: ${JSON.stringify(tally.ends)}`);
  assert.deepEqual(tally.failures, [], 'XENOLITH_SEED=<seed> runs a case again');
  assert.ok(tally.cases > 0);
  return tally;
}
