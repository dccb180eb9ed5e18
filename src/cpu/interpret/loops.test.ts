/** A machine's first instructions run in a loop of their own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { Bench, CODE } from '../system/testing.ts';
import { createInterpreter, interpreterModules } from './instance.ts';

/** INC RAX; INC RBX; JMP back. */
const LOOP = [0x48, 0xff, 0xc0, 0x48, 0xff, 0xc3, 0xeb, 0xf8];

test('the loop that follows the first one goes on where it stopped, to the instruction', () => {
  // Around a hundred thousand instructions, in one run and in pieces.
  for (const pieces of [[99_999, 1, 1, 1, 1], [99_990, 20, 200_000], [300_000], [40_000, 40_000, 40_000, 7]]) {
    const b = new Bench().long();
    b.bytes(CODE, LOOP);
    b.cpu.rip = BigInt(CODE);
    let done = 0;
    for (const budget of pieces) {
      assert.equal(b.cpu.run(budget), budget);
      done += budget;
      const [rounds, rest] = [Math.floor(done / 3), done % 3];
      assert.deepEqual(
        [b.cpu.gpr(S.RAX), b.cpu.gpr(S.RBX), b.cpu.rip],
        [BigInt(rounds + (rest > 0 ? 1 : 0)), BigInt(rounds + (rest > 1 ? 1 : 0)), BigInt(CODE + rest * 3)],
        `after ${done} of ${pieces.join()}`,
      );
    }
  }
});

test('count writes consecutive numbers and nothing else', () => {
  const { memory } = new Bench();
  const { count } = createInterpreter(memory, interpreterModules());
  const words = new Uint32Array(memory.buffer, 0, 16);
  count(8, 3, 0xffff_ffff);
  count(48, 0, 7);
  assert.deepEqual([...words], [0, 0, 0xffff_ffff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
});
