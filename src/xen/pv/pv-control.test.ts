import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shared_info } from '../../abi/xen/xen.ts';
import { gfn } from '../../base/int.ts';
import { Control } from '../control.ts';
import type { PvControl } from './pv-control.ts';

const PAGES = 64;
const machine = (type: 'pv64' | 'pv32'): Control =>
  new Control({ type, maxVcpus: 1, maxMemory: PAGES * 4096, wallclockBase: 5_000_000_000n });
const wide = (pv: PvControl, pfn: number): BigUint64Array => {
  const bytes = pv.bytes(pv.machineFrame(pfn));
  return new BigUint64Array(bytes.buffer, bytes.byteOffset, 512);
};

test('PvControl.populate: zeroed frames, each with its number in the M2P; more than the domain may own is refused', () => {
  const control = machine('pv64');
  const { pv } = control;
  pv.populate(8);
  const frames = Array.from({ length: 8 }, (_, pfn) => pv.machineFrame(pfn));
  assert.equal(new Set(frames).size, 8);
  for (const [pfn, mfn] of frames.entries()) {
    assert.equal(control.machine.domain.pv!.mm.m2p(mfn), pfn);
    assert.ok(pv.bytes(mfn).every((byte) => byte === 0));
  }
  assert.throws(() => pv.machineFrame(8), RangeError);
  assert.throws(() => machine('pv64').pv.populate(PAGES + 1), /no memory for frame 64 of 65/);
});

for (const [type, layout] of [
  ['pv64', 'native'],
  ['pv32', 'compat'],
] as const) {
  test(`PvControl.resetSharedInfo: every vCPU's events are masked, the wallclock is set (${type})`, () => {
    const { pv } = machine(type);
    pv.bytes(pv.sharedInfo).fill(0xff);
    pv.resetSharedInfo();
    const bytes = pv.bytes(pv.sharedInfo);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let slot = 0; slot < 32; slot++) assert.deepEqual([...bytes.subarray(slot * 64, slot * 64 + 3)], [0, 1, 0]);
    assert.equal(view.getUint32(shared_info.offset('wc_sec', layout), true), 5);
    assert.equal(bytes[shared_info.offset('evtchn_pending', layout)], 0);
  });
}

test('PvControl.pinRoot: valid tables are typed from then on; others are a mistake of the builder', () => {
  const control = machine('pv64');
  const { pv } = control;
  pv.populate(4);
  wide(pv, 0)[0] = (BigInt(pv.machineFrame(1)) << 12n) | 7n;
  wide(pv, 1)[0] = (BigInt(pv.machineFrame(2)) << 12n) | 7n;
  pv.pinRoot(pv.machineFrame(0));
  const { mm } = control.machine.domain.pv!;
  assert.deepEqual(
    [0, 1, 2].map((pfn) => mm.typeOf(pv.machineFrame(pfn))),
    [4, 3, 2],
  );
  assert.deepEqual(mm.check(), []);
  wide(pv, 3)[0] = (0xf_ffffn << 12n) | 7n;
  assert.throws(() => pv.pinRoot(pv.machineFrame(3)), /initial page tables .* are refused/);
});

test('PvControl.setContext: a context of another size, or one that Xen refuses, is a mistake of the builder', () => {
  const { pv } = machine('pv64');
  pv.populate(1);
  assert.throws(() => pv.setContext(new Uint8Array(2800)), /registers of the first vCPU are refused: wrong size/);
  assert.throws(() => pv.setContext(new Uint8Array(5168)), /registers of the first vCPU are refused: -22/);
});

test('Control.pv: only PV domains have it', () => {
  const control = new Control({ type: 'pvh', maxVcpus: 1, maxMemory: 1 << 20 });
  assert.throws(() => control.pv, RangeError);
});

test('Control.grant: a reserved reference lets the control domain use a page', () => {
  const control = machine('pv32');
  control.grant(1, gfn(0x1234));
  assert.deepEqual(control.machine.domain.grants.entry(1), { flags: 1, domid: 0, frame: 0x1234 });
  assert.throws(() => control.grant(8, gfn(1)), /grant reference 8 is not reserved/);
});
