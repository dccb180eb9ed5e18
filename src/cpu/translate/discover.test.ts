import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder } from '../decode/decoder.ts';
import { discover, type PageCode } from './discover.ts';

/** Offsets of the blocks of a region that begins at 0, when control came to certain places only. */
function blocksOf(code: readonly number[], reached: readonly number[]): number[] {
  const bytes = new Uint8Array(4096);
  bytes.set(code);
  const page: PageCode = {
    decoder: new Decoder({ forcedEmulation: false }),
    bytes,
    host: 0,
    codeSize: 64,
    real: false,
    storesBeside: false,
    reached: (offset) => reached.includes(offset),
    frequent: () => [],
  };
  return discover(page, 0).blocks.map(({ offset }) => offset);
}

// TEST RAX, RAX; JNE 10; INC RBX; RET; NOP; DEC RBX; RET
const BRANCH = [0x48, 0x85, 0xc0, 0x75, 0x05, 0x48, 0xff, 0xc3, 0xc3, 0x90, 0x48, 0xff, 0xcb, 0xc3];
// INC RAX; CMP RAX, RCX; JNE 0; DEC RBX; RET
const LOOP = [0x48, 0xff, 0xc0, 0x48, 0x39, 0xc8, 0x75, 0xf8, 0x48, 0xff, 0xcb, 0xc3];

test('a region has the places that control came to', () => {
  assert.deepEqual(blocksOf(BRANCH, [0, 5, 10]), [0, 5, 10]);
  assert.deepEqual(blocksOf(BRANCH, [0, 5]), [0, 5]);
  assert.deepEqual(blocksOf(BRANCH, [0, 10]), [0, 10]);
});

test('a region that begins with a loop has what comes behind it as well', () => {
  assert.deepEqual(blocksOf(LOOP, [0]), [0, 8]);
  assert.deepEqual(blocksOf([...BRANCH.slice(0, 5), ...LOOP], [0, 5]), [0, 5]);
});
