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
} as const;
const DATA = 0x2_0000;
const DATA_BYTES = 0x8000;

interface Situation {
  readonly code: readonly number[];
  readonly source: number;
  readonly destination: number;
  readonly count: number;
  readonly budget: number;
  readonly down: boolean;
}

/** Runs the instruction in one stay or in stays of one repetition each; everything a guest could see of it. */
function outcome({ code, source, destination, count, budget, down }: Situation, atOnce: boolean): unknown {
  const bench = new Bench().long();
  const { cpu } = bench;
  for (let i = 0; i < DATA_BYTES; i++) bench.bytes(DATA + i, [(i * 7 + (i >> 8)) & 0xff]);
  bench.bytes(CODE, [...code, 0x90, 0xeb, 0xfe]);
  cpu.code.flush();
  cpu.setGpr(S.RAX, 0x1122_3344_5566_7788n);
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
    memory: Buffer.from(new Uint8Array(bench.memory.buffer, 0x20_0000 + DATA, DATA_BYTES)).toString('base64'),
    code: bench.quads(CODE, 16),
  };
}

const check = (name: string, situation: Situation): void =>
  assert.deepEqual(outcome(situation, true), outcome(situation, false), `${name}: ${JSON.stringify(situation)}`);

for (const [name, code] of Object.entries(INSTRUCTIONS)) {
  test(`${name}: many repetitions at once do what one after the other does`, () => {
    const usual = { code, source: DATA + 0x3f0, destination: DATA + 0x2ff0, count: 100, budget: 150, down: false };
    check(name, usual);
    check(name, { ...usual, down: true });
    // The end of the slice falls into the instruction, at its end, and behind it.
    for (const budget of [1, 2, 57, 99, 100, 101, 102]) check(name, { ...usual, budget });
    for (const count of [0, 1, 2, 3, 4]) check(name, { ...usual, count, budget: 6 });
    // Elements that lie in two pages.
    check(name, { ...usual, source: DATA + 0xff1, destination: DATA + 0x2fd3 });
    // The source overlaps the destination in both directions.
    check(name, { ...usual, source: DATA + 0x1003, destination: DATA + 0x1004 });
    check(name, { ...usual, source: DATA + 0x1014, destination: DATA + 0x1001 });
  });

  test(`${name}: overwrites the page it is in`, () => {
    check(name, { code, source: DATA, destination: CODE + 0x40, count: 20, budget: 40, down: false });
  });
}
