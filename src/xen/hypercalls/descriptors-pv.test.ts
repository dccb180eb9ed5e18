/** set_gdt and update_descriptor. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as e from '../../abi/xen/errno.ts';
import { ulong } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_set_gdt, __HYPERVISOR_update_descriptor } from '../../abi/xen/xen.ts';
import * as f from '../pv/mm/frame-table.ts';
import { PvTestMachine } from '../pv/mm/testing.ts';

const HOLE = 0x40_0000n;

function update(t: PvTestMachine, address: bigint, descriptor: bigint): number | bigint {
  const args = t.width === 64 ? [address, descriptor] : [address, address >> 32n, descriptor, descriptor >> 32n];
  return t.call(__HYPERVISOR_update_descriptor, ...(t.width === 64 ? args : args.map((word) => word & 0xffff_ffffn)));
}

for (const width of [64, 32] as const) {
  test(`set_gdt, PV${width}: too many entries, unreadable list, frames`, () => {
    const t = new PvTestMachine(width);
    const set = (frames: readonly number[], entries: number): number | bigint =>
      t.call(__HYPERVISOR_set_gdt, t.put(ulong, frames.map(BigInt)), entries);
    const page = t.newPage();
    assert.equal(t.call(__HYPERVISOR_set_gdt, HOLE, 7169), -e.EINVAL);
    assert.equal(t.call(__HYPERVISOR_set_gdt, HOLE, 1), -e.EFAULT);
    assert.equal(set([0x12345], 1), -e.EINVAL);
    assert.equal(set([page, t.l1], 513), -e.EINVAL);
    assert.equal(t.mm.frames.typeCount[page - t.mm.frames.base], 0, 'the good one was given back');
    assert.equal(set([page], 512), 0);
    assert.equal(t.mm.typeOf(page), f.TYPE_SEG_DESC);
    const seen = new Uint8Array(8);
    assert.equal(t.machine.cpus[0].tryReadLinear(t.mm.gdtBase(t.vcpu) + 0xe030n, seen), true);
    assert.notDeepEqual(seen, new Uint8Array(8), "the hypervisor's part is always there");
    assert.equal(t.call(__HYPERVISOR_set_gdt, HOLE, 0), 0, 'nothing is read then');
    assert.equal(t.mm.frames.typeCount[page - t.mm.frames.base], 0);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`update_descriptor, PV${width}: alignment, the descriptor, the frame`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    const at = (index: number): bigint => (BigInt(page) << 12n) + BigInt(index * 8);
    const data = 0x00cf_f300_0000_ffffn;
    assert.equal(update(t, at(1) + 4n, data), -e.EINVAL);
    assert.equal(update(t, at(1), 0x0000_8900_0000_0000n), -e.EINVAL, 'a task state segment');
    assert.equal(update(t, 0x12345000n, data), -e.EINVAL);
    assert.equal(update(t, BigInt(t.l1) << 12n, data), -e.EINVAL);
    assert.equal(update(t, at(1), data), 0);
    assert.equal(t.peek(page, 1), data);
    assert.equal(t.mm.setGdt(t.vcpu, [page], 512), 0);
    assert.equal(update(t, at(2), data), 0, 'also in a descriptor table');
    assert.equal(t.peek(page, 2), data);
  });

  test(`update_descriptor, PV${width}: privilege is raised silently, gates fault when used`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    const put = (descriptor: bigint): bigint | number => {
      const result = update(t, BigInt(page) << 12n, descriptor);
      return result === 0 ? t.peek(page, 0) : result;
    };
    const level = width === 64 ? 3n : 1n;
    assert.equal(put(0x00af_9b00_0000_ffffn), width === 64 ? 0x00af_fb00_0000_ffffn : -e.EINVAL, '64-bit code');
    assert.equal(put(0x0040_9300_0000_ffffn), 0x0040_9300_0000_ffffn | (level << 45n));
    assert.equal(put(0x0000_1200_0000_0000n), 0x0000_1200_0000_0000n, 'absent');
    assert.equal(put(0x0000_8000_0000_0000n), 0x0000_8000_0000_0000n, 'type 0');
    const gate = 0x1234_ec00_0010_5678n;
    assert.equal(put(gate), 0x1234_8c00_0013_5678n, 'the level goes to the selector');
    assert.equal(put(0x1234_ec00_e008_5678n), -e.EINVAL, "the hypervisor's code");
    assert.equal(put(0x1234_eca0_0010_5678n), -e.EINVAL, 'reserved bits');
  });
}

test('update_descriptor, PV32: flat segments reach over the machine-to-physical table', () => {
  const t = new PvTestMachine(32);
  const page = t.newPage();
  // Limit 0xf67fffff.
  assert.equal(update(t, BigInt(page) << 12n, 0x00cf_f300_0000_67ffn), 0);
  assert.equal(t.peek(page, 0), 0x00cf_f300_0000_ffffn);
  assert.equal(update(t, BigInt(page) << 12n, 0x00cf_f300_0001_67ffn), 0, 'a base other than 0');
  assert.equal(t.peek(page, 0), 0x00cf_f300_0001_67ffn);
});
