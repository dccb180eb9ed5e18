import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as e from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/mmu.ts';
import { ulong } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_mmuext_op, DOMID_IO, DOMID_SELF } from '../../abi/xen/xen.ts';
import * as STATE from '../../cpu/state.ts';
import { P, RW, US } from '../pv/mm/entries.ts';
import * as f from '../pv/mm/frame-table.ts';
import { PvTestMachine } from '../pv/mm/testing.ts';

const DONE = 0x2000n;
const HOLE = 0x40_0000n;

function perform(t: PvTestMachine, cmd: number, arg1: bigint | number = 0, arg2: bigint | number = 0): number | bigint {
  const list = t.put(abi.mmuext_op, [{ cmd, arg1: BigInt(arg1), arg2: BigInt(arg2) }]);
  return t.call(__HYPERVISOR_mmuext_op, list, 1, DONE, DOMID_SELF);
}

/** A fresh root that maps what the present one maps. */
function newRoot(t: PvTestMachine): number {
  const root = t.newPage();
  if (t.width === 64) t.poke(root, 0, t.entry(t.upper, P | RW | US));
  else {
    t.poke(root, 0, t.entry(t.l2, P));
    t.poke(root, 3, t.entry(t.newPage(), P));
  }
  return root;
}

for (const width of [64, 32] as const) {
  const levels = width === 64 ? [1, 2, 3, 4] : [1, 2];

  test(`mmuext_op, PV${width}: list, domain, unreadable and unknown operations are checked in this order`, () => {
    const t = new PvTestMachine(width);
    const call = (...args: (bigint | number)[]): number | bigint => t.call(__HYPERVISOR_mmuext_op, ...args);
    assert.equal(call(width === 64 ? 0xffff_8000_0000_0000n : 0xffff_fff8n, 1, 0, 7), -e.EFAULT);
    assert.equal(call(HOLE, 1, 0, 7), -e.ESRCH);
    assert.equal(call(HOLE, 1, 0, 0), -e.EPERM);
    assert.equal(call(HOLE, 1, 0, DOMID_IO), -e.EPERM);
    assert.equal(call(HOLE, 1, 0, DOMID_SELF), -e.EFAULT);
    assert.equal(perform(t, 14), -e.ENOSYS);
    assert.equal(perform(t, 99), -e.ENOSYS);
    for (const cmd of [abi.MMUEXT_MARK_SUPER, abi.MMUEXT_UNMARK_SUPER]) assert.equal(perform(t, cmd), -e.EOPNOTSUPP);
    for (const cmd of [abi.MMUEXT_FLUSH_CACHE, abi.MMUEXT_FLUSH_CACHE_GLOBAL]) assert.equal(perform(t, cmd), -e.EACCES);
  });

  test(`mmuext_op, PV${width}: the number done is not written into the hypervisor's tables`, () => {
    const t = new PvTestMachine(width);
    const page = t.newPage();
    assert.equal(t.mm.setGdt(t.vcpu, [page], 512), 0);
    const list = t.put(abi.mmuext_op, [{ cmd: abi.MMUEXT_TLB_FLUSH_LOCAL, arg1: 0n, arg2: 0n }]);
    t.call(__HYPERVISOR_mmuext_op, list, 1, t.mm.gdtBase(t.vcpu), DOMID_SELF);
    assert.equal(t.peek(page, 0), 0n);
  });

  test(`mmuext_op, PV${width}: pinning`, () => {
    const t = new PvTestMachine(width);
    for (const level of levels) {
      const page = t.newPage();
      const pin = abi.MMUEXT_PIN_L1_TABLE + level - 1;
      assert.equal(perform(t, abi.MMUEXT_UNPIN_TABLE, page), -e.EINVAL, 'not pinned');
      assert.equal(perform(t, pin, page), 0);
      assert.equal(t.mm.typeOf(page), level);
      assert.equal(perform(t, pin, page), -e.EINVAL, 'pinned already');
      assert.equal(
        perform(t, abi.MMUEXT_PIN_L1_TABLE + (level % 4), page),
        level === 3 && width === 32 ? 0 : -e.EINVAL,
      );
      assert.equal(perform(t, abi.MMUEXT_UNPIN_TABLE, page), 0);
      assert.equal(perform(t, abi.MMUEXT_UNPIN_TABLE, page), -e.EINVAL);
    }
    assert.equal(perform(t, abi.MMUEXT_PIN_L1_TABLE, 0x12345), -e.EINVAL);
    assert.equal(perform(t, abi.MMUEXT_PIN_L1_TABLE, t.pages[5]), -e.EINVAL, 'mapped writable');
    assert.equal(
      perform(t, abi.MMUEXT_PIN_L4_TABLE, 0x12345),
      width === 32 ? 0 : -e.EINVAL,
      'there is no fourth level',
    );
    assert.equal(perform(t, abi.MMUEXT_PIN_L3_TABLE, t.newPage()), width === 32 ? -e.EINVAL : 0);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`mmuext_op, PV${width}: a table with a bad entry cannot be pinned, and what was taken is given back`, () => {
    const t = new PvTestMachine(width);
    const bad = t.newPage();
    t.poke(bad, 0, t.entry(t.pages[3], P | RW));
    t.poke(bad, 1, t.entry(t.l1, P | RW));
    assert.equal(perform(t, abi.MMUEXT_PIN_L1_TABLE, bad), -e.EBUSY);
    const l2 = t.newPage();
    t.poke(l2, 3, t.entry(t.newPage(), P));
    t.poke(l2, 4, t.entry(bad, P));
    assert.equal(perform(t, abi.MMUEXT_PIN_L2_TABLE, l2), -e.EBUSY);
    assert.equal(t.mm.typeOf(l2), f.TYPE_NONE);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`mmuext_op, PV${width}: a new root`, () => {
    const t = new PvTestMachine(width);
    assert.equal(perform(t, abi.MMUEXT_NEW_BASEPTR, 0x12345), -e.EINVAL);
    assert.equal(perform(t, abi.MMUEXT_NEW_BASEPTR, t.l1), -e.EINVAL);
    assert.equal(t.vcpu.kernelRoot, t.root);
    const root = newRoot(t);
    assert.equal(perform(t, abi.MMUEXT_NEW_BASEPTR, root), 0);
    assert.equal(t.vcpu.kernelRoot, root);
    if (width === 64) assert.equal(t.machine.cpus[0].get64(STATE.CR3), BigInt(root) << 12n);
    assert.equal(perform(t, abi.MMUEXT_NEW_BASEPTR, root), 0, 'the same again');
    assert.equal(t.machine.cpus[0].tryWriteLinear(0x5000n, Uint8Array.of(1)), true);
    assert.deepEqual(t.mm.check(), []);
  });

  test(`mmuext_op, PV${width}: flushes`, () => {
    const t = new PvTestMachine(width);
    const isStale = (): boolean => t.touch(0x6000n, 1);
    const put = (bits: number): void => t.poke(t.l1, 6, t.entry(t.pages[6], bits));
    const mask = t.put(ulong, [1n], 0x3000n);
    for (const [cmd, arg1, arg2] of [
      [abi.MMUEXT_TLB_FLUSH_LOCAL, 0n, 0n],
      [abi.MMUEXT_TLB_FLUSH_ALL, 0n, 0n],
      [abi.MMUEXT_TLB_FLUSH_MULTI, 0n, mask],
      [abi.MMUEXT_INVLPG_LOCAL, 0x6000n, 0n],
      [abi.MMUEXT_INVLPG_ALL, 0x6000n, 0n],
      [abi.MMUEXT_INVLPG_MULTI, 0x6000n, mask],
    ] as const) {
      put(P | RW | US);
      perform(t, abi.MMUEXT_TLB_FLUSH_LOCAL);
      assert.equal(isStale(), true);
      put(0);
      assert.equal(isStale(), true, 'the processor still knows the page');
      assert.equal(perform(t, cmd, arg1, arg2), 0);
      assert.equal(isStale(), false, `operation ${cmd}`);
    }
    assert.equal(perform(t, abi.MMUEXT_TLB_FLUSH_MULTI, 0, HOLE), -e.EINVAL);
    assert.equal(perform(t, abi.MMUEXT_INVLPG_MULTI, 0, HOLE), -e.EINVAL);
  });

  test(`mmuext_op, PV${width}: the LDT is shown page by page when it is used`, () => {
    const t = new PvTestMachine(width);
    const set = (base: bigint | number, entries: number): number | bigint =>
      perform(t, abi.MMUEXT_SET_LDT, base, entries);
    assert.equal(set(0x5001, 1), -e.EINVAL);
    assert.equal(set(0x5000, 8193), -e.EINVAL);
    if (width === 64) assert.equal(set(0xffff_8000_0000_0000n, 1), -e.EINVAL);
    assert.equal(set(0x5001, 0), 0, 'without entries the address does not matter');
    assert.equal(set(0x5000, 513), 0);
    const first = t.mm.ldtBase(t.vcpu);
    assert.equal(t.mm.pageFault(t.vcpu, first, 4), 'guest', 'page 5 is mapped writable');
    t.call(14, 0x5000n, t.entry(t.pages[5], P | US), width === 64 ? 2n : 0n, 2n);
    assert.equal(t.mm.pageFault(t.vcpu, first + 16n, 4), 'retry');
    assert.equal(t.mm.typeOf(t.pages[5]), f.TYPE_SEG_DESC);
    assert.equal(t.mm.pageFault(t.vcpu, first + 2n * 4096n, 4), 'guest', 'beyond the table');
    assert.deepEqual(t.mm.check(), []);
    assert.equal(set(0, 0), 0);
    assert.equal(t.mm.frames.typeCount[t.pages[5] - t.mm.frames.base], 0);
  });

  test(`mmuext_op, PV${width}: clearing and copying pages`, () => {
    const t = new PvTestMachine(width);
    t.mm.bytes(t.pages[5]).fill(7);
    assert.equal(perform(t, abi.MMUEXT_COPY_PAGE, t.pages[6], 0x12345), -e.EINVAL);
    assert.equal(perform(t, abi.MMUEXT_COPY_PAGE, t.l1, t.pages[5]), -e.EINVAL);
    assert.equal(perform(t, abi.MMUEXT_COPY_PAGE, t.pages[6], t.pages[5]), 0);
    assert.equal(t.mm.bytes(t.pages[6])[4095], 7);
    assert.equal(perform(t, abi.MMUEXT_CLEAR_PAGE, t.l1), -e.EINVAL);
    assert.equal(perform(t, abi.MMUEXT_CLEAR_PAGE, 0x12345), -e.EINVAL);
    assert.equal(perform(t, abi.MMUEXT_CLEAR_PAGE, t.pages[6]), 0);
    assert.equal(t.mm.bytes(t.pages[6])[4095], 0);
    assert.deepEqual(t.mm.check(), []);
  });
}

test('mmuext_op, PV64: the root of user mode', () => {
  const t = new PvTestMachine(64);
  const user = newRoot(t);
  assert.equal(perform(t, abi.MMUEXT_NEW_USER_BASEPTR, t.l2), -e.EINVAL);
  assert.equal(perform(t, abi.MMUEXT_NEW_USER_BASEPTR, user), 0);
  assert.equal(t.vcpu.userRoot, user);
  assert.equal(t.peek(user, 256), 0n, 'it does not show the machine-to-physical table');
  assert.equal(perform(t, abi.MMUEXT_NEW_BASEPTR, user), 0);
  assert.notEqual(t.peek(user, 256), 0n, 'as the root of the kernel it does');
  t.domain.vmAssist = 1n << 32n;
  const strict = newRoot(t);
  assert.equal(perform(t, abi.MMUEXT_PIN_L4_TABLE, strict), 0);
  assert.notEqual(t.peek(strict, 256), 0n, 'with the strict assist any root does');
  assert.equal(perform(t, abi.MMUEXT_NEW_USER_BASEPTR, strict), 0);
  assert.equal(t.peek(strict, 256), 0n, 'until it is used for user mode');
  assert.equal(perform(t, abi.MMUEXT_NEW_USER_BASEPTR, 0), 0);
  assert.equal(t.vcpu.userRoot, undefined);
  assert.deepEqual(t.mm.check(), []);
});

test('mmuext_op, PV32: a root above 4 GiB needs the assist, once the guest runs', () => {
  const t = new PvTestMachine(32);
  assert.equal(t.mm.validator.highRoots(), false);
  t.domain.vmAssist = 1n << 3n;
  assert.equal(t.mm.validator.highRoots(), true);
});
