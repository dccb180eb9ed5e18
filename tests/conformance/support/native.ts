/** Runs cases on the host processor, where it is an x86-64 one and a C compiler is at hand. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CODE, decodeResult, type Execution, encodeCases, type Input, RESULT_BYTES } from './layout.ts';

const source = fileURLToPath(new URL('../native/runner.c', import.meta.url));

const PROTECTION = 13;

/** #GP of the jump into 32-bit code, not of the code: this kernel offers no 32-bit segment. */
const refused = (input: Input, result: Execution): boolean =>
  input.bits === 32 && result.vector === PROTECTION && result.rip >> 12n !== CODE >> 12n;

/** Results in the order of the cases, without those of 32-bit code where the host's kernel has none; undefined when it cannot run any. */
export const runNatively = (cases: readonly Input[]): (Execution | undefined)[] | undefined => {
  if (process.arch !== 'x64' || process.platform !== 'linux') return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-native-'));
  try {
    const program = join(folder, 'runner');
    const compiled = spawnSync('gcc', ['-O1', '-o', program, source], { encoding: 'utf8' });
    if (compiled.error !== undefined) return undefined;
    if (compiled.status !== 0) throw new Error(`runner.c does not compile:\n${compiled.stderr}`);
    const input = encodeCases(cases);
    const run = spawnSync(program, [], { input, maxBuffer: cases.length * RESULT_BYTES + 4096 });
    const out = new Uint8Array(run.stdout);
    if (run.status !== 0 || out.length !== cases.length * RESULT_BYTES)
      throw new Error(
        `runner ended with ${run.status ?? run.signal} after ${out.length / RESULT_BYTES} of ${cases.length} cases`,
      );
    return cases.map((c, i) => {
      const result = decodeResult(out, i * RESULT_BYTES);
      return refused(c, result) ? undefined : result;
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
};
