import assert from 'node:assert/strict';
import { test } from 'node:test';
import { vcpuId } from '../base/int.ts';
import { emulationFromFlags, HVM_EMULATION, PV_EMULATION, PVH_EMULATION } from './platform.ts';
import { testPlatform } from './test-platform.ts';

test('emulation flags: PVH domains have a LAPIC only, HVM domains everything', () => {
  assert.deepEqual(emulationFromFlags(1), PVH_EMULATION);
  assert.deepEqual(
    Object.entries(PVH_EMULATION).filter(([, on]) => on),
    [['lapic', true]],
  );
  assert.ok(Object.values(HVM_EMULATION).every((on) => on));
  assert.ok(Object.values(PV_EMULATION).every((on) => !on));
});

test('PVH platform: ports and windows of absent devices read all ones', () => {
  const { platform } = testPlatform(1, PVH_EMULATION);
  for (const port of [0x20, 0x40, 0x61, 0x70, 0xcf9, 0xb008]) assert.equal(platform.ports.in(port, 1), 0xff);
  assert.equal(platform.ports.in(0xe9, 1), 0xe9, 'the debug port is there in every HVM domain');
  assert.equal(platform.mmioRead(0xfec0_0000, 4), 0xffff_ffff);
  assert.equal(platform.mmioRead(0xfed0_0000, 4), 0xffff_ffff);
  assert.equal(platform.mmioRead(0xfee0_0030, 4), 0x50014);
});

test('PV platform: no APIC, MSRs are #GP and nothing is ever pending', () => {
  const { platform, take } = testPlatform(2, PV_EMULATION);
  assert.equal(platform.readMsr(vcpuId(0), 0x1b), undefined);
  assert.equal(platform.writeMsr(vcpuId(0), 0x1b, 0xfee0_0900n), false);
  assert.equal(platform.mmioRead(0xfee0_0030, 4), 0xffff_ffff);
  assert.equal(take(1), -1);
  assert.ok(platform.ownsMsr(0x8ff) && platform.ownsMsr(0x6e0) && !platform.ownsMsr(0x900));
});

test('debug port: printable bytes pass, reads give 0xE9', () => {
  const { platform, log } = testPlatform();
  for (const byte of [0x41, 0x0a, 0x00, 0x1b]) platform.ports.out(0xe9, 1, byte);
  assert.deepEqual(log, ['byte 65', 'byte 10']);
  assert.equal(platform.ports.in(0xe9, 1), 0xe9);
});

test('reset port: bit 2 resets, bit 1 is kept', () => {
  const { platform, log } = testPlatform();
  platform.ports.out(0xcf9, 1, 2);
  assert.deepEqual(log, []);
  platform.ports.out(0xcf9, 1, 6);
  assert.deepEqual(log, ['reset']);
  assert.equal(platform.ports.in(0xcf9, 1), 2);
});

test('reset: every device returns to its power-on state', () => {
  const { platform, apicWrite, pass } = testPlatform(2);
  const fresh = platform.save();
  apicWrite(0xf0, 0x1ff, 1);
  platform.mmioWrite(0xfec0_0000, 4, 0x20);
  platform.mmioWrite(0xfec0_0010, 4, 0x38);
  platform.mmioWrite(0xfed0_0010, 4, 3);
  platform.ports.out(0x43, 1, 0x34);
  platform.ports.out(0x21, 1, 0x55);
  platform.routing.assertIntx(3, 1);
  platform.setAcpiPortsLocation(1);
  platform.reset();
  assert.deepEqual(platform.save(), fresh);
  pass(0n);
});

test('load: a state of another shape is refused', () => {
  const hvm = testPlatform(1);
  const pvh = testPlatform(1, PVH_EMULATION);
  assert.throws(() => pvh.platform.load(hvm.platform.save()), RangeError);
  assert.throws(() => testPlatform(2).platform.load(hvm.platform.save()), RangeError);
});
