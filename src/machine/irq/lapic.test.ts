import assert from 'node:assert/strict';
import { test } from 'node:test';
import { vcpuId } from '../../base/int.ts';
import { PVH_EMULATION } from '../platform.ts';
import { testPlatform } from '../test-platform.ts';
import * as R from './lapic-registers.ts';

const BASE = 0x1b;
const msr = (offset: number): number => 0x800 + (offset >> 4);
const enable = (t: ReturnType<typeof testPlatform>, vcpu = 0): void => t.apicWrite(R.SPIV, 0x1ff, vcpu);
const toX2apic = (t: ReturnType<typeof testPlatform>, vcpu = 0): void =>
  assert.ok(t.platform.writeMsr(vcpuId(vcpu), BASE, 0xfee0_0c00n | (vcpu === 0 ? 0x100n : 0n)));

test('LAPIC: power-on registers are those of Xen', () => {
  const t = testPlatform(3, PVH_EMULATION);
  assert.equal(t.platform.readMsr(vcpuId(0), BASE), 0xfee0_0900n);
  assert.equal(t.platform.readMsr(vcpuId(2), BASE), 0xfee0_0800n);
  assert.equal(t.apicRead(R.ID, 2), 4 << 24);
  assert.equal(t.apicRead(R.LVR), 0x50014);
  assert.equal(t.apicRead(R.DFR), 0xffff_ffff);
  assert.equal(t.apicRead(R.SPIV), 0xff);
  for (const register of R.LVT_BITS.keys()) assert.equal(t.apicRead(register), 0x10000);
});

test('LAPIC window: narrow accesses inside a dword work, others read 0 and are dropped', () => {
  const { platform } = testPlatform(1, PVH_EMULATION);
  assert.equal(platform.mmioRead(0xfee0_0032, 1), 0x05);
  assert.equal(platform.mmioRead(0xfee0_0030, 2), 0x14);
  assert.equal(platform.mmioRead(0xfee0_0034, 4), 0);
  assert.equal(platform.mmioRead(0xfee0_03f0, 4), 0);
  platform.mmioWrite(0xfee0_0080, 1, 0x35);
  assert.equal(platform.mmioRead(0xfee0_0080, 4), 0x35);
  platform.mmioWrite(0xfee0_00d3, 1, 0x0f);
  assert.equal(platform.mmioRead(0xfee0_00d0, 4), 0x0f00_0000);
});

test('IA32_APIC_BASE: reserved bits, another base and illegal transitions are #GP', () => {
  const t = testPlatform(1, PVH_EMULATION);
  const write = (value: bigint): boolean => t.platform.writeMsr(vcpuId(0), BASE, value);
  assert.equal(write(0xfee0_0901n), false);
  assert.equal(write(0xfee0_1900n), false);
  assert.equal(write(0xfee0_0500n), false, 'EXTD without EN');
  assert.equal(write(0xfee0_0d00n), true, 'xAPIC to x2APIC');
  assert.equal(t.apicRead(R.LVR), 0xffff_ffff, 'window closed');
  assert.equal(write(0xfee0_0900n), false, 'x2APIC to xAPIC');
  assert.equal(write(0xfee0_0100n), true, 'to disabled');
  assert.equal(write(0xfee0_0d00n), false, 'disabled to x2APIC');
  assert.equal(t.apicRead(R.LVR), 0xffff_ffff);
  assert.equal(write(0xfee0_0900n), true);
  assert.equal(t.apicRead(R.LVR), 0x50014);
});

test('x2APIC: id and LDR follow the vCPU, reserved bits and unknown registers are #GP', () => {
  const t = testPlatform(20, PVH_EMULATION);
  const v = vcpuId(19);
  assert.equal(t.platform.readMsr(v, msr(R.ID)), undefined, 'not in xAPIC mode');
  toX2apic(t, 19);
  assert.equal(t.platform.readMsr(v, msr(R.ID)), 38n);
  assert.equal(t.platform.readMsr(v, msr(R.LDR)), 0x2_0040n);
  assert.equal(t.platform.readMsr(v, msr(R.DFR)), undefined);
  assert.equal(t.platform.readMsr(v, msr(R.EOI)), undefined);
  assert.equal(t.platform.readMsr(v, msr(R.ICR2)), undefined);
  for (const [register, value] of [
    [R.TASKPRI, 0x100n],
    [R.SPIV, 0x1000n],
    [R.EOI, 1n],
    [R.ESR, 1n],
    [R.ID, 0n],
    [R.LVTT, 1n << 19n],
    [R.LVTERR, 0x700n],
    [R.ICR, 1n << 12n],
    [R.SELF_IPI, 0x100n],
    [R.TDCR, 4n],
  ] as const)
    assert.equal(t.platform.writeMsr(v, msr(register), value), false, register.toString(16));
  assert.equal(t.platform.writeMsr(v, msr(R.EOI), 0n), true);
});

test('delivery: the highest class above TPR and in-service goes first; EOI ends the highest', () => {
  const t = testPlatform(1, PVH_EMULATION);
  enable(t);
  for (const vector of [0x31, 0x45, 0x42]) t.apicWrite(R.ICR, R.SHORTHAND_SELF | vector);
  assert.equal(t.take(), 0x45);
  assert.equal(t.take(), -1, 'same class waits');
  assert.equal(t.apicRead(R.PROCPRI), 0x40);
  t.apicWrite(R.TASKPRI, 0x50);
  t.apicWrite(R.EOI, 0);
  assert.equal(t.take(), -1, 'held off by TPR');
  assert.equal(t.platform.lapic(vcpuId(0))!.readCr8(), 5);
  t.platform.lapic(vcpuId(0))!.writeCr8(3);
  assert.equal(t.take(), 0x42);
  t.apicWrite(R.EOI, 0);
  t.apicWrite(R.TASKPRI, 0);
  assert.equal(t.take(), 0x31);
});

test('SPIV: disabling masks all LVT entries and refuses requests; enabling reports', () => {
  const t = testPlatform(1, PVH_EMULATION);
  t.apicWrite(R.ICR, R.SHORTHAND_SELF | 0x40);
  assert.equal(t.apicRead(R.IRR + 0x20), 0);
  enable(t);
  assert.deepEqual(t.log, ['enabled 0']);
  t.apicWrite(R.LVTERR, 0x30);
  t.apicWrite(R.SPIV, 0xff);
  assert.equal(t.apicRead(R.LVTERR), 0x10030);
  t.apicWrite(R.LVTERR, 0x30);
  assert.equal(t.apicRead(R.LVTERR), 0x10030, 'stays masked');
});

test('ESR: an illegal vector sent with an illegal LVTERR records send and receive, without looping', () => {
  const t = testPlatform(1, PVH_EMULATION);
  enable(t);
  t.apicWrite(R.ESR, 0);
  t.apicWrite(R.LVTERR, 0xf);
  t.apicWrite(R.ICR, 0xf);
  assert.equal(t.apicRead(R.ESR), 0, 'latched by a write only');
  t.apicWrite(R.ESR, 0);
  assert.equal(t.apicRead(R.ESR), 0x60);
  t.apicWrite(R.ESR, 0);
  assert.equal(t.apicRead(R.ESR), 0);
  t.apicWrite(R.LVTERR, 0x33);
  t.apicWrite(R.ICR, 3);
  assert.equal(t.take(), 0x33);
});

test('ICR: destinations by physical id, broadcast, flat, cluster and shorthand', () => {
  const t = testPlatform(4, PVH_EMULATION);
  for (let v = 0; v < 4; v++) enable(t, v);
  const got = (): number[] =>
    [0, 1, 2, 3].map((v) => {
      const vector = t.take(v);
      if (vector >= 0) t.apicWrite(R.EOI, 0, v);
      return vector;
    });
  const send = (icr: number, destination = 0): number[] => {
    t.apicWrite(R.ICR2, destination << 24);
    t.apicWrite(R.ICR, icr | 0x40);
    return got();
  };
  assert.deepEqual(send(0, 4), [-1, -1, 0x40, -1]);
  assert.deepEqual(send(0, 0xff), [0x40, 0x40, 0x40, 0x40]);
  assert.deepEqual(send(R.SHORTHAND_OTHERS), [-1, 0x40, 0x40, 0x40]);
  assert.deepEqual(send(R.SHORTHAND_ALL), [0x40, 0x40, 0x40, 0x40]);
  for (let v = 0; v < 4; v++) t.apicWrite(R.LDR, (1 << v) << 24, v);
  assert.deepEqual(send(R.ICR_LOGICAL, 0b1010), [-1, 0x40, -1, 0x40]);
  for (let v = 0; v < 4; v++) {
    t.apicWrite(R.DFR, 0, v);
    t.apicWrite(R.LDR, (((v >> 1) << 4) | (1 << (v & 1))) << 24, v);
  }
  assert.deepEqual(send(R.ICR_LOGICAL, 0x13), [-1, -1, 0x40, 0x40]);
  assert.deepEqual(send(R.ICR_LOGICAL, 0x02), [-1, 0x40, -1, -1]);
});

test('ICR: lowest priority goes round among equals and avoids busy processors', () => {
  const t = testPlatform(3, PVH_EMULATION);
  for (let v = 0; v < 3; v++) {
    enable(t, v);
    t.apicWrite(R.LDR, 1 << (24 + v), v);
  }
  const send = (): number => {
    t.apicWrite(R.ICR2, 7 << 24);
    t.apicWrite(R.ICR, R.DM_LOWEST | R.ICR_LOGICAL | 0x40);
    const to = [0, 1, 2].find((v) => t.take(v) >= 0)!;
    t.apicWrite(R.EOI, 0, to);
    return to;
  };
  assert.deepEqual([send(), send(), send(), send()], [1, 2, 0, 1]);
  t.apicWrite(R.TASKPRI, 0x20, 2);
  assert.deepEqual([send(), send(), send()], [0, 1, 0]);
});

test('ICR: NMI, INIT and SIPI go to the sinks; INIT resets the LAPIC but not its id', () => {
  const t = testPlatform(2, PVH_EMULATION);
  enable(t, 1);
  t.apicWrite(R.ICR2, 2 << 24);
  t.apicWrite(R.ICR, R.DM_NMI);
  t.apicWrite(R.ICR, R.DM_INIT | R.ICR_LEVEL);
  t.apicWrite(R.ICR, R.DM_INIT | R.ICR_LEVEL | R.ICR_ASSERT);
  t.apicWrite(R.ICR, R.DM_STARTUP | 0x9a);
  assert.deepEqual(t.log.slice(1), ['nmi 1', 'init 1', 'sipi 1 154']);
  assert.equal(t.apicRead(R.SPIV, 1), 0xff);
  assert.equal(t.apicRead(R.ID, 1), 2 << 24);
});

test('x2APIC ICR: 32-bit destinations, clusters and the self IPI register', () => {
  const t = testPlatform(10, PVH_EMULATION);
  for (let v = 0; v < 10; v++) {
    enable(t, v);
    toX2apic(t, v);
  }
  const send = (value: bigint): number[] => {
    assert.ok(t.platform.writeMsr(vcpuId(0), msr(R.ICR), value));
    return Array.from({ length: 10 }, (_, v) => v).filter((v) => t.take(v) >= 0);
  };
  assert.deepEqual(send((18n << 32n) | 0x40n), [9]);
  assert.deepEqual(send((0x1_0005n << 32n) | BigInt(R.ICR_LOGICAL) | 0x50n), [8, 9].slice(0, 2));
  assert.deepEqual(send((0xffff_ffffn << 32n) | 0x60n).length, 10);
  assert.ok(t.platform.writeMsr(vcpuId(3), msr(R.SELF_IPI), 0x71n));
  assert.equal(t.take(3), 0x71);
});

test('timer: one-shot counts down at 100 MHz over the divider and interrupts once', () => {
  const t = testPlatform(1, PVH_EMULATION);
  enable(t);
  t.apicWrite(R.LVTT, 0x40);
  t.apicWrite(R.TDCR, 0xb);
  t.apicWrite(R.TMICT, 1000);
  t.pass(4000n);
  assert.equal(t.apicRead(R.TMCCT), 600);
  t.pass(5999n);
  assert.equal(t.take(), -1);
  t.pass(1n);
  assert.equal(t.take(), 0x40);
  assert.equal(t.apicRead(R.TMCCT), 0);
  t.pass(100_000n);
  t.apicWrite(R.EOI, 0);
  assert.equal(t.take(), -1);
});

test('timer: periodic ticks start one and a half periods in, and missed ones are made up', () => {
  const t = testPlatform(1, PVH_EMULATION);
  enable(t);
  t.apicWrite(R.LVTT, 0x40 | R.TIMER_PERIODIC);
  t.apicWrite(R.TDCR, 0xb);
  t.apicWrite(R.TMICT, 100_000);
  t.pass(1_499_999n);
  assert.equal(t.take(), -1);
  t.pass(1n);
  assert.equal(t.take(), 0x40);
  t.apicWrite(R.EOI, 0);
  t.pass(3_500_000n);
  let ticks = 0;
  while (t.take() === 0x40) {
    ticks++;
    t.apicWrite(R.EOI, 0);
  }
  assert.equal(ticks, 3);
});

test('timer: a masked timer keeps its tick and does nothing more until unmasked', () => {
  const t = testPlatform(1, PVH_EMULATION);
  enable(t);
  t.apicWrite(R.LVTT, 0x40 | R.TIMER_PERIODIC | R.LVT_MASKED);
  t.apicWrite(R.TMICT, 100_000);
  t.pass(1_000_000_000n);
  assert.equal(t.platform.events.nextDeadline(), undefined);
});

test('timer: TSC deadline fires at the deadline, at once for the past, and reads 0 afterwards', () => {
  const t = testPlatform(1, PVH_EMULATION);
  const v = vcpuId(0);
  enable(t);
  assert.ok(t.platform.writeMsr(v, 0x6e0, 500n));
  assert.equal(t.platform.readMsr(v, 0x6e0), 0n, 'ignored in another mode');
  t.apicWrite(R.LVTT, 0x41 | R.TIMER_TSC_DEADLINE);
  t.apicWrite(R.TMICT, 5);
  assert.equal(t.apicRead(R.TMICT), 0);
  t.platform.writeMsr(v, 0x6e0, 500n);
  assert.equal(t.platform.readMsr(v, 0x6e0), 500n);
  t.pass(499n);
  assert.equal(t.take(), -1);
  t.pass(1n);
  assert.equal(t.take(), 0x41);
  assert.equal(t.platform.readMsr(v, 0x6e0), 0n);
  t.apicWrite(R.EOI, 0);
  t.platform.writeMsr(v, 0x6e0, 7n);
  t.platform.runTimers();
  assert.equal(t.take(), 0x41);
});

test('save and load: a LAPIC with a running timer and pending vectors goes on where it was', () => {
  const a = testPlatform(1, PVH_EMULATION);
  enable(a);
  a.apicWrite(R.LVTT, 0x40);
  a.apicWrite(R.TDCR, 0xb);
  a.apicWrite(R.TMICT, 1000);
  a.apicWrite(R.ICR, R.SHORTHAND_SELF | 0x61);
  a.pass(3000n);
  const state = a.platform.save();
  const b = testPlatform(1, PVH_EMULATION);
  b.platform.load(structuredClone(state));
  assert.deepEqual(b.platform.save(), state);
  for (const t of [a, b]) {
    assert.equal(t.apicRead(R.TMCCT), 700);
    assert.equal(t.take(), 0x61);
    t.apicWrite(R.EOI, 0);
    t.pass(7000n);
    assert.equal(t.take(), 0x40);
  }
});
