import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Sha256 } from './sha256.ts';

test('Sha256: known messages', () => {
  const hash = (text: string): string => new Sha256().update(new TextEncoder().encode(text)).digest();
  assert.equal(hash(''), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  assert.equal(hash('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

test('Sha256: agrees with the host at every length around a block, in one piece and in many', () => {
  for (let length = 0; length < 200; length++) {
    const bytes = Uint8Array.from({ length }, (_, i) => i * 7 + length);
    const expected = createHash('sha256').update(bytes).digest('hex');
    assert.equal(new Sha256().update(bytes).digest(), expected);
    const hash = new Sha256();
    for (let at = 0; at < length; at += 13) hash.update(bytes.subarray(at, at + 13));
    assert.equal(hash.digest(), expected);
  }
});
