import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VMASST_TYPE_architectural_iopl } from '../../abi/xen/misc.ts';
import * as S from '../../cpu/state.ts';
import { CODE, PvBench, STACK, USER_CODE, USER_STACK } from '../pv/testing.ts';

const GP = 13;
const IN_SYSCALL = 0x100n;

/** rax, r11, rcx, flags, rip, cs, rflags, rsp, ss. */
const frame64 = (changes: Partial<Record<number, bigint>> = {}): bigint[] =>
  [0xaaaan, 0xbbbbn, 0xccccn, 0n, BigInt(CODE + 0x100), 0xe030n, 0x202n, STACK - 0x40n, 0xe02bn].map(
    (word, n) => changes[n] ?? word,
  );

test('iret, 64-bit: every register of the frame; cs without RPL 3 stays in the kernel', () => {
  const bench = new PvBench(64).start();
  bench.iret(frame64());
  assert.equal(bench.cpu.rip, BigInt(CODE + 0x100));
  assert.deepEqual(
    [S.RAX, 11, S.RCX].map((n) => bench.reg(n)),
    [0xaaaan, 0xbbbbn, 0xccccn],
  );
  assert.equal(bench.rsp, STACK - 0x40n);
  assert.equal(bench.vcpu.inKernel, true);
  assert.equal(bench.selector(S.CS), 0xe033);
});

test('iret, 64-bit: in_syscall leaves RIP in rcx and the flags in r11', () => {
  const bench = new PvBench(64).start();
  bench.iret(frame64({ 3: IN_SYSCALL, 6: 0x203n }));
  assert.equal(bench.reg(S.RCX), BigInt(CODE + 0x100));
  assert.equal(bench.reg(11), 0x203n);
});

test('iret, 64-bit: the event mask is the opposite of IF', () => {
  const bench = new PvBench(64).start();
  bench.iret(frame64());
  assert.equal(bench.masked, false);
  const other = new PvBench(64).start();
  other.masked = false;
  other.iret(frame64({ 6: 2n }));
  assert.equal(other.masked, true);
  assert.notEqual(other.cpu.eflags & S.IF, 0, 'the real flag stays set');
});

test('iret, 64-bit: RPL 3 goes to user mode; without a user page table the domain crashes', () => {
  const bench = new PvBench(64).start();
  bench.iret(frame64({ 4: BigInt(USER_CODE), 5: 0xe033n, 7: USER_STACK }));
  assert.equal(bench.vcpu.inKernel, false);
  assert.equal(bench.cpu.get64(S.CR3), BigInt(bench.userRoot) << 12n);
  const without = new PvBench(64).start();
  without.vcpu.userRoot = undefined;
  without.iret(frame64({ 5: 0xe033n }));
  assert.match(without.crash ?? '', /without a page table/);
});

test('iret, 64-bit: IOPL counts with the assist only, VM is dropped', () => {
  for (const assist of [false, true]) {
    const bench = new PvBench(64).start();
    if (assist) bench.pv.domain.vmAssist = 1n << BigInt(VMASST_TYPE_architectural_iopl);
    bench.iret(frame64({ 6: 0x2_3202n }));
    assert.equal(bench.vcpu.iopl, assist ? 0x3000 : 0);
    assert.equal(bench.cpu.eflags & (S.IOPL | S.VM), 0);
  }
});

test('iret, 64-bit: an address that is not canonical is #GP(0) of the guest, reported there', () => {
  const bench = new PvBench(64).start();
  const handler = bench.handle(GP);
  bench.iret(frame64({ 4: 0x8000_0000_0000n }));
  assert.equal(bench.cpu.rip, handler);
  assert.deepEqual(bench.words(bench.rsp + 16n, 2), [0n, 0x8000_0000_0000n]);
});

test('iret, 64-bit: a selector that cannot be returned to is #GP with it', () => {
  const bench = new PvBench(64).start();
  bench.handle(GP);
  bench.iret(frame64({ 5: 0x80n }));
  assert.equal(bench.words(bench.rsp + 16n, 1)[0], 0x80n);
});

test('iret: a frame that cannot be read crashes the domain', () => {
  for (const width of [64, 32] as const) {
    const bench = new PvBench(width).start();
    bench.set(S.RSP, 0x11_000n);
    bench.hypercallInstruction(23);
    assert.match(bench.crash ?? '', /iret frame at 0x11000 cannot be read/);
  }
});

test('iret, 32-bit: to ring 1 above the frame, to ring 3 with esp and ss, to ring 0 never', () => {
  const bench = new PvBench(32).start();
  const at = STACK - 0x200n;
  bench.iret([0x77n, BigInt(CODE + 0x20), 0xe019n, 0x2n]);
  assert.deepEqual([bench.reg(S.RAX), bench.cpu.rip, bench.rsp], [0x77n, BigInt(CODE + 0x20), at + 16n]);
  assert.equal(bench.masked, true);
  const user = new PvBench(32).start();
  user.iret([1n, BigInt(USER_CODE), 0xe02bn, 0x202n, USER_STACK, 0xe033n]);
  assert.deepEqual([user.cpu.cpl, user.rsp, user.selector(S.SS), user.masked], [3, USER_STACK, 0xe033, false]);
  assert.equal(user.selector(S.DS), 0, 'the kernel segment is not left to the user');
  const bad = new PvBench(32).start();
  bad.iret([1n, 0n, 0xe018n, 2n]);
  assert.match(bad.crash ?? '', /ring 0/);
});

test('iret, 32-bit: virtual-8086 mode is #GP at its first instruction, with the frame on the kernel stack', () => {
  const bench = new PvBench(32).start();
  const handler = bench.handle(GP, 4);
  bench.iret([0n, 0x10n, 0x2222n, 0x2_0202n, 0x3333n, 0x4444n, 1n, 2n, 3n, 4n]);
  assert.equal(bench.cpu.rip, handler);
  assert.equal(bench.rsp, STACK - 40n);
  assert.deepEqual(bench.words(bench.rsp, 5), [0n, 0x10n, 0x2222n, 0x2_0202n, 0x3333n]);
  assert.equal(bench.masked, true);
});

test('iret: an NMI that came while a handler ran is delivered when it ends', () => {
  const bench = new PvBench(64).code(0x90, 0x90).start();
  bench.vcpu.traps.set(2, 4, 0xe033, 0x6800n);
  bench.write(0x6800, [0x90, 0x90]);
  bench.vcpu.vcpu.sendNmi();
  bench.run(1);
  assert.equal(bench.cpu.rip, 0x6801n);
  bench.vcpu.vcpu.sendNmi();
  bench.run(1);
  assert.equal(bench.cpu.rip, 0x6802n);
  bench.iret(frame64({ 4: BigInt(CODE) }));
  bench.run(1);
  assert.equal(bench.cpu.rip, 0x6801n);
  assert.equal(bench.words(bench.rsp + 16n, 1)[0], BigInt(CODE));
});
