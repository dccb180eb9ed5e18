import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { Bench, CODE } from '../system/testing.ts';

/** Runs straight code after other code of the same forms was decoded: registers afterwards. */
function registers(bytes: readonly number[], count: number, before: readonly number[]): bigint[] {
  const bench = new Bench().long();
  bench.bytes(0x9000, [...before, 0xeb, 0xfe]);
  bench.bytes(CODE, [...bytes, 0xeb, 0xfe]);
  if (before.length > 0) {
    bench.cpu.rip = 0x9000n;
    bench.cpu.run(count);
  }
  for (let n = 0; n < 16; n++) bench.cpu.setGpr(n, n === S.RSP ? 0x7000n : BigInt(0x1_0000 + n));
  bench.cpu.rip = BigInt(CODE);
  bench.cpu.run(count);
  return Array.from({ length: 16 }, (_, n) => bench.cpu.gpr(n));
}

const dword = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);

const CASES: Readonly<Record<string, readonly [first: number[], second: number[], count: number]>> = {
  'immediates of one byte, negative and positive': [[0x48, 0x83, 0xc0, 5], [0x48, 0x83, 0xc0, 0xfe], 1],
  'immediates of four bytes': [[0x48, 0x81, 0xc0, ...dword(1)], [0x48, 0x81, 0xc0, ...dword(-7)], 1],
  'immediates of eight bytes': [[0x48, 0xb8, ...dword(1), ...dword(2)], [0x48, 0xb8, ...dword(-3), ...dword(-4)], 1],
  'immediates of two bytes': [[0x66, 0xbb, 1, 0], [0x66, 0xbb, 0xfe, 0xca], 1],
  'displacements of one and four bytes, with and without SIB': [
    [0x48, 0x8d, 0x43, 4, 0x48, 0x8d, 0x8b, ...dword(100), 0x48, 0x8d, 0x54, 0xb3, 1],
    [0x48, 0x8d, 0x43, 0xfc, 0x48, 0x8d, 0x8b, ...dword(-100), 0x48, 0x8d, 0x54, 0xb3, 0x80],
    3,
  ],
  'displacements from the instruction pointer': [
    [0x48, 0x8d, 0x05, ...dword(0x10)],
    [0x48, 0x8d, 0x05, ...dword(-0x20)],
    1,
  ],
  'a displacement and an immediate': [
    [0xc7, 0x83, ...dword(0x1000), ...dword(5), 0x8b, 0x93, ...dword(0x1000)],
    [0xc7, 0x83, ...dword(0x1008), ...dword(-5), 0x8b, 0x93, ...dword(0x1008)],
    2,
  ],
  'the same opcode with other prefixes': [
    [0x89, 0xd8, 0x66, 0x89, 0xd8, 0x48, 0x89, 0xd8],
    [0x48, 0x89, 0xd9, 0x66, 0x89, 0xd1, 0x41, 0x89, 0xd8],
    3,
  ],
  'popping to memory that the stack pointer addresses': [
    [0x8f, 0x44, 0x24, 8],
    [0x6a, 0x33, 0x8f, 0x44, 0x24, 0x10, 0x48, 0x8b, 0x44, 0x24, 0x10],
    3,
  ],
};

for (const [what, [first, second, count]] of Object.entries(CASES))
  test(`records from templates: ${what}`, () => {
    assert.deepEqual(registers(second, count, first), registers(second, count, []));
  });
