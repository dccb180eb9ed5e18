import assert from 'node:assert/strict';
import { test } from 'node:test';
import { absentName } from './absent.ts';

const name = (text: string, size: 16 | 32 | 64 = 64): string =>
  absentName(
    Uint8Array.from(text.split(' '), (byte) => Number.parseInt(byte, 16)),
    size,
  );

test('absentName: names instructions of other processors, whatever prefixes they have', () => {
  assert.equal(name('0f c7 f0'), 'RDRAND or VMPTRLD (0F C7 /6)');
  assert.equal(name('66 48 0f c7 f8'), 'RDSEED, RDPID or VMPTRST (0F C7 /7)');
  assert.equal(name('0f 01 c8'), 'MONITOR (0F 01 C8)');
  assert.equal(name('c5 f8 58 c1'), 'AVX (VEX 0F 58)');
  assert.equal(name('62 f1 7c 48 58 c1'), 'AVX-512 (EVEX 58)');
  assert.equal(name('66 0f 38 dc c1'), 'AES (0F38 DC)');
  assert.equal(name('66 0f 3a 44 c1 00'), 'PCLMULQDQ (0F3A 44)');
});

test('absentName: what has no name is told by its opcode', () => {
  assert.equal(name('0f 04'), 'opcode 0F 04 /0');
  assert.equal(name('d4 0a'), 'opcode D4 /1');
  assert.equal(name('62 00', 32), 'opcode 62 /0');
});
