/**
 * Results of instructions against those of a processor: registers, memory, flags, x87 and SSE state, faults.
 *
 * Cases come from the instruction rows. Where gcc and an x86-64 host are at hand they run there as well; recorded results are compared
 * everywhere. XENOLITH_NATIVE is the number of cases per row, operand size and form, XENOLITH_SEED the seed, XENOLITH_ONLY a
 * regular expression that chooses instructions by name.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Case, makeCase, shapes } from './support/cases.ts';
import { describe, differences } from './support/compare.ts';
import { isUndefined } from './support/defined.ts';
import type { Execution } from './support/layout.ts';
import { TestMachine } from './support/machine.ts';
import { runNatively } from './support/native.ts';
import { Random } from './support/random.ts';
import { readRecords, recordedCases } from './support/recorded.ts';

const PER_SHAPE = Number(process.env['XENOLITH_NATIVE'] ?? 5);
const only = new RegExp(process.env['XENOLITH_ONLY'] ?? '');
const { seed } = Random.fromEnvironment();

const chosen = shapes().filter((shape) => only.test(shape.parsed.row.name));
const casesOf = (count: number): Case[] =>
  chosen
    .flatMap((shape) => Array.from({ length: count }, (_, n) => makeCase(seed, shape, n)))
    .filter((c) => !isUndefined(c));

const UNDEFINED_OPCODE = 6;

/** One failure per row is enough to read. */
const check = (pairs: readonly { c: Case; expected: Execution }[], translated: boolean): void => {
  const machine = new TestMachine();
  machine.translated = translated;
  const failures = new Map<string, string>();
  let count = 0,
    compared = 0;
  for (const { c, expected } of pairs) {
    const found = machine.execute(c);
    // The processor lacks an extension that the model has.
    if (expected.vector === UNDEFINED_OPCODE && found.vector !== UNDEFINED_OPCODE) continue;
    compared++;
    const list = differences(c, expected, found);
    if (list.length === 0) continue;
    count++;
    const { row } = c.shape.parsed;
    failures.set(`${row.name} ${row.encoding} ${c.shape.size}`, `${describe(c)}\n    ${list.join('\n    ')}`);
  }
  assert.ok(failures.size === 0, `${count} differences\n${[...failures.values()].slice(0, 40).join('\n')}`);
  assert.ok(compared >= pairs.length * 0.9, `only ${compared} of ${pairs.length} cases ran`);
};

const pairsOf = (cases: readonly Case[], results: readonly (Execution | undefined)[]) =>
  cases.flatMap((c, i) => {
    const expected = results[i];
    return expected === undefined ? [] : [{ c, expected }];
  });

const cases = casesOf(PER_SHAPE);
const native = runNatively(cases);

if (native !== undefined) {
  test(`interpreter: results of ${cases.length} instructions are those of the host processor (seed ${seed})`, () => {
    check(pairsOf(cases, native), false);
  });

  test(`translator: results of instructions are those of the host processor (seed ${seed})`, () => {
    // Routines are the same in both engines, and each case costs a module.
    const some = pairsOf(cases, native).filter(
      ({ c }, i) => i % PER_SHAPE === 0 && c.shape.parsed.row.mean !== undefined,
    );
    check(some, true);
  });
}

test('interpreter: results of recorded instructions are those of the processor they were recorded on', () => {
  const file = fileURLToPath(new URL('./native/vectors.br', import.meta.url));
  const pairs = readRecords(readFileSync(file)).filter(
    ({ c }) => !isUndefined(c) && only.test(c.shape.parsed.row.name),
  );
  const all = recordedCases().filter(({ c }) => !isUndefined(c) && only.test(c.shape.parsed.row.name));
  assert.ok(
    pairs.length >= all.length * 0.8,
    `${all.length - pairs.length} of ${all.length} cases have no result: run tools/record-vectors.ts`,
  );
  check(pairs, false);
});
