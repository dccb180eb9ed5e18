import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testPlatform } from '../test-platform.ts';
import * as R from './lapic-registers.ts';

type T = ReturnType<typeof testPlatform>;
const out = (t: T, port: number, value: number): void => t.platform.ports.out(port, 1, value);
const inb = (t: T, port: number): number => t.platform.ports.in(port, 1);

/** Virtual wire, vectors 0x20 and 0x28, everything unmasked. */
function machine(icw4 = 1): T {
  const t = testPlatform();
  t.apicWrite(R.SPIV, 0x1ff);
  t.apicWrite(R.LVT0, R.DM_EXTINT);
  for (const [base, port] of [
    [0x20, 0x20],
    [0x28, 0xa0],
  ] as const) {
    out(t, port, 0x11);
    out(t, port + 1, base);
    out(t, port + 1, port === 0x20 ? 4 : 2);
    out(t, port + 1, icw4);
    out(t, port + 1, 0);
  }
  return t;
}
const raise = (t: T, irq: number): void => t.platform.routing.assertIsa(irq);
const lower = (t: T, irq: number): void => t.platform.routing.deassertIsa(irq);

test('PIC: interrupts reach the vCPU only through an ExtINT LVT0', () => {
  const t = machine();
  t.apicWrite(R.LVT0, R.DM_EXTINT | R.LVT_MASKED);
  raise(t, 3);
  assert.equal(t.take(), -1);
  t.kicks.length = 0;
  t.apicWrite(R.LVT0, R.DM_EXTINT);
  assert.deepEqual(t.kicks, [0]);
  assert.equal(t.take(), 0x23);
});

test('PIC: lower inputs go first, an interrupt in service holds off itself and lower ones', () => {
  const t = machine();
  raise(t, 6);
  raise(t, 4);
  assert.equal(t.take(), 0x24);
  assert.equal(t.take(), -1);
  out(t, 0x20, 0x0b);
  assert.equal(inb(t, 0x20), 0x10, 'ISR');
  out(t, 0x20, 0x0a);
  assert.equal(inb(t, 0x20), 0x40, 'IRR');
  raise(t, 1);
  assert.equal(t.take(), 0x21, 'nests');
  out(t, 0x20, 0x20);
  assert.equal(t.take(), -1);
  out(t, 0x20, 0x20);
  assert.equal(t.take(), 0x26);
});

test('PIC: the slave interrupts through input 2 and needs two EOIs', () => {
  const t = machine();
  raise(t, 12);
  assert.equal(t.take(), 0x2c);
  raise(t, 3);
  assert.equal(t.take(), -1, 'input 2 in service outranks 3');
  out(t, 0xa0, 0x20);
  out(t, 0x20, 0x62);
  assert.equal(t.take(), 0x23);
});

test('PIC: an edge that was masked waits; one taken back is forgotten', () => {
  const t = machine();
  out(t, 0x21, 0xff);
  assert.equal(inb(t, 0x21), 0xff);
  raise(t, 5);
  raise(t, 7);
  lower(t, 7);
  assert.equal(t.take(), -1);
  out(t, 0x21, 0);
  assert.equal(t.take(), 0x25);
  out(t, 0x20, 0x20);
  assert.equal(t.take(), -1);
});

test('PIC: a level input by ELCR interrupts again until lowered', () => {
  const t = machine();
  t.platform.ports.out(0x4d0, 2, 0xffff);
  assert.equal(t.platform.ports.in(0x4d0, 2), 0xdef8);
  raise(t, 11);
  for (let i = 0; i < 2; i++) {
    assert.equal(t.take(), 0x2b);
    out(t, 0xa0, 0x20);
    out(t, 0x20, 0x20);
  }
  lower(t, 11);
  assert.equal(t.take(), -1);
});

test('PIC: auto-EOI, rotation, specific EOI, poll and special mask', () => {
  const auto = machine(3);
  raise(auto, 3);
  assert.equal(auto.take(), 0x23);
  out(auto, 0x20, 0x0b);
  assert.equal(inb(auto, 0x20), 0);

  const t = machine();
  out(t, 0x20, 0xc4);
  raise(t, 3);
  raise(t, 5);
  assert.equal(t.take(), 0x25, 'input 4 is lowest, so 5 is highest');
  out(t, 0x20, 0x65);
  out(t, 0x20, 0x0c);
  assert.equal(inb(t, 0x20), 3, 'poll acknowledges');
  out(t, 0x21, 0x08);
  out(t, 0x20, 0x68);
  raise(t, 4);
  assert.equal(t.take(), 0x24, 'special mask: masked service does not hold off');
});

test('PIC: wide accesses read all ones and are dropped', () => {
  const t = machine();
  t.platform.ports.out(0x20, 2, 0x1111);
  assert.equal(t.platform.ports.in(0x20, 2), 0xffff);
  assert.equal(inb(t, 0x21), 0);
});

test('save and load: a PIC pair with one interrupt in service and one waiting goes on', () => {
  const a = machine();
  raise(a, 12);
  a.take();
  raise(a, 0);
  const b = testPlatform();
  b.platform.load(structuredClone(a.platform.save()));
  assert.deepEqual(b.platform.save(), a.platform.save());
  assert.equal(b.take(), 0x20);
  out(b, 0x20, 0x60);
  raise(b, 13);
  assert.equal(b.take(), -1);
  out(b, 0xa0, 0x20);
  out(b, 0x20, 0x62);
  assert.equal(b.take(), 0x2d);
});
