import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as e from '../../../abi/xen/errno.ts';
import * as abi from '../../../abi/xen/mmu.ts';
import * as x from '../../../abi/xen/xen.ts';
import { P, RW, US } from './entries.ts';
import * as f from './frame-table.ts';
import { PvTestMachine } from './testing.ts';

for (const width of [64, 32] as const) {
  test(`PV${width}: a pinned root gives every table its type, and the processor walks it`, () => {
    const t = new PvTestMachine(width);
    assert.equal(t.mm.typeOf(t.l1), f.TYPE_L1);
    assert.equal(t.mm.typeOf(t.l2), f.TYPE_L2);
    assert.equal(t.mm.typeOf(t.root), width === 64 ? f.TYPE_L4 : f.TYPE_L3);
    assert.equal(t.mm.typeOf(t.pages[5]), f.TYPE_WRITABLE);
    const cpu = t.machine.cpus[0];
    assert.equal(cpu.tryWriteLinear(0x5123n, Uint8Array.of(7)), true);
    assert.equal(t.mm.bytes(t.pages[5])[0x123], 7);
    assert.equal(cpu.tryWriteLinear(BigInt(t.pages.indexOf(t.l1) * 4096), Uint8Array.of(7)), false);
    const m2p = new Uint8Array(4);
    const at = width === 64 ? 0xffff_8000_0000_0000n + 8n * BigInt(t.pages[9]) : 0xf580_0000n + 4n * BigInt(t.pages[9]);
    assert.equal(cpu.tryReadLinear(at, m2p), true);
    assert.equal(m2p[0], 9);
  });

  test(`PV${width}: mmu_update maps a page, refuses to map a table writable, and a batch says how far it came`, () => {
    const t = new PvTestMachine(width);
    const fresh = t.newPage();
    const slot = (index: number) => (BigInt(t.l1) << 12n) + BigInt(index * 8);
    const list = t.put(abi.mmu_update, [
      { ptr: slot(200), val: t.entry(fresh, P | RW | US) },
      { ptr: slot(201), val: t.entry(t.l1, P | RW | US) },
    ]);
    const done = 0x2000n;
    assert.equal(t.call(x.__HYPERVISOR_mmu_update, list, 2, done, x.DOMID_SELF), -e.EBUSY);
    assert.equal(t.mm.bytes(t.pages[2])[0], 1);
    assert.equal(t.mm.typeOf(fresh), f.TYPE_WRITABLE);
    assert.equal(t.touch(200n * 4096n, 1), true);
    // What is mapped writable becomes no table.
    const pin = t.put(abi.mmuext_op, [{ cmd: abi.MMUEXT_PIN_L1_TABLE, arg1: BigInt(fresh), arg2: 0n }]);
    assert.equal(t.call(x.__HYPERVISOR_mmuext_op, pin, 1, 0, x.DOMID_SELF), -e.EINVAL);
    const unmap = t.put(abi.mmu_update, [{ ptr: slot(200), val: 0n }]);
    assert.equal(t.call(x.__HYPERVISOR_mmu_update, unmap, 1, 0, x.DOMID_SELF), 0);
    // The processor still has the writable translation: pinning drops it.
    t.mm.bytes(fresh).fill(0);
    const again = t.put(abi.mmuext_op, [{ cmd: abi.MMUEXT_PIN_L1_TABLE, arg1: BigInt(fresh), arg2: 0n }]);
    assert.equal(t.call(x.__HYPERVISOR_mmuext_op, again, 1, 0, x.DOMID_SELF), 0);
    assert.equal(t.touch(200n * 4096n, 1), false);
  });
}
