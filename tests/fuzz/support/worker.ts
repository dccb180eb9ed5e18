/** The thread that runs fuzz cases; see run.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { Random } from '../../conformance/support/random.ts';
import type { Job, Tally } from './run.ts';

const { job, progress } = workerData as { job: Job; progress: Int32Array };
const { fuzzCase } = (await import(job.module)) as { fuzzCase: (random: Random) => string | Promise<string> };
const started = performance.now();
const ends: Record<string, number> = {};
const failures: { seed: number; message: string }[] = [];
let cases = 0;
for (; cases < job.count && performance.now() - started < job.seconds * 1000 && failures.length < 20; cases++) {
  const seed = job.first + cases;
  Atomics.store(progress, 1, seed);
  Atomics.add(progress, 0, 1);
  try {
    const end = await fuzzCase(new Random(seed));
    ends[end] = (ends[end] ?? 0) + 1;
  } catch (error) {
    failures.push({ seed, message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}
const tally: Tally = { cases, ends, failures };
parentPort!.postMessage(tally);
