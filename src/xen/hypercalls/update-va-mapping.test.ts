import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as e from '../../abi/xen/errno.ts';
import { UVMF_ALL, UVMF_INVLPG, UVMF_TLB_FLUSH } from '../../abi/xen/mmu.ts';
import { ulong } from '../../abi/xen/struct.ts';
import {
  __HYPERVISOR_update_va_mapping,
  __HYPERVISOR_update_va_mapping_otherdomain,
  DOMID_IO,
  DOMID_SELF,
} from '../../abi/xen/xen.ts';
import { P, RW, US } from '../pv/mm/entries.ts';
import { PvTestMachine } from '../pv/mm/testing.ts';

/** Arguments of both widths: the entry is one word or two. */
function update(
  t: PvTestMachine,
  va: bigint,
  val: bigint,
  flags: bigint | number = 0,
  domid?: number,
): number | bigint {
  const entry = t.width === 64 ? [val] : [val & 0xffff_ffffn, val >> 32n];
  if (domid === undefined) return t.call(__HYPERVISOR_update_va_mapping, va, ...entry, flags);
  return t.call(__HYPERVISOR_update_va_mapping_otherdomain, va, ...entry, flags, domid);
}

for (const width of [64, 32] as const) {
  test(`update_va_mapping, PV${width}: errors`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    assert.equal(update(t, 0x4000_0000n, 0n), -e.EINVAL, 'no table');
    if (width === 64) {
      assert.equal(update(t, 1n << 63n, 0n), -e.EINVAL, 'not canonical');
      assert.equal(update(t, 0xffff_8000_0000_0000n, 0n), -e.EINVAL, "the hypervisor's");
    } else assert.equal(update(t, 0xf580_0000n, 0n), -e.EINVAL, "the hypervisor's");
    assert.equal(update(t, 0x5000n, t.entry(t.l1, P | RW)), -e.EBUSY);
    assert.equal(update(t, 0x5000n, t.entry(page, P | 8)), -e.EINVAL);
    assert.equal(update(t, 0x5000n, t.entry(0x10_0000, P)), -e.EBUSY);
    assert.equal(update(t, 0x5000n, t.entry(page, P | RW | US), 0x40_0000n | 1n), -e.EFAULT, 'processors');
    assert.equal(t.peek(t.l1, 5) >> 12n, BigInt(page), 'the entry was written before');
    assert.deepEqual(t.mm.check(), []);
  });

  test(`update_va_mapping, PV${width}: flushes what it is told to, where it is told to`, () => {
    const t = new PvTestMachine(width);
    const mask = t.put(ulong, [1n], 0x3000n);
    const others = t.put(ulong, [2n], 0x3008n);
    const writable = (): boolean => t.touch(0x5000n, 1);
    for (const kind of [UVMF_TLB_FLUSH, UVMF_INVLPG]) {
      for (const [where, flushed] of [
        [0n, true],
        [UVMF_ALL, true],
        [mask, true],
        [others, false],
      ] as const) {
        assert.equal(update(t, 0x5000n, t.entry(t.pages[5], P | RW | US), 1), 0);
        assert.equal(writable(), true);
        assert.equal(update(t, 0x5000n, 0n, where | BigInt(kind)), 0);
        assert.equal(writable(), !flushed, `flags ${kind}, ${where}`);
      }
    }
    assert.equal(update(t, 0x5000n, t.entry(t.pages[5], P | RW | US), 1), 0);
    assert.equal(writable(), true);
    assert.equal(update(t, 0x5000n, 0n), 0);
    assert.equal(writable(), true, 'without flags the processor keeps the translation');
  });

  test(`update_va_mapping_otherdomain, PV${width}: ESRCH, EPERM, devices`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    assert.equal(update(t, 0x5000n, 0n, 0, 1), -e.ESRCH, 'the own number is no name');
    assert.equal(update(t, 0x5000n, 0n, 0, 9), -e.ESRCH);
    assert.equal(update(t, 0x5000n, 0n, 0, 0), -e.EPERM);
    assert.equal(update(t, 0x5000n, t.entry(0xfee00, P), 0, DOMID_IO), -e.EPERM);
    assert.equal(update(t, 0x5000n, t.entry(page, P), 0, DOMID_IO), -e.EBUSY);
    assert.equal(update(t, 0x5000n, t.entry(page, P | RW), 0, DOMID_SELF), 0);
    assert.deepEqual(t.mm.check(), []);
  });
}
