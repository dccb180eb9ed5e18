import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EACCES, EDOM, EFAULT, EILSEQ, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import * as m from '../../abi/xen/memory.ts';
import { array, s32, u32, ulong } from '../../abi/xen/struct.ts';
import { DOMID_SELF, __HYPERVISOR_memory_op as OP } from '../../abi/xen/xen.ts';
import { ARGUMENT, NOWHERE, TestDomain } from '../testing.ts';
import { memoryOp } from './memory.ts';

const make = (): TestDomain => new TestDomain({ hypercalls: [memoryOp] });
const LIST = 0x2000n;
const continued = (op: number, done: number): bigint => BigInt(op | (done << m.MEMOP_EXTENT_SHIFT));

/** One reservation operation on a list of frames. */
function reserve(
  t: TestDomain,
  op: number,
  frames: readonly bigint[],
  change: Partial<ReturnType<typeof blank>> = {},
): unknown {
  t.put(array(ulong, frames.length), [...frames], LIST);
  t.put(m.xen_memory_reservation, { ...blank(frames.length), ...change });
  return t.raw(OP, [BigInt(op), ARGUMENT]);
}
const blank = (count: number) => ({
  extent_start: LIST,
  nr_extents: BigInt(count),
  extent_order: 0,
  mem_flags: 0,
  domid: DOMID_SELF,
});

test('XENMEM_decrease_reservation: returns the number done and stops at a hole', () => {
  const t = make();
  assert.equal(reserve(t, m.XENMEM_decrease_reservation, [8n]), 1n);
  assert.equal(reserve(t, m.XENMEM_decrease_reservation, [8n]), 0n);
  assert.equal(reserve(t, m.XENMEM_decrease_reservation, [9n, 8n, 10n]), 1n);
});

test('XENMEM_populate_physmap: gives zeroed RAM up to the limit of the domain', () => {
  const t = new TestDomain({ hypercalls: [memoryOp], config: { maxPages: 18 } });
  assert.equal(reserve(t, m.XENMEM_populate_physmap, [100n, 101n, 102n]), 2n);
  assert.notEqual(t.domain.p2m.ramAt(101), 0);
});

test('reservation operations: every error is a count of zero', () => {
  const t = make();
  for (const op of [m.XENMEM_increase_reservation, m.XENMEM_decrease_reservation, m.XENMEM_populate_physmap]) {
    assert.equal(t.raw(OP, [BigInt(op), NOWHERE]), 0n);
    for (const change of [
      { nr_extents: 1n << 32n },
      { domid: 77 },
      { domid: 0 },
      { extent_order: 10 },
      { mem_flags: 12 },
      { mem_flags: m.XENMEMF_exact_node_request | (5 << 8) },
    ]) {
      assert.equal(
        reserve(t, op, [100n], change),
        0n,
        JSON.stringify(change, (_k, v) => String(v)),
      );
    }
  }
});

test('XENMEM_increase_reservation: counts against the limit', () => {
  const t = make();
  const before = t.domain.p2m.totalPages;
  assert.equal(reserve(t, m.XENMEM_increase_reservation, [0n], { extent_start: 0n }), 1n);
  assert.equal(t.domain.p2m.totalPages, before + 1);
});

test('XENMEM_exchange: errors in order', () => {
  const t = make();
  const call = (change: object = {}): unknown => {
    t.put(array(ulong, 1), [8n], LIST);
    t.put(m.xen_memory_exchange, { in: blank(1), out: blank(1), nr_exchanged: 0n, ...change });
    return t.raw(OP, [BigInt(m.XENMEM_exchange), ARGUMENT]);
  };
  assert.equal(t.raw(OP, [continued(m.XENMEM_exchange, 1), ARGUMENT]), -EINVAL);
  assert.equal(t.raw(OP, [BigInt(m.XENMEM_exchange), NOWHERE]), -EFAULT);
  assert.equal(call({ in: { ...blank(1), extent_order: 10 }, nr_exchanged: 9n }), -EPERM);
  assert.equal(t.get(m.xen_memory_exchange).nr_exchanged, 0n);
  assert.equal(call({ nr_exchanged: 2n }), -EINVAL);
  assert.equal(call({ out: { ...blank(1), domid: 0 } }), -EINVAL);
  assert.equal(call({ out: blank(2) }), -EINVAL);
  assert.equal(call({ nr_exchanged: 1n }), 0);
  assert.equal(call({ in: { ...blank(1), extent_start: (1n << 64n) - 1n } }), -EFAULT);
  assert.equal(call({ in: { ...blank(1), domid: 77 }, out: { ...blank(1), domid: 77 } }), -ESRCH);
  assert.equal(call(), 0);
  assert.notEqual(t.domain.p2m.ramAt(8), 0);
});

test('memory queries: EINVAL for a continuation, EFAULT, ESRCH, EPERM, then the answer', () => {
  const t = make();
  for (const [op, answer] of [
    [m.XENMEM_current_reservation, 16],
    [m.XENMEM_maximum_reservation, 64],
    [m.XENMEM_maximum_gpfn, 15],
  ] as const) {
    assert.equal(t.raw(OP, [continued(op, 1), NOWHERE]), -EINVAL);
    assert.equal(t.raw(OP, [BigInt(op), NOWHERE]), -EFAULT);
    for (const [domid, want] of [
      [77, -ESRCH],
      [0, -EPERM],
      [DOMID_SELF, answer],
      [1, answer],
    ] as const) {
      t.put(m.xen_memory_domain, { domid });
      assert.equal(t.raw(OP, [BigInt(op), ARGUMENT]), want);
    }
  }
});

const map = { domid: DOMID_SELF, size: 0, space: m.XENMAPSPACE_shared_info, idx: 0n, gpfn: 9n };

test('XENMEM_add_to_physmap: errors in order', () => {
  const t = make();
  const call = (change: object, op = BigInt(m.XENMEM_add_to_physmap)): unknown => {
    t.put(m.xen_add_to_physmap, { ...map, ...change });
    return t.raw(OP, [op, ARGUMENT]);
  };
  assert.equal(call({}, continued(m.XENMEM_add_to_physmap, 0x10000)), -EDOM);
  assert.equal(t.raw(OP, [BigInt(m.XENMEM_add_to_physmap), NOWHERE]), -EFAULT);
  assert.equal(call({ space: m.XENMAPSPACE_gmfn_foreign, domid: 77 }), -ENOSYS);
  assert.equal(call({ domid: 77 }), -ESRCH);
  assert.equal(call({ domid: 0 }), -EACCES, 'the control domain is not translated');
  assert.equal(call({ space: m.XENMAPSPACE_dev_mmio }), -EACCES);
  assert.equal(call({ gpfn: (1n << 64n) - 1n }), -EINVAL);
  assert.equal(call({ idx: 1n }), -EINVAL);
  assert.equal(call({ space: 9 }), -EINVAL);
  assert.equal(call({ space: m.XENMAPSPACE_gmfn, idx: 99n }), -EACCES);
  assert.equal(call({ space: m.XENMAPSPACE_gmfn_range, size: 1 }, continued(m.XENMEM_add_to_physmap, 2)), -EILSEQ);
});

test('XENMEM_add_to_physmap: a 32-bit caller cannot name the frame number that is refused first', () => {
  const t = make();
  t.put(m.xen_add_to_physmap, { ...map, space: m.XENMAPSPACE_gmfn, idx: 99n, gpfn: 0xffff_ffffn }, ARGUMENT, 'compat');
  assert.equal(t.raw(OP, [BigInt(m.XENMEM_add_to_physmap), ARGUMENT], { width: 'compat' }), -EACCES);
});

test('XENMEM_reserved_device_memory_map: EINVAL, EFAULT, EINVAL; no entries', () => {
  const t = make();
  const op = BigInt(m.XENMEM_reserved_device_memory_map);
  const call = (change: object = {}): unknown => {
    const rdm = { flags: m.XENMEM_RDM_ALL, nr_entries: 4, buffer: LIST, seg: 0, bus: 0, devfn: 0 };
    t.put(m.xen_reserved_device_memory_map, { ...rdm, ...change });
    return t.raw(OP, [op, ARGUMENT]);
  };
  assert.equal(t.raw(OP, [continued(m.XENMEM_reserved_device_memory_map, 1), NOWHERE]), -EINVAL);
  assert.equal(t.raw(OP, [op, NOWHERE]), -EFAULT);
  assert.equal(call({ buffer: (1n << 64n) - 8n, flags: 2 }), -EINVAL, 'the list of an HVM guest is not looked at');
  assert.equal(call({ flags: 2 }), -EINVAL);
  assert.equal(call(), 0);
  assert.equal(t.get(m.xen_reserved_device_memory_map).nr_entries, 0);
});

test('XENMEM_access_op: the domain id is behind the operation; one’s own is EPERM', () => {
  const t = make();
  for (const [domid, want] of [
    [t.domain.id, -EPERM],
    [77, -ESRCH],
    [0, -EINVAL],
    [DOMID_SELF, -ESRCH],
  ] as const) {
    t.put(m.xen_mem_access_op, { op: 0, access: 0, domid, nr: 0, pfn: 0n, pfn_list: 0n, access_list: 0n });
    assert.equal(t.raw(OP, [BigInt(m.XENMEM_access_op), ARGUMENT]), want);
  }
});

test('XENMEM_add_to_physmap: PV guests get EACCES', () => {
  const t = new TestDomain({ hypercalls: [memoryOp], config: { type: 'pv64', pvh: false } });
  t.put(m.xen_add_to_physmap, map);
  assert.equal(t.raw(OP, [BigInt(m.XENMEM_add_to_physmap), ARGUMENT]), -EACCES);
});

test('XENMEM_add_to_physmap: shared_info takes the place of RAM, and moves', () => {
  const t = make();
  const { p2m, sharedInfo } = t.domain;
  t.put(m.xen_add_to_physmap, map);
  assert.equal(t.raw(OP, [BigInt(m.XENMEM_add_to_physmap), ARGUMENT]), 0);
  assert.equal(p2m.frameAt(9), sharedInfo);
  assert.equal(p2m.totalPages, 15);
  t.put(m.xen_add_to_physmap, { ...map, gpfn: 40n });
  assert.equal(t.raw(OP, [BigInt(m.XENMEM_add_to_physmap), ARGUMENT]), 0);
  assert.deepEqual([p2m.frameAt(9), p2m.frameAt(40)], [0, sharedInfo]);
  t.put(m.xen_add_to_physmap, { ...map, space: m.XENMAPSPACE_gmfn, idx: 40n, gpfn: 10n });
  assert.equal(t.raw(OP, [BigInt(m.XENMEM_add_to_physmap), ARGUMENT]), 0, 'by its guest frame number too');
  assert.deepEqual([p2m.frameAt(40), p2m.frameAt(10), p2m.totalPages], [0, sharedInfo, 14]);
});

test('XENMEM_add_to_physmap: an overlapping upward range moves every page', () => {
  const t = make();
  const before = [8, 9, 10].map((frame) => t.domain.p2m.ramAt(frame));
  t.put(m.xen_add_to_physmap, { ...map, space: m.XENMAPSPACE_gmfn_range, idx: 8n, gpfn: 9n, size: 3 });
  assert.equal(t.raw(OP, [BigInt(m.XENMEM_add_to_physmap), ARGUMENT]), 0);
  assert.deepEqual(
    [9, 10, 11].map((frame) => t.domain.p2m.ramAt(frame)),
    before,
  );
});

test('XENMEM_add_to_physmap_batch: errors in order; results go to the list', () => {
  const t = make();
  const batch = {
    domid: DOMID_SELF,
    space: m.XENMAPSPACE_gmfn,
    size: 2,
    extra: 0,
    idxs: 0x2000n,
    gpfns: 0x2100n,
    errs: 0x2200n,
  };
  const op = BigInt(m.XENMEM_add_to_physmap_batch);
  const call = (change: object = {}): unknown => {
    t.put(m.xen_add_to_physmap_batch, { ...batch, ...change });
    return t.raw(OP, [op, ARGUMENT]);
  };
  assert.equal(t.raw(OP, [op, NOWHERE]), -EFAULT);
  assert.equal(call({ space: m.XENMAPSPACE_gmfn_range, domid: 77 }), -EOPNOTSUPP);
  assert.equal(call({ domid: 77 }), -ESRCH);
  assert.equal(call({ size: 0 }), 0);
  assert.equal(call({ errs: (1n << 64n) - 4n }), -EFAULT);
  t.put(array(ulong, 2), [8n, 99n], 0x2000n);
  t.put(array(ulong, 2), [50n, 51n], 0x2100n);
  assert.equal(call(), 0);
  assert.deepEqual(t.get(array(s32, 2), 0x2200n), [0, -EACCES]);
});

test('XENMEM_remove_from_physmap: EINVAL, EFAULT, ESRCH, ENOENT; the page stays the domain’s', () => {
  const t = make();
  const op = BigInt(m.XENMEM_remove_from_physmap);
  assert.equal(t.raw(OP, [continued(m.XENMEM_remove_from_physmap, 1), NOWHERE]), -EINVAL);
  assert.equal(t.raw(OP, [op, NOWHERE]), -EFAULT);
  for (const [domid, gpfn, want] of [
    [77, 8n, -ESRCH],
    [DOMID_SELF, 99n, -ENOENT],
    [DOMID_SELF, 8n, 0],
    [DOMID_SELF, 8n, -ENOENT],
  ] as const) {
    t.put(m.xen_remove_from_physmap, { domid, gpfn });
    assert.equal(t.raw(OP, [op, ARGUMENT]), want);
  }
  assert.equal(t.domain.p2m.totalPages, 16);
});

test('XENMEM_memory_map: ENOSYS without a map, then as many packed entries as fit', () => {
  const t = make();
  const op = BigInt(m.XENMEM_memory_map);
  assert.equal(t.raw(OP, [op, NOWHERE]), -EFAULT);
  t.put(m.xen_memory_map, { nr_entries: 8, buffer: 0x3000n });
  assert.equal(t.raw(OP, [op, ARGUMENT]), -ENOSYS);
  t.domain.memoryMap = [
    { addr: 0n, size: 0x1000n, type: 1 },
    { addr: 0x1000n, size: 0x2000n, type: 2 },
  ];
  assert.equal(t.raw(OP, [op, ARGUMENT]), 0);
  assert.equal(t.get(m.xen_memory_map).nr_entries, 2);
  assert.equal(t.get(u32, 0x3000n + 36n), 2);
  t.put(m.xen_memory_map, { nr_entries: 8, buffer: NOWHERE });
  assert.equal(t.raw(OP, [op, ARGUMENT]), -EFAULT);
});

test('XENMEM_set_memory_map: EFAULT, EINVAL, ESRCH, EFAULT; the map is the domain’s own', () => {
  const t = make();
  const op = BigInt(m.XENMEM_set_memory_map);
  const call = (domid: number, nr_entries: number, buffer: bigint): unknown => {
    t.put(m.xen_foreign_memory_map, { domid, map: { nr_entries, buffer } });
    return t.raw(OP, [op, ARGUMENT]);
  };
  assert.equal(t.raw(OP, [op, NOWHERE]), -EFAULT);
  assert.equal(call(77, m.E820MAX + 1, NOWHERE), -EINVAL);
  assert.equal(call(77, 1, NOWHERE), -ESRCH);
  assert.equal(call(DOMID_SELF, 1, NOWHERE), -EFAULT);
  assert.equal(call(DOMID_SELF, 1, 0x3000n), 0);
  assert.equal(t.domain.memoryMap.length, 1);
});

test('other memory operations: refused as on Xen', () => {
  const t = make();
  for (const [op, want] of [
    [m.XENMEM_machine_memory_map, -EPERM],
    [m.XENMEM_machphys_mapping, -ENOSYS],
    [m.XENMEM_acquire_resource, -EACCES],
    [m.XENMEM_claim_pages, -EFAULT],
    [m.XENMEM_get_vnumainfo, -EFAULT],
    [m.XENMEM_set_pod_target, -EFAULT],
    [m.XENMEM_get_sharing_freed_pages, 0],
    [m.XENMEM_access_op, -EFAULT],
    [50, -ENOSYS],
  ] as const) {
    assert.equal(t.raw(OP, [BigInt(op), NOWHERE]), want, `operation ${op}`);
  }
  t.put(m.xen_vnuma_topology_info, {
    domid: DOMID_SELF,
    pad: 0,
    nr_vnodes: 0,
    nr_vcpus: 0,
    nr_vmemranges: 0,
    vdistance: 0n,
    vcpu_to_vnode: 0n,
    vmemrange: 0n,
  });
  assert.equal(t.raw(OP, [BigInt(m.XENMEM_get_vnumainfo), ARGUMENT]), -EOPNOTSUPP);
});
