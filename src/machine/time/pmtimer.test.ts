import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as R from '../irq/lapic-registers.ts';
import { testPlatform } from '../test-platform.ts';

type T = ReturnType<typeof testPlatform>;
const FLIP = (2n ** 31n * 1_000_000_000n) / 3_579_545n + 1_000n;

/** Block at 0xb000; level-triggered pin 9 gives vector 0x39. */
function machine(): T {
  const t = testPlatform();
  t.platform.setAcpiPortsLocation(1);
  t.apicWrite(R.SPIV, 0x1ff);
  t.platform.mmioWrite(0xfec0_0000, 4, 0x22);
  t.platform.mmioWrite(0xfec0_0010, 4, 0x8039);
  return t;
}

test('PM timer: 32 bits at 3.579545 MHz, dword reads only', () => {
  const t = machine();
  t.pass(1_000_000_000n);
  assert.equal(t.platform.ports.in(0xb008, 4), 3_579_545);
  assert.equal(t.platform.ports.in(0xb008, 2), 0xffff);
  t.platform.setAcpiPortsLocation(0);
  assert.equal(t.platform.ports.in(0xb008, 4), 0xffff_ffff);
  assert.equal(t.platform.ports.in(0x1f48, 4), 3_579_545);
});

test('PM timer: a flip of the top bit sets the status; SCI follows enable and is level', () => {
  const t = machine();
  t.pass(FLIP);
  assert.equal(t.platform.ports.in(0xb000, 2), 1);
  assert.equal(t.take(), -1);
  t.platform.ports.out(0xb002, 2, 1);
  assert.equal(t.take(), 0x39);
  t.platform.ports.out(0xb000, 1, 1);
  t.apicWrite(R.EOI, 0);
  assert.equal(t.take(), -1);
  t.pass(FLIP);
  assert.equal(t.take(), 0x39, 'timed while enabled');
  assert.equal(t.platform.ports.in(0xb000, 4), 0x1_0001);
});

test('PM1: the power button raises SCI, sleep and SCI enable go through the control register', () => {
  const t = machine();
  t.platform.ports.out(0xb002, 2, 0x100);
  t.platform.pm!.pressPowerButton();
  assert.equal(t.take(), 0x39);
  assert.equal(t.platform.ports.in(0xb001, 1), 1);
  t.platform.ports.out(0xb2, 1, 0xf1);
  assert.equal(t.platform.ports.in(0xb004, 2), 1);
  t.platform.ports.out(0xb004, 2, 0x2000 | (5 << 10) | 1);
  assert.equal(t.log.at(-1), 'sleep 5');
  assert.equal(t.platform.ports.in(0xb004, 2), (5 << 10) | 1);
});

test('save and load: the timer value and its event survive', () => {
  const a = machine();
  a.platform.ports.out(0xb002, 2, 1);
  a.pass(1_000_000_000n);
  const b = testPlatform();
  b.platform.load(structuredClone(a.platform.save()));
  assert.deepEqual(b.platform.save(), a.platform.save());
  assert.equal(b.platform.ports.in(0xb008, 4), 3_579_545);
  b.pass(FLIP - 1_000_000_000n);
  assert.equal(b.take(), 0x39);
});
