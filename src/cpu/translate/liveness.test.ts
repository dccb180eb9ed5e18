import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Decoded, Decoder } from '../decode/decoder.ts';
import { flagsDie } from './liveness.ts';

const decode = (bytes: readonly number[]): Decoded[] => {
  const decoder = new Decoder({ forcedEmulation: false });
  const memory = Uint8Array.from([...bytes, ...new Array<number>(16).fill(0x90)]);
  const found: Decoded[] = [];
  for (let at = 0; at < bytes.length; ) {
    const d = decoder.decode(memory, at, memory.length, 32, false);
    assert.ok(typeof d !== 'string');
    found.push(d);
    at += d.length;
  }
  return found;
};

test('liveness: flags are dead when registers alone are touched until all of them are set', () => {
  // mov eax, ecx; lea edx, [esi+4]; inc ecx; cmp eax, edx
  assert.ok(flagsDie(decode([0x89, 0xc8, 0x8d, 0x56, 0x04, 0x41, 0x39, 0xd0]), 0));
  // shl eax, 3
  assert.ok(flagsDie(decode([0xc1, 0xe0, 0x03]), 0));
});

test('liveness: flags are seen by whoever reads them or may leave the region, and where the block ends', () => {
  const seen: readonly (readonly number[])[] = [
    [0x8b, 0x06, 0x39, 0xd0], // mov eax, [esi]; cmp eax, edx
    [0x3b, 0x06], // cmp eax, [esi]
    [0x11, 0xc8], // adc eax, ecx
    [0x41], // inc ecx
    [0xd3, 0xe0], // shl eax, cl: not by 0
    [0xc1, 0xe0, 0x20], // shl eax, 32
    [0x0f, 0x94, 0xc0, 0x39, 0xd0], // sete al; cmp eax, edx
    [0x72, 0x00], // jb
  ];
  for (const bytes of seen) assert.ok(!flagsDie(decode(bytes), 0), bytes.join());
});
