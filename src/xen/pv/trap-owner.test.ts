import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../../cpu/state.ts';
import { CODE, HANDLER, PvBench, STACK, USER_CODE, USER_STACK } from './testing.ts';

const GP = 13;

/** `int vector` of the kernel or the user: the handler that was entered, and the address and code it was told. */
function softwareInterrupt(width: 32 | 64, user: boolean, vector: number, dpl: number | undefined): unknown {
  const bench = new PvBench(width).code(0xcd, vector).start();
  bench.write(USER_CODE, [0xcd, vector]);
  bench.handle(GP);
  if (dpl !== undefined) bench.handle(vector, dpl);
  if (user) bench.enterUser();
  bench.run(1);
  const entered = Number(bench.cpu.rip - HANDLER) / 16;
  const at = bench.rsp + (width === 64 ? 16n : 0n);
  const begin = BigInt(user ? USER_CODE : CODE);
  const words = bench.words(at, 2);
  if (entered === GP) return words[1] === begin ? `#GP(${words[0]})` : 'wrong address';
  return words[0] === begin + 2n ? 'entered' : 'wrong address';
}

for (const width of [64, 32] as const) {
  test(`INT n, ${width}-bit: the handler's DPL decides: 1 is enough for the kernel, 3 for the user`, () => {
    const seen = [0, 1, 2, 3].map((dpl) => [
      softwareInterrupt(width, false, 0x21, dpl),
      softwareInterrupt(width, true, 0x21, dpl),
    ]);
    const refused = `#GP(${0x21 * 8 + 2})`;
    assert.deepEqual(seen, [
      [refused, refused],
      ['entered', refused],
      ['entered', refused],
      ['entered', 'entered'],
    ]);
  });

  test(`INT 0x80, ${width}-bit: always enters its handler; without one #GP`, () => {
    assert.equal(softwareInterrupt(width, true, 0x80, 0), 'entered');
    assert.equal(softwareInterrupt(width, true, 0x80, undefined), `#GP(${0x80 * 8 + 2})`);
  });

  test(`INT 3 and INT3, ${width}-bit: enter whatever the DPL`, () => {
    assert.equal(softwareInterrupt(width, true, 3, 0), 'entered');
    const bench = new PvBench(width).code(0xcc).start();
    const handler = bench.handle(3);
    bench.run(1);
    assert.equal(bench.cpu.rip, handler);
  });

  test(`SYSENTER, ${width}-bit: the callback learns nothing about where it came from; without one #GP(0)`, () => {
    const bench = new PvBench(width).start();
    bench.write(USER_CODE, [0x0f, 0x34]);
    bench.handle(GP);
    bench.vcpu.callbacks.sysenter = { cs: bench.vcpu.kernelCs, address: 0x6900n, masksEvents: true };
    bench.enterUser();
    bench.masked = false;
    bench.run(1);
    assert.equal(bench.cpu.rip, 0x6900n);
    assert.equal(bench.masked, true);
    const at = bench.rsp + (width === 64 ? 16n : 0n);
    assert.deepEqual(bench.words(at, 2), [0n, 3n]);
    const without = new PvBench(width).start();
    without.write(USER_CODE, [0x0f, 0x34]);
    const handler = without.handle(GP);
    without.enterUser();
    without.run(1);
    assert.equal(without.cpu.rip, handler);
  });
}

test('SYSCALL of a 64-bit user: the callback, DF clear; without one #UD at the instruction', () => {
  const bench = new PvBench(64).start();
  bench.write(USER_CODE, [0x0f, 0x05]);
  bench.vcpu.callbacks.syscall = { cs: 0, address: 0x6a00n, masksEvents: true };
  bench.enterUser();
  bench.cpu.eflags |= S.DF;
  bench.run(1);
  assert.equal(bench.cpu.rip, 0x6a00n);
  assert.equal(bench.cpu.eflags & S.DF, 0);
  const next = BigInt(USER_CODE + 2);
  assert.deepEqual(bench.words(STACK - 56n, 7), [
    next,
    BigInt(0x202 | S.DF),
    next,
    0xe033n,
    BigInt(0x202 | S.DF),
    USER_STACK,
    0xe02bn,
  ]);
  const without = new PvBench(64).start();
  without.write(USER_CODE, [0x0f, 0x05]);
  const handler = without.handle(6);
  without.enterUser();
  without.run(1);
  assert.equal(without.cpu.rip, handler);
  assert.equal(without.words(without.rsp + 16n, 1)[0], BigInt(USER_CODE));
});

test('INT 0x82, 32-bit: a hypercall of ring 1, #GP for ring 3', () => {
  const bench = new PvBench(32).start();
  bench.hypercallInstruction(17);
  assert.equal(bench.reg(S.RAX) >> 16n, 4n);
  assert.equal(softwareInterrupt(32, true, 0x82, 3), `#GP(${0x82 * 8 + 2})`);
});

test('debug traps that MOV SS holds back are lost in the hypervisor', () => {
  // mov %eax, %ss with a data breakpoint on what it reads, then a hypercall.
  const bench = new PvBench(64).code(0x8e, 0x13, 0x0f, 0x05, 0x90).start();
  const handler = bench.handle(1);
  bench.write(0x5000, [0x2b, 0xe0]);
  bench.set(S.RBX, 0x5000);
  bench.set(S.RAX, 17);
  bench.cpu.set64(S.DR0, 0x5000n);
  bench.cpu.set64(S.DR7, 0x4_0000n | 0xf_0402n);
  bench.cpu.updateMode();
  bench.run(3);
  assert.notEqual(bench.cpu.rip, handler);
  assert.equal(bench.cpu.rip, BigInt(CODE + 5));
});

test('a non-maskable interrupt without a handler is lost', () => {
  const bench = new PvBench(64).code(0x90).start();
  bench.vcpu.vcpu.sendNmi();
  bench.run(1);
  assert.equal(bench.cpu.rip, BigInt(CODE + 1));
  assert.equal(bench.vcpu.vcpu.nmiPending, false);
});

test('an instruction breakpoint: a fault, with RF clear in its frame; other faults of the instruction have RF set', () => {
  const bench = new PvBench(64).code(0x0f, 0x0b).start();
  bench.write(bench.handle(1), [0x90]);
  const handler = bench.handle(6);
  assert.equal(bench.call(8, 0, CODE), 0);
  assert.equal(bench.call(8, 7, 1), 0);
  bench.run(1);
  assert.deepEqual(bench.words(bench.rsp + 16n, 3), [BigInt(CODE), 0x1_0000_e030n, 2n]);
  assert.equal(bench.call(9, 6), 0xffff_0ff1n);
  bench.iret([0n, 0n, 0n, 0n, BigInt(CODE), 0xe030n, 0x1_0202n, STACK, 0xe02bn]);
  bench.run(1);
  assert.equal(bench.cpu.rip, handler);
  assert.equal(bench.words(bench.rsp + 32n, 1)[0], 0x1_0202n);
});
