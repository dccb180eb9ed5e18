import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { Bench, CODE } from '../system/testing.ts';

const INSTRUCTIONS = {
  'REP MOVSB': [0xf3, 0xa4],
  'REP MOVSD': [0xf3, 0xa5],
  'REP MOVSQ': [0xf3, 0x48, 0xa5],
  'REP STOSB': [0xf3, 0xaa],
  'REP STOSW': [0xf3, 0x66, 0xab],
  'REP STOSQ': [0xf3, 0x48, 0xab],
  'REP MOVSB with 32-bit addresses': [0x67, 0xf3, 0xa4],
  'REPNE STOSB': [0xf2, 0xaa],
  'REPE CMPSB': [0xf3, 0xa6],
  'REPE CMPSD': [0xf3, 0xa7],
  'REPNE CMPSW': [0xf2, 0x66, 0xa7],
  'REPE SCASB': [0xf3, 0xae],
  'REPNE SCASB': [0xf2, 0xae],
  'REPNE SCASQ': [0xf2, 0x48, 0xaf],
  'REPE CMPSB with 32-bit addresses': [0x67, 0xf3, 0xa6],
} as const;
/** Byte patterns of the data: changing, and all alike but for one, so that comparisons go on for a while. */
const PATTERNS = [(i: number) => (i * 7 + (i >> 8)) & 0xff, (i: number) => (i === 0x1137 ? 1 : 0x88)] as const;
const DATA = 0x2_0000;
const DATA_BYTES = 0x8000;

interface Situation {
  readonly code: readonly number[];
  readonly source: number;
  readonly destination: number;
  readonly count: number;
  readonly budget: number;
  readonly down: boolean;
  /** Index into {@link PATTERNS}. */
  readonly pattern: number;
  /** 32-bit code, where REX prefixes are instructions of their own. */
  readonly narrow: boolean;
}

/** Runs the instruction in one stay or in stays of one repetition each; everything a guest could see of it. */
function outcome(situation: Situation, atOnce: boolean): unknown {
  const { code, source, destination, count, budget, down } = situation;
  const bench = situation.narrow ? new Bench().protect() : new Bench().long();
  const { cpu } = bench;
  bench.bytes(
    DATA,
    Array.from({ length: DATA_BYTES }, (_, i) => PATTERNS[situation.pattern](i)),
  );
  bench.bytes(CODE, [...code, 0x90, 0xeb, 0xfe]);
  cpu.code.flush();
  cpu.setGpr(S.RAX, situation.pattern === 0 ? 0x1122_3344_5566_7788n : 0x8888_8888_8888_8888n);
  cpu.setGpr(S.RSI, BigInt(source));
  cpu.setGpr(S.RDI, BigInt(destination));
  cpu.setGpr(S.RCX, BigInt(count));
  if (down) cpu.eflags |= S.DF;
  let executed = 0;
  if (atOnce) executed = cpu.run(budget);
  else for (let i = 0; i < budget; i++) executed += cpu.run(1);
  return {
    executed,
    rip: cpu.rip,
    registers: [S.RCX, S.RSI, S.RDI].map((r) => cpu.gpr(r)),
    flags: cpu.eflags,
    memory: Buffer.from(new Uint8Array(bench.memory.buffer, 0x20_0000 + DATA, DATA_BYTES)).toString('base64'),
    code: bench.quads(CODE, 16),
  };
}

const check = (name: string, situation: Situation): void =>
  assert.deepEqual(outcome(situation, true), outcome(situation, false), `${name}: ${JSON.stringify(situation)}`);

for (const [name, code] of Object.entries(INSTRUCTIONS)) {
  for (const narrow of [false, true]) {
    if (narrow && code.some((byte) => byte === 0x48 || byte === 0x67)) continue;
    const bits = narrow ? 32 : 64;
    test(`${name} in ${bits}-bit code: many repetitions at once do what one after the other does`, () => {
      for (const pattern of [0, 1]) {
        const place = { source: DATA + 0x3f0, destination: DATA + 0x2ff0, count: 100, budget: 150 };
        const usual = { code, ...place, down: false, pattern, narrow };
        check(name, usual);
        check(name, { ...usual, down: true });
        // The end of the slice falls into the instruction, at its end, and behind it.
        for (const budget of [1, 2, 57, 99, 100, 101, 102]) check(name, { ...usual, budget });
        for (const count of [0, 1, 2, 3, 4]) check(name, { ...usual, count, budget: 6 });
        // Several pages, and elements that lie in two.
        check(name, { ...usual, source: DATA + 0x10, destination: DATA + 0x4020, count: 1100, budget: 1105 });
        check(name, { ...usual, source: DATA + 0xff1, destination: DATA + 0x2fd3 });
        // The source overlaps the destination in both directions.
        check(name, { ...usual, source: DATA + 0x1003, destination: DATA + 0x1004 });
        check(name, { ...usual, source: DATA + 0x1014, destination: DATA + 0x1001 });
        // A different byte ends a comparison.
        check(name, { ...usual, source: DATA + 0x1101, destination: DATA + 0x10c5 });
      }
    });
  }

  test(`${name}: overwrites the page it is in`, () => {
    const place = { source: DATA, destination: CODE + 0x40, count: 20, budget: 40 };
    check(name, { code, ...place, down: false, pattern: 0, narrow: false });
  });
}

test('REP MOVS with 16-bit addresses and in segments with a limit: one repetition after the other', () => {
  for (const code of [
    [0x67, 0xf3, 0xa4],
    [0x67, 0x64, 0xf3, 0xa4],
  ]) {
    const place = { source: 0x5ff0, destination: 0x5000, count: 40, budget: 50 };
    check('REP MOVSB', { code, ...place, down: false, pattern: 0, narrow: true });
  }
});
