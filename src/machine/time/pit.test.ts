import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as R from '../irq/lapic-registers.ts';
import { testPlatform } from '../test-platform.ts';

type T = ReturnType<typeof testPlatform>;
const out = (t: T, port: number, ...values: number[]): void => {
  for (const value of values) t.platform.ports.out(port, 1, value);
};
const inb = (t: T, port: number): number => t.platform.ports.in(port, 1);
const word = (t: T, port: number): number => inb(t, port) | (inb(t, port) << 8);

/** Pin 2 of the IO-APIC gives vector 0x30. */
function machine(): T {
  const t = testPlatform();
  t.apicWrite(R.SPIV, 0x1ff);
  t.platform.mmioWrite(0xfec0_0000, 4, 0x14);
  t.platform.mmioWrite(0xfec0_0010, 4, 0x30);
  return t;
}

test('PIT: mode 2 interrupts at the programmed rate through IO-APIC pin 2', () => {
  const t = machine();
  out(t, 0x43, 0x34);
  out(t, 0x40, 11932 & 0xff, 11932 >> 8);
  t.pass(10_000_151n);
  assert.equal(t.take(), 0x30);
  t.apicWrite(R.EOI, 0);
  assert.equal(t.take(), -1);
  t.pass(10_000_151n);
  assert.equal(t.take(), 0x30);
});

test('PIT: latched counts and status read back in order, then the running count', () => {
  const t = machine();
  out(t, 0x43, 0xb0);
  out(t, 0x61, 1);
  out(t, 0x42, 0xe8, 0x03);
  t.pass(500_000n);
  out(t, 0x43, 0xc8);
  t.pass(100_000n);
  assert.equal(inb(t, 0x42), 0x30, 'status: output low, word access, mode 0');
  assert.equal(word(t, 0x42), 1000 - 596);
  assert.equal(word(t, 0x42), 1000 - 715);
  assert.equal(inb(t, 0x61) & 0x20, 0);
  t.pass(1_000_000n);
  assert.equal(inb(t, 0x61) & 0x21, 0x21, 'mode 0 output goes high at the end');
});

test('PIT: the gate at port 0x61 stops channel 2 and lets it go on', () => {
  const t = machine();
  out(t, 0x61, 1);
  out(t, 0x43, 0xb0);
  out(t, 0x42, 0xff, 0xff);
  t.pass(1_000_000n);
  out(t, 0x61, 0);
  t.pass(5_000_000n);
  out(t, 0x61, 1);
  t.pass(1_000_000n);
  assert.equal(word(t, 0x42), 0xffff - 2386);
});

test('PIT: the control port and wide accesses read all ones', () => {
  const t = machine();
  assert.equal(inb(t, 0x43), 0xff);
  assert.equal(t.platform.ports.in(0x40, 2), 0xffff);
});

test('PIT: while masked everywhere it sleeps, and an unmasked pin wakes it', () => {
  const t = machine();
  t.platform.mmioWrite(0xfec0_0010, 4, 0x10030);
  out(t, 0x43, 0x34);
  out(t, 0x40, 0, 0);
  t.pass(1_000_000_000n);
  assert.equal(t.platform.pit!.ticks.deadline, undefined);
  t.platform.mmioWrite(0xfec0_0010, 4, 0x30);
  assert.equal(t.take(), 0x30);
});

test('save and load: a running PIT counts on', () => {
  const a = machine();
  out(a, 0x43, 0x34);
  out(a, 0x40, 0, 0x10);
  a.pass(1_000_000n);
  const b = testPlatform();
  b.platform.load(structuredClone(a.platform.save()));
  assert.deepEqual(b.platform.save(), a.platform.save());
  for (const t of [a, b]) {
    assert.equal(word(t, 0x40), 4096 - 1193);
    t.pass(2_500_000n);
    assert.equal(t.take(), 0x30);
  }
});
