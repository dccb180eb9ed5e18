/** memory_op of PV guests: reservations in machine frames, exchange, the machine-to-physical table. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as e from '../../abi/xen/errno.ts';
import * as m from '../../abi/xen/memory.ts';
import { ulong } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_memory_op, DOMID_SELF } from '../../abi/xen/xen.ts';
import { PvTestMachine } from '../pv/mm/testing.ts';

const LIST = 0x3000n;
const OUT = 0x4000n;
const HOLE = 0x40_0000n;

function reserve(
  t: PvTestMachine,
  operation: number,
  frames: readonly (number | bigint)[] | undefined,
  order = 0,
): number {
  const nr_extents = BigInt(frames?.length ?? 1);
  const extent_start = frames === undefined ? 0n : t.put(ulong, frames.map(BigInt), LIST);
  const r = { extent_start, nr_extents, extent_order: order, mem_flags: 0, domid: DOMID_SELF };
  return Number(t.call(__HYPERVISOR_memory_op, operation, t.put(m.xen_memory_reservation, [r])));
}

function exchange(
  t: PvTestMachine,
  from: readonly number[],
  to: readonly number[],
  { inOrder = 0, outOrder = 0, more = {} } = {},
): number | bigint {
  const common = { mem_flags: 0, domid: DOMID_SELF };
  const start = t.put(ulong, from.map(BigInt), LIST);
  const out = t.put(ulong, to.map(BigInt), OUT);
  const value = {
    in: { ...common, extent_start: start, nr_extents: BigInt(from.length), extent_order: inOrder },
    out: { ...common, extent_start: out, nr_extents: BigInt(to.length), extent_order: outOrder },
    nr_exchanged: 0n,
    ...more,
  };
  return t.call(__HYPERVISOR_memory_op, m.XENMEM_exchange, t.put(m.xen_memory_exchange, [value]));
}

const exchanged = (t: PvTestMachine): bigint => t.get(m.xen_memory_exchange).nr_exchanged;
const listed = (t: PvTestMachine, at: bigint, n = 0): number =>
  Number(t.get(ulong, at + BigInt(n * ulong.size(t.width === 64 ? 'native' : 'compat'))));

for (const width of [64, 32] as const) {
  test(`populate_physmap, PV${width}: gives frames, and says which`, () => {
    const t = new PvTestMachine(width);
    assert.equal(reserve(t, m.XENMEM_populate_physmap, [300, 301]), 2);
    const first = listed(t, LIST);
    assert.equal(t.mm.m2p(first), 300);
    assert.equal(t.mm.m2p(listed(t, LIST, 1)), 301);
    assert.notEqual(first, 300, 'machine frames are numbered differently');
    assert.equal(reserve(t, m.XENMEM_populate_physmap, [400], 2), 1);
    const run = listed(t, LIST);
    assert.equal(run % 4, 0);
    assert.deepEqual(
      [0, 1, 2, 3].map((i) => t.mm.m2p(run + i)),
      [400, 401, 402, 403],
    );
    t.domain.p2m.maxPages = t.domain.p2m.totalPages + 1;
    assert.equal(reserve(t, m.XENMEM_populate_physmap, [500, 501, 502]), 1, 'up to the limit');
    assert.deepEqual(t.mm.check(), []);
  });

  test(`increase_reservation, PV${width}: with and without a list`, () => {
    const t = new PvTestMachine(width);
    const pages = t.domain.p2m.totalPages;
    assert.equal(reserve(t, m.XENMEM_increase_reservation, undefined), 1);
    assert.equal(reserve(t, m.XENMEM_increase_reservation, [0, 0]), 2);
    assert.equal(t.domain.p2m.totalPages, pages + 3);
    assert.equal(t.mm.m2p(listed(t, LIST)), width === 64 ? 2 ** 53 - 1 : 2 ** 32 - 1, 'no physical frame yet');
    assert.equal(t.mm.typeOf(listed(t, LIST)), 0);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`decrease_reservation, PV${width}: frames go when nothing refers to them any more`, () => {
    const t = new PvTestMachine(width);
    const pages = t.domain.p2m.totalPages;
    const page = t.newPage();
    assert.equal(reserve(t, m.XENMEM_decrease_reservation, [0x12345]), 0);
    assert.equal(reserve(t, m.XENMEM_decrease_reservation, [page, page]), 1);
    assert.equal(t.domain.p2m.totalPages, pages);
    assert.equal(reserve(t, m.XENMEM_decrease_reservation, [t.pages[9]]), 1, 'also one that is mapped');
    assert.equal(t.domain.p2m.totalPages, pages);
    assert.equal(t.touch(0x9000n, 1), true);
    assert.equal(t.mm.modifier.modify(1, t.l1 - t.mm.frames.base, 9, 0, 0, false), 0);
    assert.equal(t.domain.p2m.totalPages, pages - 1);
    assert.equal(t.touch(0x9000n, 1), false, 'and no processor can reach it');
    assert.deepEqual(t.mm.check(), []);
  });

  test(`exchange, PV${width}: errors, and how far it came`, () => {
    const t = new PvTestMachine(width);
    const [a, b] = [t.newPage(), t.newPage()];
    assert.equal(exchange(t, [a], [5], { inOrder: 10 }), -e.EPERM);
    assert.equal(exchange(t, [a], [5, 6]), -e.EINVAL);
    assert.equal(exchange(t, [0x12345], [5]), -e.EINVAL);
    assert.equal(exchange(t, [t.pages[5]], [5]), -e.EINVAL, 'it is mapped');
    assert.equal(exchange(t, [t.mm.sharedInfoMfn], [5]), -e.EINVAL);
    assert.equal(exchange(t, [a, a], [5, 6], { outOrder: 0 }), -e.EINVAL, 'the second time it is gone');
    assert.equal(exchanged(t), 1n);
    assert.equal(exchange(t, [b, t.l1], [5, 6]), -e.EINVAL);
    assert.equal(exchanged(t), 1n);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`exchange, PV${width}: frames for others, single ones for a run and back`, () => {
    const t = new PvTestMachine(width);
    const singles = [t.newPage(), t.newPage(), t.newPage(), t.newPage()];
    const pages = t.domain.p2m.totalPages;
    assert.equal(exchange(t, singles, [0x700], { outOrder: 2 }), 0);
    const run = listed(t, OUT);
    assert.equal(run % 4, 0);
    assert.deepEqual(
      [0, 1, 2, 3].map((i) => t.mm.m2p(run + i)),
      [0x700, 0x701, 0x702, 0x703],
    );
    assert.equal(exchanged(t), 4n);
    assert.equal(exchange(t, [run], [1, 2, 3, 4], { inOrder: 2 }), 0);
    assert.deepEqual(
      [0, 1, 2, 3].map((i) => t.mm.m2p(listed(t, OUT, i))),
      [1, 2, 3, 4],
    );
    assert.equal(t.domain.p2m.totalPages, pages);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`exchange, PV${width}: an unreadable list of new frames is told after the exchange`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    const common = { nr_extents: 1n, extent_order: 0, mem_flags: 0, domid: DOMID_SELF };
    const start = t.put(ulong, [BigInt(page)], LIST);
    const value = { in: { ...common, extent_start: start }, out: { ...common, extent_start: HOLE }, nr_exchanged: 0n };
    const at = t.put(m.xen_memory_exchange, [value]);
    assert.equal(t.call(__HYPERVISOR_memory_op, m.XENMEM_exchange, at), -e.EFAULT);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`machphys_mapping and its list, PV${width}: where the table is`, () => {
    const t = new PvTestMachine(width);
    const call = (operation: number, at: bigint): number | bigint => t.call(__HYPERVISOR_memory_op, operation, at);
    assert.equal(call(m.XENMEM_machphys_mapping | (1 << 6), HOLE), -e.EINVAL);
    assert.equal(call(m.XENMEM_machphys_mapping, HOLE), -e.EFAULT);
    assert.equal(call(m.XENMEM_machphys_mapping, t.put(ulong, [0n, 0n, 0n])), 0);
    const { v_start, v_end, max_mfn } = t.get(m.xen_machphys_mapping);
    assert.deepEqual(
      [v_start, v_end, max_mfn],
      width === 64
        ? [0xffff_8000_0000_0000n, 0xffff_8040_0000_0000n, 2n ** 35n - 1n]
        : [0xf580_0000n, 0xffe0_0000n, 0x298_0000n - 1n],
    );
    assert.equal(call(m.XENMEM_machphys_mfn_list, HOLE), -e.EFAULT);
    const list = t.put(m.xen_machphys_mfn_list, [{ max_extents: 4, extent_start: LIST, nr_extents: 0 }]);
    assert.equal(call(m.XENMEM_machphys_mfn_list, list), 0);
    const { nr_extents } = t.get(m.xen_machphys_mfn_list);
    assert.ok(nr_extents >= 1);
    assert.notEqual(listed(t, LIST), 0);
  });

  test(`maximum_gpfn, PV${width}: what the guest says in shared_info`, () => {
    const t = new PvTestMachine(width);
    const ask = (): number | bigint =>
      t.call(__HYPERVISOR_memory_op, m.XENMEM_maximum_gpfn, t.put(m.xen_memory_domain, [{ domid: DOMID_SELF }]));
    assert.equal(ask(), 0);
    const bytes = t.mm.bytes(t.mm.sharedInfoMfn);
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(width === 64 ? 3088 : 2316, 500, true);
    assert.equal(ask(), 499);
  });
}
