import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testPlatform } from '../test-platform.ts';
import * as R from './lapic-registers.ts';
import { pciIntxToGsi, pciIntxToLink } from './routing.ts';

const BASE = 0xfec0_0000;
type T = ReturnType<typeof testPlatform>;
const read = (t: T, register: number): number => {
  t.platform.mmioWrite(BASE, 4, register);
  return t.platform.mmioRead(BASE + 0x10, 4);
};
const write = (t: T, register: number, value: number): void => {
  t.platform.mmioWrite(BASE, 4, register);
  t.platform.mmioWrite(BASE + 0x10, 4, value);
};
const route = (t: T, pin: number, low: number, high = 0): void => {
  write(t, 0x11 + pin * 2, high);
  write(t, 0x10 + pin * 2, low);
};
const eoi = (t: T, vcpu = 0): void => t.apicWrite(R.EOI, 0, vcpu);
const machine = (vcpus = 1): T => {
  const t = testPlatform(vcpus);
  for (let v = 0; v < vcpus; v++) t.apicWrite(R.SPIV, 0x1ff, v);
  return t;
};

test('IO-APIC: version, pins and a writable 4-bit id', () => {
  const t = testPlatform();
  assert.equal(read(t, 1), 0x002f_0011);
  assert.equal(read(t, 0), 0);
  write(t, 0, 0x2100_0000);
  assert.equal(read(t, 0), 0x0100_0000);
  assert.equal(read(t, 2), 0x0100_0000);
  write(t, 1, 0);
  assert.equal(read(t, 1), 0x002f_0011);
});

test('IO-APIC: a byte write selects that byte and a dword read gives it back whole', () => {
  const t = testPlatform();
  t.platform.mmioWrite(BASE, 4, 0xdead_beef);
  t.platform.mmioWrite(BASE, 1, 0);
  assert.equal(t.platform.mmioRead(BASE, 4), 0);
  assert.equal(t.platform.mmioRead(BASE + 1, 1), 0);
  assert.equal(t.platform.mmioRead(BASE + 0x40, 4), 0);
});

test('IO-APIC: undefined registers read 0 and entries keep read-only bits', () => {
  const t = testPlatform();
  assert.equal(read(t, 5), 0);
  assert.equal(read(t, 0x70), 0);
  assert.equal(read(t, 0x10 + 47 * 2), 0x10000);
  write(t, 0x12, 0xffff_ffff);
  assert.equal(read(t, 0x12), 0xffff_afff);
});

test('IO-APIC: an edge pin interrupts once per rising edge and not while masked', () => {
  const t = machine();
  route(t, 5, 0x45);
  t.platform.routing.assertIsa(5);
  t.platform.routing.assertIsa(5);
  assert.equal(t.take(), 0x45);
  eoi(t);
  assert.equal(t.take(), -1);
  t.platform.routing.deassertIsa(5);
  write(t, 0x10 + 10, 0x10045);
  t.platform.routing.assertIsa(5);
  write(t, 0x10 + 10, 0x45);
  assert.equal(t.take(), -1, 'the edge passed while masked');
});

test('IO-APIC: a level pin holds remote IRR until EOI and interrupts again while asserted', () => {
  const t = machine();
  route(t, 20, 0x8045);
  t.platform.routing.assertGsi(20);
  assert.equal(read(t, 0x10 + 40), 0xc045);
  assert.equal(t.take(), 0x45);
  eoi(t);
  assert.equal(t.take(), 0x45);
  t.platform.routing.deassertGsi(20);
  eoi(t);
  assert.equal(t.take(), -1);
  assert.equal(read(t, 0x10 + 40), 0x8045);
});

test('IO-APIC: unmasking a level pin delivers a line already held', () => {
  const t = machine();
  t.platform.routing.assertGsi(21);
  route(t, 21, 0x8046);
  assert.equal(t.take(), 0x46);
});

test('IO-APIC: destination and delivery modes reach the right vCPUs', () => {
  const t = machine(3);
  for (let v = 0; v < 3; v++) t.apicWrite(R.LDR, 1 << (24 + v), v);
  const takers = (): number[] => {
    const list = [0, 1, 2].filter((v) => t.take(v) >= 0);
    for (const v of list) eoi(t, v);
    return list;
  };
  const pulse = (): void => {
    t.platform.routing.assertGsi(30);
    t.platform.routing.deassertGsi(30);
  };
  route(t, 30, 0x50, 4 << 24);
  pulse();
  assert.deepEqual(takers(), [2]);
  route(t, 30, 0x50 | (1 << 11), 6 << 24);
  pulse();
  assert.deepEqual(takers(), [1, 2]);
  route(t, 30, 0x50 | (1 << 11) | R.DM_LOWEST, 6 << 24);
  pulse();
  assert.equal(takers().length, 1);
  route(t, 30, R.DM_NMI, 2 << 24);
  pulse();
  assert.equal(t.log.at(-1), 'nmi 1');
});

test('routing: PCI INTx lines go to GSIs 16 to 47 and by their link to an ISA line', () => {
  assert.equal(pciIntxToGsi(0, 0), 16);
  assert.equal(pciIntxToGsi(3, 0), 28);
  assert.equal(pciIntxToGsi(31, 3), 16 + ((124 + 3 + 3) & 31));
  assert.equal(pciIntxToLink(3, 2), 1);
  const t = machine();
  route(t, 28, 0x8060);
  route(t, 10, 0x8061);
  t.platform.routing.setLinkRoute(3, 10);
  t.platform.routing.assertIntx(3, 0);
  assert.deepEqual([t.take(), t.take()], [0x61, -1]);
  eoi(t);
  t.platform.routing.setLinkRoute(3, 0);
  assert.equal(t.take(), 0x61, 'raised again by the EOI while the line was held');
  eoi(t);
  assert.equal(t.take(), 0x60);
  t.platform.routing.deassertIntx(3, 0);
  eoi(t);
  assert.equal(t.take(), -1);
});

test('save and load: IO-APIC entries, held lines and remote IRR survive', () => {
  const a = machine();
  route(a, 20, 0x8045);
  a.platform.routing.assertGsi(20);
  const b = testPlatform();
  b.platform.load(structuredClone(a.platform.save()));
  assert.deepEqual(b.platform.save(), a.platform.save());
  assert.equal(b.take(), 0x45);
  eoi(b);
  assert.equal(b.take(), 0x45);
});
