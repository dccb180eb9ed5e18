import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EACCES, EBUSY, EINVAL } from '../../../abi/xen/errno.ts';
import { A, checkBits, type Level, P, RW, US } from './entries.ts';
import * as f from './frame-table.ts';
import { PvTestMachine } from './testing.ts';

test('checkBits: what each level allows', () => {
  const allowed = (level: Level, width: 32 | 64): string =>
    Array.from({ length: 12 }, (_, bit) => (checkBits(level, width, 1 << bit, 0) === 0 ? '1' : '0'))
      .reverse()
      .join('');
  for (const width of [32, 64] as const) {
    assert.equal(allowed(1, width), '111101100111', 'global, but neither caching nor PAT');
    assert.equal(allowed(2, width), '111001100111', 'no large pages');
  }
  assert.equal(allowed(3, 64), '111001100111');
  assert.equal(allowed(4, 64), '111001100111');
  assert.equal(allowed(3, 32), '111001100111');
  assert.equal(checkBits(1, 64, P, 0xfff0_0000), 0, 'bits 52 to 63 are free');
  assert.equal(checkBits(3, 32, P, 0x8000_0000), -EINVAL, 'but not in the third level of PAE');
});

/** Sets an entry as mmu_update does. */
const set = (t: PvTestMachine, level: Level, table: number, index: number, value: bigint): number =>
  t.mm.modifier.modify(
    level,
    table - t.mm.frames.base,
    index,
    Number(value & 0xffff_ffffn),
    Number(value >> 32n),
    false,
  );

test('a fourth-level table maps itself and other roots read-only, not writable, and in one direction only', () => {
  const t = new PvTestMachine(64);
  const other = t.newPage();
  assert.equal(set(t, 4, t.root, 5, t.entry(t.root, P | RW)), -EINVAL);
  assert.equal(set(t, 4, t.root, 5, t.entry(t.root, P)), 0);
  assert.equal(t.mm.frames.typeCount[t.root - t.mm.frames.base], 2, 'a table does not count on itself');
  assert.equal(set(t, 4, t.root, 6, t.entry(other, P)), 0, 'no table yet: it becomes one of the third level');
  assert.equal(t.mm.typeOf(other), f.TYPE_L3);
  const second = t.newPage();
  assert.equal(t.mm.pin(4, second), 0);
  assert.equal(set(t, 4, t.root, 7, t.entry(second, P | RW)), -EINVAL);
  assert.equal(set(t, 4, t.root, 7, t.entry(second, P)), 0);
  assert.equal(set(t, 4, second, 7, t.entry(t.root, P)), -EINVAL, 'tables used so have no such entries themselves');
  assert.equal(set(t, 4, t.root, 7, 0n), 0);
  assert.equal(set(t, 4, second, 7, t.entry(t.root, P)), 0);
  assert.deepEqual(t.mm.check(), []);
});

test('linear tables exist on lower levels too; read-only entries cannot become writable', () => {
  const t = new PvTestMachine(64);
  assert.equal(set(t, 3, t.upper, 9, t.entry(t.upper, P | US)), 0);
  assert.equal(set(t, 3, t.upper, 9, t.entry(t.upper, P | RW | US)), -EINVAL);
  assert.equal(set(t, 3, t.upper, 9, t.entry(t.upper, P | A | US)), 0);
  assert.deepEqual(t.mm.check(), []);
});

test('PAE: the second-level table of the last gigabyte belongs to one root, and is nothing else', () => {
  const t = new PvTestMachine(32);
  const root = t.newPage();
  t.poke(root, 3, t.entry(t.upper, P));
  assert.equal(t.mm.pin(3, root), -EINVAL, 'it is used in another root');
  assert.equal(t.mm.pin(2, t.upper), -EINVAL);
  t.poke(root, 3, t.entry(t.l2, P));
  assert.equal(t.mm.pin(3, root), -EINVAL, 'it is used as an ordinary one');
  t.poke(root, 3, 0n);
  assert.equal(t.mm.pin(3, root), -EINVAL, 'there is none');
  t.poke(root, 3, t.entry(t.newPage(), P | RW));
  t.poke(root, 4, 0x1234_5678n);
  assert.equal(t.mm.pin(3, root), 0);
  assert.equal(t.peek(root, 4), 0n, 'the rest of the page is visible to the processor');
  assert.equal(t.peek(root, 3) & 7n, 7n, 'entries get the rights that the format implies');
  assert.equal(t.mm.unpinTable(root), 0);
  assert.equal(t.peek(root, 3) & 7n, 1n, 'and lose them again');
  assert.deepEqual(t.mm.check(), []);
});

for (const width of [64, 32] as const) {
  test(`PV${width}: what the hypervisor keeps mapped cannot become a table, and tables cannot be given to it`, () => {
    const t = new PvTestMachine(width);
    const { info, vcpus } = t.domain;
    assert.equal(info.registerVcpuInfo(vcpus[0], true, BigInt(t.l1), 0), -EACCES);
    assert.equal(info.registerVcpuInfo(vcpus[0], true, 0x12345n, 0), -EINVAL);
    const page = t.newPage();
    assert.equal(info.registerVcpuInfo(vcpus[0], true, BigInt(page), 0), 0);
    assert.equal(t.mm.pin(1, page), -EINVAL);
    assert.equal(set(t, 1, t.l1, 100, t.entry(page, P | RW)), 0, 'the guest may still write it');
    assert.deepEqual(t.mm.check(), []);
  });

  test(`PV${width}: a write to a last-level table that is mapped read-only`, () => {
    const t = new PvTestMachine(width);
    const linear = BigInt(t.pages.indexOf(t.l1)) << 12n;
    const page = t.newPage();
    const at = (index: number): bigint => linear + BigInt(index * 8);
    assert.equal(t.mm.pageFault(t.vcpu, linear, 7), 'table-write');
    assert.equal(t.mm.pageFault(t.vcpu, linear, 5), 'guest', 'a read');
    assert.equal(t.mm.pageFault(t.vcpu, 0x5000n, 7), 'guest', 'an ordinary page');
    assert.equal(t.mm.pageFault(t.vcpu, BigInt(t.pages.indexOf(t.l2)) << 12n, 7), 'guest', 'of a higher level');
    const write = (linear: bigint, size: number, value: bigint, expected?: bigint) =>
      t.mm.writeTable(t.vcpu, linear, size, value, expected);
    assert.equal(write(at(100), 8, t.entry(page, P | RW | US)), 'done');
    assert.equal(t.mm.typeOf(page), f.TYPE_WRITABLE);
    assert.equal(write(at(101), 8, t.entry(t.l1, P | RW | US)), 'refused');
    assert.equal(t.peek(t.l1, 101), 0n);
    assert.equal(write(at(100) + 2n, 4, 0n), 'refused', 'misaligned');
    assert.equal(write(at(100), 8, 0n, 5n), 'failed');
    assert.equal(write(at(100), 8, 0n, t.peek(t.l1, 100)), 'done');
    assert.equal(t.peek(t.l1, 100), 0n);
    assert.equal(write(at(100), 4, t.entry(page, P | US) & 0xffff_ffffn), 'done', 'half an entry');
    assert.equal(write(at(100), 1, BigInt(P | RW | US)), 'done', 'a byte of it');
    assert.equal(t.mm.frames.typeCount[page - t.mm.frames.base], 1);
    assert.deepEqual(t.mm.check(), []);
  });
}

test('PV32: the upper half of an entry written first makes it absent until the lower one follows', () => {
  const t = new PvTestMachine(32);
  const linear = (BigInt(t.pages.indexOf(t.l1)) << 12n) + 100n * 8n;
  const page = t.newPage();
  assert.equal(t.mm.writeTable(t.vcpu, linear, 4, t.entry(page, P | US) & 0xffff_ffffn), 'done');
  assert.equal(t.mm.writeTable(t.vcpu, linear + 4n, 4, 7n), 'done', 'frame beyond all memory');
  assert.equal(t.peek(t.l1, 100) & 1n, 0n);
  assert.equal(set(t, 1, t.l1, 101, t.entry(0x10_0000, P)), -EBUSY);
  assert.deepEqual(t.mm.check(), []);
});
