import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as R from '../irq/lapic-registers.ts';
import { testPlatform } from '../test-platform.ts';

type T = ReturnType<typeof testPlatform>;
const BASE = 0xfed0_0000;
const get = (t: T, offset: number): number => t.platform.mmioRead(BASE + offset, 4);
const set = (t: T, offset: number, value: number): void => t.platform.mmioWrite(BASE + offset, 4, value);

/** Pins 20 to 23 give 0x60 to 0x63, the timer pin 0x30, pin 8 0x38. */
function machine(flags = 0): T {
  const t = testPlatform();
  t.apicWrite(R.SPIV, 0x1ff);
  for (const [pin, vector] of [
    [2, 0x30],
    [8, 0x38],
    [20, 0x60],
    [21, 0x61],
    [22, 0x62],
    [23, 0x63],
  ] as const) {
    t.platform.mmioWrite(0xfec0_0000, 4, 0x10 + pin * 2);
    t.platform.mmioWrite(0xfec0_0010, 4, vector | flags);
  }
  return t;
}
const eoi = (t: T): void => t.apicWrite(R.EOI, 0);

test('HPET: capabilities are three 64-bit timers at 16 ns with legacy replacement', () => {
  const t = machine();
  assert.equal(get(t, 0), 0x8086_a201);
  assert.equal(get(t, 4), 16_000_000);
  assert.equal(get(t, 0x100), 0x30);
  assert.equal(get(t, 0x104), 0x00f0_0000);
  assert.equal(get(t, 0x160), 0);
  assert.equal(t.platform.mmioRead(BASE + 1, 4), 0xffff_ffff);
});

test('HPET: the counter runs at 62.5 MHz while enabled and keeps its value while halted', () => {
  const t = machine();
  t.pass(1000n);
  assert.equal(get(t, 0xf0), 0);
  set(t, 0xf0, 100);
  set(t, 0x10, 1);
  t.pass(1600n);
  assert.equal(get(t, 0xf0), 200);
  set(t, 0x10, 0);
  t.pass(1600n);
  assert.equal(get(t, 0xf0), 200);
});

test('HPET: a one-shot timer interrupts once at its comparator', () => {
  const t = machine();
  set(t, 0x10, 1);
  set(t, 0x128, 1000);
  set(t, 0x12c, 0);
  set(t, 0x120, (21 << 9) | 4);
  t.pass(15_999n);
  assert.equal(t.take(), -1);
  t.pass(1n);
  assert.equal(t.take(), 0x61);
  eoi(t);
  t.pass(1_000_000n);
  assert.equal(t.take(), -1);
});

test('HPET: a periodic timer with set-value ticks at comparator plus periods', () => {
  const t = machine();
  set(t, 0x100, (20 << 9) | 4 | 8 | 0x40 | 0x100);
  set(t, 0x108, 20_000);
  set(t, 0x108, 10_000);
  set(t, 0x10, 1);
  t.pass(320_000n);
  assert.equal(t.take(), 0x60);
  eoi(t);
  t.pass(160_000n);
  assert.equal(t.take(), 0x60);
  assert.equal(get(t, 0x108), 40_000);
});

test('HPET: routes outside pins 20 to 23 become 0, or pin 20 once enabled', () => {
  const t = machine();
  set(t, 0x100, 16 << 9);
  assert.equal(get(t, 0x100), 0x30);
  set(t, 0x100, (31 << 9) | 4);
  assert.equal(get(t, 0x100), 0x34 | (20 << 9));
});

test('HPET: a level timer holds its pin until the status bit is cleared', () => {
  const t = machine(0x8000);
  set(t, 0x10, 1);
  set(t, 0x148, 100);
  set(t, 0x14c, 0);
  set(t, 0x140, (22 << 9) | 4 | 2);
  t.pass(1600n);
  assert.equal(get(t, 0x20), 4);
  assert.equal(t.take(), 0x62);
  eoi(t);
  assert.equal(t.take(), 0x62, 'still held');
  set(t, 0x20, 4);
  eoi(t);
  assert.equal(t.take(), -1);
  assert.equal(get(t, 0x20), 0);
});

test('HPET: legacy replacement takes the PIT and RTC lines', () => {
  const t = machine();
  t.platform.ports.out(0x43, 1, 0x34);
  t.platform.ports.out(0x40, 1, 0);
  t.platform.ports.out(0x40, 1, 0);
  set(t, 0x10, 3);
  set(t, 0x108, 1000);
  set(t, 0x10c, 0);
  set(t, 0x100, 4);
  set(t, 0x128, 2000);
  set(t, 0x12c, 0);
  set(t, 0x120, 4);
  assert.equal(t.platform.pit!.running, false);
  t.pass(16_000n);
  assert.equal(t.take(), 0x30);
  eoi(t);
  t.pass(16_000n);
  assert.equal(t.take(), 0x38);
});

test('HPET: switched off by the tool stack it reads all ones', () => {
  const t = machine();
  t.platform.hpet!.present = false;
  set(t, 0x10, 1);
  assert.equal(get(t, 0), 0xffff_ffff);
});

test('save and load: a running HPET goes on', () => {
  const a = machine();
  set(a, 0x10, 1);
  set(a, 0x128, 1000);
  set(a, 0x12c, 0);
  set(a, 0x120, (21 << 9) | 4);
  a.pass(8000n);
  const b = testPlatform();
  b.platform.load(structuredClone(a.platform.save()));
  assert.deepEqual(b.platform.save(), a.platform.save());
  assert.equal(get(b, 0xf0), 500);
  b.pass(8000n);
  assert.equal(b.take(), 0x61);
});
