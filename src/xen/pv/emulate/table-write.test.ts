import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VMASST_CMD_enable, VMASST_TYPE_writable_pagetables } from '../../../abi/xen/misc.ts';
import { __HYPERVISOR_vm_assist } from '../../../abi/xen/xen.ts';
import * as S from '../../../cpu/state.ts';
import { CODE, PvBench, TABLE } from '../testing.ts';

/** Entry of the last-level table that maps page 2, which nothing in these tests uses, and its address. */
const PAGE = 2;
const SLOT = TABLE + BigInt(PAGE * 8);
const ACCESSED = 0x20n,
  RW = 2n;

/** A kernel about to execute an instruction, which asked for writable page tables. */
function writable(width: 32 | 64, bytes: readonly number[]): PvBench {
  const bench = new PvBench(width).code(...bytes).start();
  assert.equal(bench.call(__HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables), 0);
  return bench;
}

/** Executes one instruction of a kernel whose rbx points to the entry; the entry before and after. */
function execute(
  bytes: readonly number[],
  prepare: (bench: PvBench, old: bigint) => void,
  width: 32 | 64 = 64,
): { readonly bench: PvBench; readonly old: bigint; readonly now: bigint } {
  const bench = writable(width, bytes);
  bench.handle(14);
  const read = (): bigint => {
    const bytes = bench.pv.mm.bytes(bench.mfns[63]);
    return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(PAGE * 8, true);
  };
  const old = read();
  bench.set(S.RBX, SLOT);
  prepare(bench, old);
  bench.run(1);
  return { bench, old, now: read() };
}

/** Hardware may mark the page meanwhile. */
const entry = (value: bigint): bigint => value & ~(ACCESSED | 0x40n);

const done = ({ bench }: { bench: PvBench }, length: number): void => {
  assert.equal(bench.cpu.rip, BigInt(CODE + length), 'the instruction was performed');
  assert.deepEqual(bench.pv.mm.check(), []);
};

test('table write: MOV of a register clears an entry', () => {
  const run = execute([0x48, 0x89, 0x03], (b) => b.set(S.RAX, 0));
  done(run, 3);
  assert.equal(run.now, 0n);
});

test('table write: MOV of an immediate, 32 and 8 bits wide', () => {
  const run = execute([0xc7, 0x03, 0, 0, 0, 0], () => {});
  done(run, 6);
  assert.equal(BigInt.asUintN(32, run.now), 0n);
  const byte = execute([0xc6, 0x03, 0], () => {});
  done(byte, 3);
  assert.equal(byte.now & 0xffn, 0n);
});

test('table write: XCHG gives back what was there', () => {
  const run = execute([0x48, 0x87, 0x03], (b) => b.set(S.RAX, 0));
  done(run, 3);
  assert.equal(run.now, 0n);
  assert.equal(entry(run.bench.reg(S.RAX)), entry(run.old));
});

test('table write: LOCK CMPXCHG exchanges an expected entry and tells of another', () => {
  const run = execute([0xf0, 0x48, 0x0f, 0xb1, 0x0b], (b, old) => {
    b.set(S.RAX, old);
    b.set(S.RCX, 0);
  });
  done(run, 5);
  assert.equal(run.now, 0n);
  assert.notEqual(run.bench.cpu.eflags & S.ZF, 0);
  const other = execute([0xf0, 0x48, 0x0f, 0xb1, 0x0b], (b, old) => {
    b.set(S.RAX, old ^ 0x1000n);
    b.set(S.RCX, 0);
  });
  done(other, 5);
  assert.equal(entry(other.now), entry(other.old));
  assert.equal(entry(other.bench.reg(S.RAX)), entry(other.old));
  assert.equal(other.bench.cpu.eflags & S.ZF, 0);
});

test('table write: CMPXCHG8B of a 32-bit guest', () => {
  const run = execute(
    [0xf0, 0x0f, 0xc7, 0x0b],
    (b, old) => {
      b.set(S.RAX, old & 0xffff_ffffn);
      b.set(S.RDX, old >> 32n);
      b.set(S.RCX, 0);
      // ebx is both the address and the new low half, so the entry becomes one that is not present.
      b.set(S.RBX, SLOT);
    },
    32,
  );
  done(run, 4);
  assert.equal(run.now, SLOT);
});

test('table write: AND and BTR take rights away, OR gives them back; flags follow', () => {
  const and = execute([0x48, 0x83, 0x23, 0xfd], () => {});
  done(and, 4);
  assert.equal(entry(and.now), entry(and.old) & ~RW);
  const btr = execute([0xf0, 0x48, 0x0f, 0xba, 0x33, 0x01], () => {});
  done(btr, 6);
  assert.equal(entry(btr.now), entry(btr.old) & ~RW);
  assert.notEqual(btr.bench.cpu.eflags & S.CF, 0);
  const or = execute([0x80, 0x0b, 0x40], () => {});
  done(or, 3);
  assert.equal(or.now & 0x40n, 0x40n);
});

test('table write: BTS with a register reaches other words of the table', () => {
  const run = execute([0x48, 0x0f, 0xab, 0x03], (b) => {
    b.set(S.RBX, SLOT - 8n);
    b.set(S.RAX, 64 + 9);
  });
  done(run, 4);
  assert.equal(run.now & 0x200n, 0x200n);
});

test('table write: REP STOSQ, one entry at a time', () => {
  const bench = writable(64, [0xf3, 0x48, 0xab]);
  bench.set(S.RDI, SLOT);
  bench.set(S.RCX, 1);
  bench.set(S.RAX, 0);
  bench.run(1);
  assert.deepEqual([bench.cpu.rip, bench.reg(S.RDI), bench.reg(S.RCX)], [BigInt(CODE + 3), SLOT + 8n, 0n]);
});

test('table write: an entry the guest may not have is the page fault it was', () => {
  const bench = writable(64, [0x48, 0x89, 0x03]);
  const handler = bench.handle(14);
  bench.set(S.RBX, SLOT);
  // A writable mapping of the table itself.
  bench.set(S.RAX, (BigInt(bench.mfns[63]) << 12n) | 7n);
  bench.run(1);
  assert.equal(bench.cpu.rip, handler);
  assert.deepEqual([bench.vcpu.cr2, bench.words(bench.rsp + 16n, 1)[0]], [SLOT, 3n]);
});

test("table write: a misaligned write, and one of the user's, are page faults", () => {
  const bench = writable(64, [0x48, 0x89, 0x03]);
  const handler = bench.handle(14);
  bench.set(S.RBX, SLOT + 4n);
  bench.set(S.RAX, 0);
  bench.run(1);
  assert.equal(bench.cpu.rip, handler);
  const user = writable(64, []);
  const faulted = user.handle(14);
  user.write(0x3000, [0x48, 0x89, 0x03]);
  user.enterUser();
  user.set(S.RBX, SLOT);
  user.set(S.RAX, 0);
  user.run(1);
  assert.equal(user.cpu.rip, faulted);
});

test('table write: a guest that did not ask for writable page tables gets the page fault', () => {
  const bench = new PvBench(64).code(0x48, 0x89, 0x03).start();
  const handler = bench.handle(14);
  bench.set(S.RBX, SLOT);
  bench.set(S.RAX, 0);
  bench.run(1);
  assert.equal(bench.cpu.rip, handler);
});
