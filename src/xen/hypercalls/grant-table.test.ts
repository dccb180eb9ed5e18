import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EBUSY, EFAULT, EINVAL, ENOSYS, ESRCH } from '../../abi/xen/errno.ts';
import * as g from '../../abi/xen/grant-table.ts';
import type { Type } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_grant_table_op, DOMID_SELF } from '../../abi/xen/xen.ts';
import type { DomainConfig } from '../domain.ts';
import { ARGUMENT, NOWHERE, TestDomain } from '../testing.ts';
import { grantTableOp } from './grant-table.ts';

const make = (config: Partial<DomainConfig> = {}): TestDomain => new TestDomain({ hypercalls: [grantTableOp], config });
const raw = (d: TestDomain, command: number, arg: bigint, count = 1): unknown =>
  d.raw(__HYPERVISOR_grant_table_op, [BigInt(command), arg, BigInt.asUintN(64, BigInt(count))]);
const status = <T extends { status: number }>(d: TestDomain, command: number, type: Type<T>, value: T): number => {
  assert.equal(raw(d, command, d.put(type, value)), 0);
  return d.get(type).status;
};
const grant = (d: TestDomain, ref: number, flags: number, gfn: number, domid = 1): void => {
  const { view, at } = d.domain.grants.locate(ref);
  if (d.domain.grants.version === 1) g.grant_entry_v1.write(view, at, { flags, domid, frame: gfn }, 'native');
  else g.grant_entry_v2.write(view, at, { flags, domid, pad0: 0, frame: BigInt(gfn) }, 'native');
};
const map = (d: TestDomain, over: { flags?: number; ref?: number; dom?: number; host_addr?: bigint } = {}): number =>
  status(d, g.GNTTABOP_map_grant_ref, g.gnttab_map_grant_ref, {
    host_addr: 0x20_0000n,
    flags: g.GNTMAP_host_map,
    ref: 9,
    dom: 1,
    status: 5,
    handle: 0,
    dev_bus_addr: 0n,
    ...over,
  });
const unmap = (d: TestDomain, handle: number, host_addr = 0x20_0000n): number =>
  status(d, g.GNTTABOP_unmap_grant_ref, g.gnttab_unmap_grant_ref, { host_addr, dev_bus_addr: 0n, handle, status: 5 });

test('grant_table_op: ENOSYS for what HVM may not use, EINVAL count, EINVAL stray bits, EFAULT', () => {
  const d = make();
  for (const [type, unknown, stray] of [
    ['hvm', -ENOSYS, -ENOSYS],
    ['pv64', -EINVAL, -EINVAL],
  ] as const) {
    assert.equal(raw(make({ type }), 99, NOWHERE, -1), unknown);
    assert.equal(raw(make({ type }), g.GNTTABOP_query_size | 0x1000, NOWHERE), stray);
  }
  assert.equal(raw(d, g.GNTTABOP_query_size, NOWHERE, -1), -EINVAL);
  for (const c of [3, 4, 7, 9, 12, 99]) assert.equal(raw(d, c, NOWHERE), -ENOSYS);
  for (const c of [0, 1, 2, 5, 6, 8, 10, 11]) assert.equal(raw(d, c, NOWHERE), -EFAULT);
});

test('GNTTABOP_map_grant_ref: statuses in order', () => {
  const d = make();
  assert.equal(map(d, { flags: 0, dom: 77 }), g.GNTST_bad_gntref);
  assert.equal(map(d, { flags: 3, dom: 77 }), g.GNTST_general_error);
  assert.equal(map(d, { dom: DOMID_SELF }), g.GNTST_bad_domain);
  assert.equal(map(d, { ref: 100000 }), g.GNTST_bad_gntref);
  assert.equal(map(d), g.GNTST_general_error, 'invalid entry');
  grant(d, 9, g.GTF_permit_access, 5, 2);
  assert.equal(map(d), g.GNTST_general_error, 'granted to someone else');
  grant(d, 9, g.GTF_permit_access | g.GTF_readonly, 5);
  assert.equal(map(d), g.GNTST_general_error, 'writing through a read-only grant');
  grant(d, 9, g.GTF_permit_access, 0x700);
  assert.equal(map(d), g.GNTST_bad_page);
  assert.equal(d.domain.grants.entry(9).flags, g.GTF_permit_access, 'status bits are taken back');
  const none = make({ maxMaptrackFrames: 0 });
  assert.equal(map(none), g.GNTST_no_space);
});

test('GNTTABOP_map/unmap_grant_ref: maps the page, marks the entry in use, unmaps only where it is mapped', () => {
  const d = make();
  grant(d, 9, g.GTF_permit_access, 5);
  assert.equal(map(d), 0);
  const { handle } = d.get(g.gnttab_map_grant_ref);
  assert.equal(d.domain.p2m.frameAt(0x200), d.domain.p2m.frameAt(5));
  assert.equal(d.domain.grants.entry(9).flags, g.GTF_permit_access | g.GTF_reading | g.GTF_writing);
  assert.equal(unmap(d, 55), g.GNTST_bad_handle);
  assert.equal(unmap(d, handle, 0x30_0000n), g.GNTST_general_error);
  assert.equal(unmap(d, handle), 0);
  assert.equal(unmap(d, handle), g.GNTST_bad_handle);
  assert.equal(d.domain.grants.entry(9).flags, g.GTF_permit_access);
  assert.equal(d.domain.p2m.frameAt(0x200), 0);
});

test('GNTTABOP_setup_table and query_size: EINVAL count; statuses; growth', () => {
  const d = make();
  const setup = (nr_frames: number, dom = DOMID_SELF): number =>
    status(d, g.GNTTABOP_setup_table, g.gnttab_setup_table, { dom, nr_frames, status: 5, frame_list: 0x2000n });
  assert.equal(raw(d, g.GNTTABOP_setup_table, ARGUMENT, 2), -EINVAL);
  assert.equal(setup(1, 77), g.GNTST_bad_domain);
  assert.equal(setup(1, 0), g.GNTST_permission_denied);
  assert.equal(setup(5), g.GNTST_general_error);
  assert.equal(setup(3), 0);
  assert.equal(raw(d, g.GNTTABOP_query_size, ARGUMENT, 0), -EINVAL);
  const query = { dom: DOMID_SELF, nr_frames: 0, max_nr_frames: 0, status: 5 };
  assert.equal(status(d, g.GNTTABOP_query_size, g.gnttab_query_size, query), 0);
  assert.deepEqual([d.get(g.gnttab_query_size).nr_frames, d.get(g.gnttab_query_size).max_nr_frames], [3, 4]);
});

test('GNTTABOP_set_version: EINVAL, ENOSYS, EBUSY; reserved entries survive, others are cleared; version written back', () => {
  const d = make();
  const set = (version: number, on = d): unknown =>
    raw(on, g.GNTTABOP_set_version, on.put(g.gnttab_set_version, { version }));
  assert.equal(set(3), -EINVAL);
  assert.equal(d.get(g.gnttab_set_version).version, 1);
  assert.equal(set(2, make({ maxGrantVersion: 1 })), -ENOSYS);
  grant(d, 1, g.GTF_permit_access, 7, 0);
  grant(d, 9, g.GTF_permit_access, 5);
  assert.equal(map(d), 0);
  const { handle } = d.get(g.gnttab_map_grant_ref);
  assert.equal(set(2), -EBUSY);
  assert.equal(unmap(d, handle), 0);
  assert.equal(set(2), 0);
  assert.deepEqual(d.domain.grants.entry(1), { flags: g.GTF_permit_access, domid: 0, frame: 7 });
  assert.equal(d.domain.grants.entry(9).flags, 0);
  grant(d, 9, g.GTF_permit_access, 5);
  assert.equal(map(d), 0);
  assert.equal(d.domain.grants.entry(9).flags, g.GTF_permit_access, 'version 2 keeps status bits elsewhere');
  assert.equal(unmap(d, d.get(g.gnttab_map_grant_ref).handle), 0);
  assert.equal(set(1), 0);
  assert.deepEqual(d.domain.grants.entry(1), { flags: g.GTF_permit_access, domid: 0, frame: 7 });
});

test('GNTTABOP_get_version: ESRCH, then the version', () => {
  const d = make();
  assert.equal(raw(d, g.GNTTABOP_get_version, d.put(g.gnttab_get_version, { dom: 77, pad: 0, version: 0 })), -ESRCH);
  assert.equal(raw(d, g.GNTTABOP_get_version, d.put(g.gnttab_get_version, { dom: 1, pad: 0, version: 0 })), 0);
  assert.equal(d.get(g.gnttab_get_version).version, 1);
});

test('GNTTABOP_copy: statuses in order, then bytes', () => {
  const d = make();
  const copy = (over: {
    len?: number;
    from?: number;
    to?: number;
    ref?: number;
    dom?: number;
    byRef?: boolean;
    gmfn?: bigint;
  }): number => {
    const { len = 8, from = 0, to = 16, ref = 9, dom = 1, byRef = true, gmfn = 6n } = over;
    return status(d, g.GNTTABOP_copy, g.gnttab_copy, {
      source: { u: byRef ? { ref } : { gmfn }, domid: dom, offset: from } as never,
      dest: { u: { gmfn: 6n }, domid: DOMID_SELF, offset: to } as never,
      len,
      flags: byRef ? g.GNTCOPY_source_gref : 0,
      status: 5,
    });
  };
  assert.equal(copy({ len: 0, dom: 77 }), 0);
  assert.equal(copy({ byRef: false, dom: 1 }), g.GNTST_permission_denied);
  assert.equal(copy({ dom: 77 }), g.GNTST_bad_domain);
  assert.equal(copy({ ref: 100000 }), g.GNTST_bad_gntref);
  assert.equal(copy({}), g.GNTST_general_error);
  assert.equal(copy({ byRef: false, dom: DOMID_SELF, gmfn: 0x700n }), g.GNTST_bad_page);
  grant(d, 9, g.GTF_permit_access | g.GTF_readonly, 5);
  assert.equal(copy({ from: 4090 }), g.GNTST_bad_copy_arg);
  d.domain.memory.writePhysical(0x5000, new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]));
  assert.equal(copy({}), 0);
  const out = new Uint8Array(8);
  d.domain.memory.readPhysical(0x6010, out);
  assert.deepEqual([...out], [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.equal(d.domain.grants.entry(9).flags, g.GTF_permit_access | g.GTF_readonly);
});

test('GNTTABOP_swap_grant_ref: bad references, busy ones, then the exchange', () => {
  const d = make();
  const swap = (ref_a: number, ref_b: number): number =>
    status(d, g.GNTTABOP_swap_grant_ref, g.gnttab_swap_grant_ref, { ref_a, ref_b, status: 5 });
  assert.equal(swap(100000, 1), g.GNTST_bad_gntref);
  assert.equal(swap(1, 100000), g.GNTST_bad_gntref);
  assert.equal(swap(9, 9), 0);
  grant(d, 9, g.GTF_permit_access, 5);
  assert.equal(map(d), 0);
  const { handle } = d.get(g.gnttab_map_grant_ref);
  assert.equal(swap(9, 10), g.GNTST_eagain);
  unmap(d, handle);
  assert.equal(swap(9, 10), 0);
  assert.equal(d.domain.grants.entry(10).frame, 5);
  assert.equal(d.domain.grants.entry(9).frame, 0);
});
