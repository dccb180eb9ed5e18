/** Records what this host's processor makes of the conformance cases: `node tools/record-vectors.ts`. Needs gcc on x86-64 Linux. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runNatively } from '../tests/conformance/support/native.ts';
import { encodeRecords, recordedCases } from '../tests/conformance/support/recorded.ts';

const file = fileURLToPath(new URL('../tests/conformance/native/vectors.br', import.meta.url));
const results = runNatively(recordedCases().map(({ c }) => c));
if (results === undefined) throw new Error('this needs an x86-64 Linux host with gcc');
const complete = results.filter((result) => result !== undefined);
if (complete.length < results.length)
  throw new Error("this host's kernel has no 32-bit code segment: record elsewhere");
const bytes = encodeRecords(complete);
writeFileSync(file, bytes);
console.log(`${results.length} results, ${bytes.length} bytes`);
