import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BadInput } from '../bad-input.ts';
import { viridianBits } from './viridian.ts';

test('viridian: groups become bits of the parameter', () => {
  assert.equal(viridianBits([]), 0);
  assert.equal(viridianBits(['base', 'reference_tsc']), 0xb);
  assert.equal(viridianBits(['defaults']), 0x65);
  assert.equal(viridianBits(['defaults', '!apic_assist', '!freq']), 0x47);
  assert.equal(viridianBits(['all']), 0x1ffd);
});

test('viridian: unknown groups and a lack of base are refused', () => {
  assert.throws(() => viridianBits(['base', 'nonsense']), BadInput);
  assert.throws(() => viridianBits(['synic']), BadInput);
});
