import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as e from '../../abi/xen/errno.ts';
import * as g from '../../abi/xen/grant-table.ts';
import * as abi from '../../abi/xen/mmu.ts';
import { type Type, u64 } from '../../abi/xen/struct.ts';
import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_mmuext_op,
  __HYPERVISOR_update_va_mapping,
  DOMID_SELF,
} from '../../abi/xen/xen.ts';
import { A, D, P, RW, US } from '../pv/mm/entries.ts';
import * as f from '../pv/mm/frame-table.ts';
import { ARGUMENT, PvTestMachine } from '../pv/mm/testing.ts';

const SELF = 1;
const REF = 8;
/** An address that a last-level table covers, and where nothing is. */
const HOST = 0xc8000n;
const HOST_INDEX = 0xc8;

function grant(t: PvTestMachine, mfn: number, ref = REF, flags = g.GTF_permit_access, domid = SELF): void {
  const { view, at } = t.domain.grants.locate(ref);
  g.grant_entry_v1.write(view, at, { flags, domid, frame: mfn }, 'native');
}

/** One operation of an array; the structure as it comes back. */
function perform<T>(t: PvTestMachine, command: number, type: Type<T>, value: T): T {
  const at = t.put(type, [value]);
  assert.equal(t.call(__HYPERVISOR_grant_table_op, command, at, 1), 0);
  return t.get(type, ARGUMENT);
}

const map = (t: PvTestMachine, flags: number, host_addr = HOST, more: { ref?: number; dom?: number } = {}) =>
  perform(t, g.GNTTABOP_map_grant_ref, g.gnttab_map_grant_ref, {
    host_addr,
    flags,
    ref: REF,
    dom: SELF,
    status: 99,
    handle: 0,
    dev_bus_addr: 0n,
    ...more,
  });

const unmap = (t: PvTestMachine, handle: number, host_addr: bigint, dev_bus_addr = 0n): number =>
  perform(t, g.GNTTABOP_unmap_grant_ref, g.gnttab_unmap_grant_ref, { host_addr, dev_bus_addr, handle, status: 99 })
    .status;

const replace = (t: PvTestMachine, handle: number, host_addr: bigint, new_addr: bigint): number =>
  perform(t, g.GNTTABOP_unmap_and_replace, g.gnttab_unmap_and_replace, { host_addr, new_addr, handle, status: 99 })
    .status;

function pinAsTable(t: PvTestMachine, mfn: number): number | bigint {
  const list = t.put(abi.mmuext_op, [{ cmd: abi.MMUEXT_PIN_L1_TABLE, arg1: BigInt(mfn), arg2: 0n }]);
  return t.call(__HYPERVISOR_mmuext_op, list, 1, 0, DOMID_SELF);
}

function setVa(t: PvTestMachine, va: bigint, val: bigint): number | bigint {
  const entry = t.width === 64 ? [val, 2n] : [val & 0xffff_ffffn, val >> 32n, 2n];
  return t.call(__HYPERVISOR_update_va_mapping, va, ...entry);
}

const { GNTMAP_host_map: HOST_MAP, GNTMAP_device_map: DEVICE, GNTMAP_readonly: READONLY } = g;

for (const width of [64, 32] as const) {
  test(`map_grant_ref, PV${width}: statuses in their order`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    assert.equal(map(t, READONLY, HOST, { dom: 9 }).status, g.GNTST_bad_gntref, 'neither host nor device');
    assert.equal(map(t, HOST_MAP, HOST, { dom: 9 }).status, g.GNTST_bad_domain);
    assert.equal(map(t, HOST_MAP, HOST, { dom: DOMID_SELF }).status, g.GNTST_bad_domain);
    assert.equal(map(t, HOST_MAP, HOST, { dom: 0 }).status, g.GNTST_general_error, 'the control domain grants nothing');
    assert.equal(map(t, HOST_MAP, HOST, { ref: 512 }).status, g.GNTST_bad_gntref);
    assert.equal(map(t, HOST_MAP).status, g.GNTST_general_error, 'not granted');
    grant(t, page, REF, g.GTF_permit_access, 0);
    assert.equal(map(t, HOST_MAP).status, g.GNTST_general_error, 'granted to another');
    grant(t, page, REF, g.GTF_permit_access | g.GTF_readonly);
    assert.equal(map(t, HOST_MAP).status, g.GNTST_general_error, 'only to be read');
    grant(t, 0x12345);
    assert.equal(map(t, HOST_MAP).status, g.GNTST_bad_page);
    grant(t, t.l1);
    assert.equal(map(t, HOST_MAP).status, g.GNTST_general_error, 'a table cannot be written');
    assert.equal(map(t, DEVICE).status, g.GNTST_general_error);
    grant(t, page);
    assert.equal(map(t, HOST_MAP, 0x4000_0000n).status, g.GNTST_general_error, 'no last-level table there');
    assert.equal(t.domain.grants.entry(REF).flags, g.GTF_permit_access, 'nothing is left in use');
    assert.deepEqual(t.mm.check(), []);
  });

  test(`map_grant_ref, PV${width}: host and device mappings are ended one by one`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    grant(t, page);
    const mapped = map(t, HOST_MAP | DEVICE);
    assert.equal(mapped.status, g.GNTST_okay);
    assert.equal(mapped.dev_bus_addr, BigInt(page) << 12n);
    assert.equal(t.touch(HOST, 7), true);
    assert.equal(t.mm.bytes(page)[0], 7);
    assert.deepEqual(t.mm.check(), []);
    assert.equal(unmap(t, 5, HOST), g.GNTST_bad_handle);
    assert.equal(unmap(t, mapped.handle, 0n, 0x1000n), g.GNTST_bad_dev_addr);
    assert.equal(unmap(t, mapped.handle, 0x5000n), g.GNTST_general_error, 'another page is there');
    assert.equal(unmap(t, mapped.handle, HOST), g.GNTST_okay);
    assert.equal(t.touch(HOST, 7), false);
    assert.equal(pinAsTable(t, page), -e.EINVAL, 'a device still writes it');
    assert.equal(unmap(t, mapped.handle, HOST), g.GNTST_okay, 'nothing is left to do there');
    assert.equal(unmap(t, mapped.handle, 0n, BigInt(page) << 12n), g.GNTST_okay);
    assert.equal(unmap(t, mapped.handle, 0n, BigInt(page) << 12n), g.GNTST_bad_handle);
    assert.equal(t.domain.grants.entry(REF).flags, g.GTF_permit_access);
    t.mm.bytes(page).fill(0);
    assert.equal(pinAsTable(t, page), 0);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`map_grant_ref, PV${width}: the entry says what the flags ask for`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    grant(t, page);
    const bits = (flags: number): bigint => {
      const { status, handle } = map(t, flags);
      assert.equal(status, g.GNTST_okay);
      const entry = t.peek(t.l1, HOST_INDEX) & ~(BigInt(page) << 12n);
      assert.equal(unmap(t, handle, HOST), g.GNTST_okay);
      return entry;
    };
    const kernel = width === 64 ? (1n << 52n) | BigInt(US) : 0n;
    const user = BigInt(US) | (width === 64 ? 0x100n : 0n);
    const base = BigInt(P | A | D) | (1n << 63n);
    assert.equal(bits(HOST_MAP), base | BigInt(RW) | kernel);
    assert.equal(bits(HOST_MAP | READONLY), base | kernel);
    assert.equal(bits(HOST_MAP | g.GNTMAP_application_map), base | BigInt(RW) | user);
    assert.equal(bits(HOST_MAP | READONLY | (5 << 16)), base | kernel | (5n << 9n));
  });

  test(`map_grant_ref, PV${width}: into an entry named by its machine address`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    grant(t, page);
    const pte = (BigInt(t.l1) << 12n) + BigInt(HOST_INDEX * 8);
    const flags = HOST_MAP | g.GNTMAP_contains_pte;
    assert.equal(map(t, flags, pte - 2n).status, g.GNTST_general_error);
    assert.equal(map(t, flags, BigInt(t.l2) << 12n).status, g.GNTST_general_error, 'not of the last level');
    assert.equal(map(t, flags, BigInt(page) << 12n).status, g.GNTST_general_error, 'no table');
    const { status, handle } = map(t, flags, pte);
    assert.equal(status, g.GNTST_okay);
    assert.equal(t.touch(HOST, 1), true);
    assert.equal(replace(t, handle, pte, 0x5000n), g.GNTST_general_error, 'cannot be replaced');
    assert.equal(unmap(t, handle, pte), g.GNTST_okay);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`unmap_and_replace, PV${width}: the entry of another address takes the place`, () => {
    const t = new PvTestMachine(width);
    const [one, two] = [t.newPage(), t.newPage()];
    grant(t, one);
    grant(t, two, 9);
    const writable = map(t, HOST_MAP);
    const readonly = map(t, HOST_MAP | READONLY, HOST + 0x1000n, { ref: 9 });
    assert.equal(replace(t, readonly.handle, HOST + 0x1000n, 0x4000_0000n), g.GNTST_general_error);
    assert.equal(replace(t, readonly.handle, HOST + 0x1000n, HOST), g.GNTST_okay);
    assert.equal(t.peek(t.l1, HOST_INDEX), 0n);
    assert.equal((t.peek(t.l1, HOST_INDEX + 1) >> 12n) & 0xff_ffffn, BigInt(one));
    assert.deepEqual(t.mm.check(), []);
    // A read-only entry is not the writable one that the grant made.
    assert.equal(setVa(t, HOST, t.entry(one, P | A | D)), 0);
    assert.equal(unmap(t, writable.handle, HOST), g.GNTST_general_error);
    assert.equal(pinAsTable(t, one), -e.EINVAL, 'it is still mapped writable');
    assert.deepEqual(t.mm.check(), []);
  });

  test(`map_grant_ref, PV${width}: an entry that the guest overwrites takes its references along, the grant stays in use`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    grant(t, page);
    const { handle } = map(t, HOST_MAP);
    assert.equal(setVa(t, HOST, 0n), 0);
    assert.deepEqual(t.mm.check(), []);
    assert.equal(unmap(t, handle, HOST), g.GNTST_general_error);
    assert.equal(t.domain.grants.entry(REF).flags, g.GTF_permit_access | g.GTF_reading | g.GTF_writing);
  });

  test(`copy, PV${width}: not into what cannot be written`, () => {
    const t = new PvTestMachine(width);
    const copy = (to: number): number =>
      perform(t, g.GNTTABOP_copy, g.gnttab_copy, {
        source: { u: { gmfn: BigInt(t.pages[5]) }, domid: DOMID_SELF, offset: 0 },
        dest: { u: { gmfn: BigInt(to) }, domid: DOMID_SELF, offset: 0 },
        len: 8,
        flags: 0,
        status: 99,
      } as never).status;
    t.mm.bytes(t.pages[5]).fill(9);
    assert.equal(copy(t.l1), g.GNTST_general_error);
    assert.equal(copy(0x12345), g.GNTST_bad_page);
    assert.equal(copy(t.pages[6]), g.GNTST_okay);
    assert.equal(t.mm.bytes(t.pages[6])[7], 9);
    assert.equal(t.peek(t.l1, 0) >> 12n === 0x0909_0909_0909n, false);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`transfer, PV${width}: a page goes to who accepts it, or is lost`, () => {
    const t = new PvTestMachine(width);
    const transfer = (mfn: number, domid = SELF): number =>
      perform(t, g.GNTTABOP_transfer, g.gnttab_transfer, { mfn: BigInt(mfn), domid, ref: REF, status: 99 }).status;
    assert.equal(transfer(0x12345), g.GNTST_bad_page);
    assert.equal(transfer(t.pages[5]), g.GNTST_bad_page, 'it is mapped');
    assert.equal(transfer(t.mm.sharedInfoMfn), g.GNTST_bad_page);
    const pages = t.domain.p2m.totalPages;
    assert.equal(transfer(t.newPage(), 9), g.GNTST_bad_domain);
    assert.equal(t.domain.p2m.totalPages, pages, 'the new page is gone');
    assert.equal(transfer(t.newPage()), g.GNTST_general_error);
    const page = t.newPage();
    grant(t, 0, REF, g.GTF_accept_transfer);
    assert.equal(transfer(page), g.GNTST_okay);
    const { flags, frame } = t.domain.grants.entry(REF);
    assert.equal(flags, g.GTF_accept_transfer | g.GTF_transfer_committed | g.GTF_transfer_completed);
    assert.equal(frame, page);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`set_version, PV${width}: status frames that the guest maps keep version 2`, () => {
    const t = new PvTestMachine(width);
    const version = (n: number): number | bigint =>
      t.call(__HYPERVISOR_grant_table_op, g.GNTTABOP_set_version, t.put(g.gnttab_set_version, [{ version: n }]), 1);
    assert.equal(version(2), 0);
    const list = 0x3000n;
    const frames = { nr_frames: 1, dom: DOMID_SELF, status: 99, frame_list: list };
    const at = t.put(g.gnttab_get_status_frames, [frames]);
    assert.equal(t.call(__HYPERVISOR_grant_table_op, g.GNTTABOP_get_status_frames, at, 1), 0);
    const mfn = Number(t.get(u64, list));
    assert.equal(setVa(t, HOST, t.entry(mfn, P | RW)), 0);
    assert.equal(version(1), -e.EBUSY);
    assert.equal(setVa(t, HOST, 0n), 0);
    assert.equal(version(1), 0);
    assert.equal(setVa(t, HOST, t.entry(mfn, P)), -e.EBUSY, 'it cannot be mapped any more');
    assert.deepEqual(t.mm.check(), []);
  });

  test(`setup_table, PV${width}: gives machine frames that the guest can map`, () => {
    const t = new PvTestMachine(width);
    const list = 0x3000n;
    const at = t.put(g.gnttab_setup_table, [{ dom: DOMID_SELF, nr_frames: 2, status: 99, frame_list: list }]);
    assert.equal(t.call(__HYPERVISOR_grant_table_op, g.GNTTABOP_setup_table, at, 1), 0);
    assert.equal(t.get(g.gnttab_setup_table, at).status, g.GNTST_okay);
    const mfn = new DataView(t.mm.bytes(t.pages[3]).buffer, t.mm.bytes(t.pages[3]).byteOffset).getUint32(0, true);
    assert.equal(t.mm.typeOf(mfn), f.TYPE_WRITABLE);
    assert.equal(setVa(t, HOST, t.entry(mfn, P | RW)), 0);
    assert.equal(t.touch(HOST, 5), true);
    assert.equal(t.domain.grants.entry(0).flags & 0xff, 5);
  });
}
