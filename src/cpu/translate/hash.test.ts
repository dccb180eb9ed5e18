import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findHash, slotOf } from './hash.ts';

test('hash: places of a page have slots of their own, in a table not much larger than there are places', () => {
  // Places of all kinds: next to each other, in steps, and scattered by a fixed recurrence.
  const scattered = Array.from({ length: 40 }, (_, i) => (i * i * 37 + i * 11) & 0xfff);
  const sets = [[0, 1, 2, 3, 4], Array.from({ length: 64 }, (_, i) => i * 64), [...new Set(scattered)]];
  for (const offsets of sets) {
    const hash = findHash(offsets);
    assert.ok(hash !== undefined);
    const slots = new Set(offsets.map((offset) => slotOf(offset, hash.factor, hash.bits)));
    assert.equal(slots.size, offsets.length);
    assert.ok(Math.max(...slots) < 16 * offsets.length);
  }
});
