import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unpackLz4 } from './lz4.ts';

const MAGIC = [0x02, 0x21, 0x4c, 0x18];
const frame = (...blocks: number[][]): Uint8Array =>
  Uint8Array.from([...MAGIC, ...blocks.flatMap((block) => [block.length, 0, 0, 0, ...block])]);
const text = (data: Uint8Array): string => new TextDecoder().decode(unpackLz4(data));
const chars = (s: string): number[] => [...s].map((c) => c.charCodeAt(0));

test('LZ4: literals, a match further back and one that overlaps itself', () => {
  assert.equal(text(frame([0x30, ...chars('abc')])), 'abc');
  assert.equal(text(frame([0x40, ...chars('abcd'), 4, 0, 0x10, ...chars('!')])), 'abcdabcd!');
  assert.equal(text(frame([0x21, ...chars('xy'), 2, 0, 0])), 'xyxyxyx');
});

test('LZ4: lengths from 15 on continue in further bytes', () => {
  assert.equal(text(frame([0xf0, 2, ...chars('0123456789abcdefg')])), '0123456789abcdefg');
  assert.equal(text(frame([0x1f, ...chars('z'), 1, 0, 255, 0, 0])), 'z'.repeat(1 + 15 + 255 + 4));
});

test('LZ4: blocks follow one another and do not refer to each other', () => {
  assert.equal(text(frame([0x10, ...chars('a')], [0x10, ...chars('b')])), 'ab');
  assert.throws(() => unpackLz4(frame([0x10, ...chars('a')], [0x00, 1, 0])), /before the beginning/);
});

test('LZ4: damaged data is refused', () => {
  assert.throws(() => unpackLz4(Uint8Array.of(1, 2, 3, 4)), /not a legacy LZ4 frame/);
  assert.throws(() => unpackLz4(frame([0x30, ...chars('abc')]).subarray(0, 10)), /cut off/);
  assert.throws(() => unpackLz4(frame([0xf0])), /cut off/);
  assert.throws(() => unpackLz4(frame([0x11, ...chars('a'), 0, 0, 0])), /before the beginning/);
});
