import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as e from '../../abi/xen/errno.ts';
import { mmu_update } from '../../abi/xen/mmu.ts';
import { __HYPERVISOR_mmu_update, DOMID_IO, DOMID_SELF } from '../../abi/xen/xen.ts';
import { A, D, P, PCD, PSE, PWT, RW, US } from '../pv/mm/entries.ts';
import * as f from '../pv/mm/frame-table.ts';
import { PvTestMachine } from '../pv/mm/testing.ts';

const DONE = 0x2000n;
const HOLE = 0x40_0000n;

/** One request for entry `index` of a table. */
function request(t: PvTestMachine, table: number, index: number, val: bigint, kind = 0): number | bigint {
  const ptr = (BigInt(table) << 12n) | BigInt(index * 8 + kind);
  return t.call(__HYPERVISOR_mmu_update, t.put(mmu_update, [{ ptr, val }]), 1, 0, DOMID_SELF);
}

for (const width of [64, 32] as const) {
  test(`mmu_update, PV${width}: list, domains, unreadable requests and kinds are checked in this order`, () => {
    const t = new PvTestMachine(width);
    const call = (...args: (bigint | number)[]): number | bigint => t.call(__HYPERVISOR_mmu_update, ...args);
    const beyond = width === 64 ? 0xffff_8000_0000_0000n : 0xffff_fff8n;
    assert.equal(call(beyond, 1, 0, 7), -e.EFAULT);
    assert.equal(call(HOLE, 0, 0, 7), -e.ESRCH);
    assert.equal(call(HOLE, 0, 0, 1), -e.ESRCH, 'the own number is no name');
    assert.equal(call(HOLE, 0, 0, (7 << 16) | DOMID_SELF), -e.ESRCH);
    assert.equal(call(HOLE, 1, 0, DOMID_SELF), -e.EFAULT);
    assert.equal(request(t, t.l1, 0, 0n, 4), -e.ENOSYS);
    const list = t.put(mmu_update, [{ ptr: BigInt(t.l1) << 12n, val: 0n }]);
    assert.equal(call(list, 1, 0, 0), -e.EPERM, 'frames of the control domain');
    assert.equal(call(list, 1, 0, (1 << 16) | DOMID_SELF), -e.EPERM, 'tables of the control domain');
    assert.equal(request(t, 0x12345, 0, 0n), -e.EINVAL);
  });

  test(`mmu_update, PV${width}: a batch stops at the first error and tells how many were done`, () => {
    const t = new PvTestMachine(width);
    const ptr = (index: number): bigint => (BigInt(t.l1) << 12n) | BigInt(index * 8);
    const list = t.put(mmu_update, [
      { ptr: ptr(100), val: 0n },
      { ptr: ptr(101), val: 0n },
      { ptr: ptr(102), val: t.entry(t.l2, P | RW | US) },
      { ptr: ptr(103), val: 0n },
    ]);
    assert.equal(t.call(__HYPERVISOR_mmu_update, list, 4, DONE, DOMID_SELF), -e.EBUSY);
    assert.equal(t.mm.bytes(t.pages[2])[0], 2);
  });

  test(`mmu_update, PV${width}: last-level entries`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    const set = (mfn: number, bits: number | bigint): number | bigint => request(t, t.l1, 100, t.entry(mfn, bits));
    for (const bad of [PWT, PCD, PSE]) assert.equal(set(page, P | bad), -e.EINVAL);
    assert.equal(set(0x10_0000, P), -e.EBUSY, "another's memory");
    assert.equal(set(0x10, P), -e.EPERM, 'no memory');
    assert.equal(set(2 ** 40 - 1, P), -e.EINVAL);
    assert.equal(set(t.l1, P | RW), -e.EBUSY);
    assert.equal(set(t.l1, P), 0, 'a table may be read');
    assert.equal(set(page, P | RW), 0);
    assert.equal(t.mm.typeOf(page), f.TYPE_WRITABLE);
    assert.equal(t.mm.typeOf(t.mm.sharedInfoMfn), f.TYPE_WRITABLE);
    assert.equal(set(t.mm.sharedInfoMfn, P | RW), 0, 'shared_info may be mapped');
    const kernel = t.entry(page, P | RW | A);
    assert.equal(set(page, P | RW | A), 0);
    const installed = width === 64 ? kernel | BigInt(US) | (1n << 52n) : kernel;
    assert.equal(t.peek(t.l1, 100), installed, 'a 64-bit kernel runs in ring 3');
    assert.equal(set(page, P | RW | US), 0);
    assert.equal(t.peek(t.l1, 100), t.entry(page, P | RW | US) | (width === 64 ? 0x100n : 0n));
    assert.equal(request(t, t.l1, 100, t.entry(0x12345, 2)), 0, 'what is absent is not looked at');
    assert.deepEqual(t.mm.check(), []);
  });

  test(`mmu_update, PV${width}: accessed and dirty bits are kept when asked`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    assert.equal(request(t, t.l1, 100, t.entry(page, P | US | A | D)), 0);
    assert.equal(request(t, t.l1, 100, t.entry(page, P | US), 2), 0);
    assert.equal(t.peek(t.l1, 100) & BigInt(A | D), BigInt(A | D));
    assert.equal(request(t, t.l1, 100, t.entry(page, P | US)), 0);
    assert.equal(t.peek(t.l1, 100) & BigInt(A | D), 0n);
  });

  test(`mmu_update, PV${width}: entries of upper tables`, () => {
    const t = new PvTestMachine(width);
    assert.equal(request(t, t.l2, 5, t.entry(t.pages[3], P)), -e.EINVAL, 'a page that is mapped writable');
    assert.equal(request(t, t.l2, 5, t.entry(t.newPage(), P | PSE)), -e.EINVAL);
    assert.equal(request(t, t.l2, 5, t.entry(0x10_0000, P)), -e.EINVAL);
    assert.equal(request(t, t.l2, 5, t.entry(t.newPage(), P | US)), 0, 'an empty table is a valid one');
    assert.equal(request(t, t.l2, 5, t.entry(t.l2, P | RW)), -e.EINVAL, 'a linear table that could be written');
    assert.equal(request(t, t.l2, 5, t.entry(t.l2, P)), 0, 'a linear table');
    assert.equal(request(t, t.l2, 5, 0n), 0);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`mmu_update, PV${width}: the hypervisor's entries cannot be changed`, () => {
    const t = new PvTestMachine(width);
    if (width === 64) {
      for (const index of [256, 260, 271]) assert.equal(request(t, t.root, index, 0n), -e.EINVAL);
      assert.equal(request(t, t.root, 272, 0n), 0);
      return;
    }
    assert.equal(request(t, t.root, 3, 0n), -e.EINVAL, 'the table of the last gigabyte stays');
    assert.equal(request(t, t.root, 4, 0n), -e.EINVAL);
    assert.equal(request(t, t.upper, 428, 0n), -e.EPERM);
    assert.equal(request(t, t.upper, 427, 0n), 0);
    assert.equal(request(t, t.root, 1, t.entry(t.root, P)), -e.EINVAL, 'a PAE root is never linear');
  });

  test(`mmu_update, PV${width}: other frames are written as memory, if they can be`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    const taskState = 0x8900_0000_0000n;
    assert.equal(request(t, page, 7, taskState), 0);
    assert.equal(t.peek(page, 7), taskState);
    assert.equal(t.mm.setGdt(t.vcpu, [page], 7), -e.EINVAL, 'it holds no descriptors');
    assert.equal(request(t, page, 7, 0n), 0);
    assert.equal(t.mm.setGdt(t.vcpu, [page], 7), 0);
    assert.equal(request(t, page, 7, taskState), -e.EINVAL);
  });

  test(`mmu_update, PV${width}: the machine-to-physical table`, () => {
    const t = new PvTestMachine(width);
    const set = (mfn: number, domid: number): number | bigint =>
      t.call(
        __HYPERVISOR_mmu_update,
        t.put(mmu_update, [{ ptr: (BigInt(mfn) << 12n) | 1n, val: 0x777n }]),
        1,
        0,
        domid,
      );
    assert.equal(set(0x12345, DOMID_SELF), -e.EINVAL);
    assert.equal(set(t.pages[4], DOMID_IO), -e.EINVAL);
    assert.equal(set(t.pages[4], 0), -e.EPERM);
    assert.equal(set(t.pages[4], DOMID_SELF), 0);
    assert.equal(t.mm.m2p(t.pages[4]), 0x777);
  });

  test(`mmu_update, PV${width}: frames of the devices' owner`, () => {
    const t = new PvTestMachine(width);
    const set = (table: number, val: bigint): number | bigint =>
      t.call(__HYPERVISOR_mmu_update, t.put(mmu_update, [{ ptr: (BigInt(table) << 12n) + 800n, val }]), 1, 0, DOMID_IO);
    assert.equal(set(t.l2, 0n), -e.EINVAL);
    assert.equal(set(t.l1, t.entry(0xfee00, P)), -e.EPERM);
    assert.equal(set(t.l1, t.entry(t.pages[3], P)), -e.EBUSY);
    assert.deepEqual(t.mm.check(), []);
  });
}

test('mmu_update: a large table is given up piece by piece while an event waits, and the result is told at the end', () => {
  const t = new PvTestMachine(64);
  // A second level-3 table with three level-2 tables.
  const [l3, ...l2s] = [t.newPage(), t.newPage(), t.newPage(), t.newPage()];
  l2s.forEach((mfn, i) => {
    t.poke(l3, i, t.entry(mfn, P | US));
  });
  assert.equal(request(t, t.root, 1, t.entry(l3, P | US)), 0);
  const view = t.domain.info.vcpuInfo(t.vcpu.vcpu.id, 'vcpu_mark_events_pending', 'update');
  view.setUint8(0, 1);
  view.setUint8(1, 0);
  const ptr = (BigInt(t.root) << 12n) + 8n;
  let args: bigint[] = [t.put(mmu_update, [{ ptr, val: 0n }]), 1n, DONE, BigInt(DOMID_SELF), 0n];
  let parts = 0;
  for (;;) {
    const result = t.once(__HYPERVISOR_mmu_update, args);
    if (typeof result !== 'object') {
      assert.equal(result, 0);
      break;
    }
    assert.equal(result.kind, 'again');
    if (result.kind === 'again') args = args.map((old, n) => result.args[n] ?? old);
    parts++;
    assert.deepEqual(t.mm.check(), [], `after part ${parts}`);
  }
  assert.ok(parts >= 3, `${parts} parts`);
  assert.equal(t.mm.frames.typeCount[l3 - t.mm.frames.base], 0);
  assert.equal(t.mm.bytes(t.pages[2])[0], 1);
});
