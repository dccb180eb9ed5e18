import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../../cpu/state.ts';
import { CODE, PvBench, STACK, USER_CODE, USER_STACK } from './testing.ts';

const UD = 6,
  GP = 13,
  PF = 14;
const UD2 = [0x0f, 0x0b];
const flags = (bench: PvBench): number => bench.cpu.eflags;

test('bounce, 64-bit: rcx, r11, rip, cs with RPL 0 and the mask, rflags, rsp, ss on a 16-byte boundary', () => {
  const bench = new PvBench(64).code(...UD2).start();
  const handler = bench.handle(UD);
  bench.set(S.RCX, 0x1111);
  bench.set(11, 0x2222);
  bench.set(S.RSP, STACK - 0x108n);
  bench.cpu.eflags = 0x202 | S.CF | S.NT | S.DF;
  bench.run(1);
  assert.equal(bench.cpu.rip, handler);
  const top = (STACK - 0x108n) & ~15n;
  assert.equal(bench.rsp, top - 56n);
  assert.deepEqual(bench.words(bench.rsp, 7), [
    0x1111n,
    0x2222n,
    BigInt(CODE),
    0x1_0000_e030n,
    // The mask was set, so IF is clear.
    BigInt(2 | S.CF | S.NT | S.DF | S.RF),
    STACK - 0x108n,
    0xe02bn,
  ]);
  assert.equal(flags(bench) & (S.NT | S.IF | S.DF), S.IF | S.DF);
});

test('bounce, 64-bit: an error code lies between r11 and rip', () => {
  const bench = new PvBench(64).code(0x8e, 0xd8).start();
  bench.handle(GP);
  bench.set(S.RAX, 0xf0);
  bench.run(1);
  assert.deepEqual(bench.words(bench.rsp + 16n, 2), [0xf0n, BigInt(CODE)]);
});

test('bounce, 64-bit: from user mode the frame is on the kernel stack, cs keeps RPL 3, and the kernel root is loaded', () => {
  const bench = new PvBench(64).start();
  bench.write(USER_CODE, UD2);
  bench.handle(UD);
  bench.cpu.set64(S.seg(S.GS), 0x1000n);
  bench.enterUser();
  assert.equal(bench.vcpu.inKernel, false);
  assert.equal(bench.cpu.get64(S.CR3), BigInt(bench.userRoot) << 12n);
  assert.equal(bench.cpu.get64(S.seg(S.GS)), 0n);
  bench.masked = true;
  bench.run(1);
  assert.equal(bench.vcpu.inKernel, true);
  assert.equal(bench.cpu.get64(S.CR3), BigInt(bench.root) << 12n);
  assert.equal(bench.cpu.get64(S.seg(S.GS)), 0x1000n);
  assert.equal(bench.rsp, STACK - 56n);
  assert.deepEqual(bench.words(bench.rsp + 16n, 5), [
    BigInt(USER_CODE),
    0x1_0000_e033n,
    0x1_0002n,
    USER_STACK,
    0xe02bn,
  ]);
});

test('bounce, 32-bit: from ring 1 eip, cs with the mask in bit 16 and eflags on the same stack', () => {
  const bench = new PvBench(32).code(...UD2).start();
  const handler = bench.handle(UD);
  bench.masked = false;
  bench.set(S.RSP, STACK - 4n);
  bench.run(1);
  assert.equal(bench.cpu.rip, handler);
  assert.equal(bench.rsp, STACK - 16n);
  assert.deepEqual(bench.words(bench.rsp, 3), [BigInt(CODE), 0xe019n, 0x1_0202n]);
});

test('bounce, 32-bit: from ring 3 also esp and ss, on the kernel stack, and ring 1 goes on', () => {
  const bench = new PvBench(32).start();
  bench.write(USER_CODE, UD2);
  bench.handle(UD);
  bench.enterUser();
  assert.equal(bench.cpu.cpl, 3);
  bench.run(1);
  assert.equal(bench.cpu.cpl, 1);
  assert.equal(bench.rsp, STACK - 20n);
  assert.deepEqual(bench.words(bench.rsp, 5), [BigInt(USER_CODE), 0xe02bn, 0x1_0202n, USER_STACK, 0xe033n]);
  assert.equal(bench.selector(S.SS), 0xe021);
});

for (const width of [64, 32] as const) {
  test(`bounce, ${width}-bit: a handler that disables events sets the mask, another does not`, () => {
    for (const [trapFlags, masked] of [
      [4, true],
      [0, false],
    ] as const) {
      const bench = new PvBench(width).code(...UD2).start();
      bench.handle(UD, trapFlags);
      bench.masked = false;
      bench.run(1);
      assert.equal(bench.masked, masked);
    }
  });

  test(`bounce, ${width}-bit: no handler crashes the domain and says so`, () => {
    const bench = new PvBench(width).code(...UD2).start();
    bench.run(1);
    assert.match(bench.crash ?? '', /cannot enter its kernel from 0x1000: it has no handler/);
  });

  test(`bounce, ${width}-bit: a stack that cannot be written crashes the domain`, () => {
    const bench = new PvBench(width).code(...UD2).start();
    bench.handle(UD);
    bench.set(S.RSP, 0x11_800n);
    bench.run(1);
    assert.match(bench.crash ?? '', /its stack at 0x117[0-9a-f]+ cannot be written/);
  });

  test(`page fault, ${width}-bit: the address is in vcpu_info, the error code tells the guest's own mode`, () => {
    const bench = new PvBench(width).code(0x8a, 0x03).start();
    bench.handle(PF);
    bench.set(S.RBX, 0x11_234n);
    bench.run(1);
    const info = bench.pv.domain.info.vcpuInfo(bench.vcpu.vcpu.id, 'toolstack', 'read');
    assert.equal(width === 64 ? info.getBigUint64(16, true) : BigInt(info.getUint32(8, true)), 0x11_234n);
    assert.equal(bench.words(bench.rsp, 3)[width === 64 ? 2 : 0], 0n);
    assert.equal(bench.vcpu.cr2, 0x11_234n);
  });

  test(`page fault, ${width}-bit: a write of the user's to a read-only page has error code 7`, () => {
    const bench = new PvBench(width).start();
    // Through SS: the kernel's DS is null in ring 3.
    bench.write(USER_CODE, [0x36, 0x88, 0x03]);
    bench.handle(PF);
    bench.enterUser();
    bench.set(S.RBX, 0x10_000n);
    bench.run(1);
    assert.equal(bench.words(bench.rsp, 3)[width === 64 ? 2 : 0], 7n);
  });

  test(`event, ${width}-bit: an unmasked upcall enters the callback with events masked; a masked one waits`, () => {
    const bench = new PvBench(width).code(0x90, 0x90).start();
    bench.vcpu.callbacks.event = { cs: bench.vcpu.kernelCs, address: 0x6800n, masksEvents: true };
    bench.pv.domain.upcalls.markEventsPending(bench.vcpu.vcpu);
    bench.run(1);
    assert.equal(bench.cpu.rip, BigInt(CODE + 1));
    bench.masked = false;
    bench.write(0x6800, [0x90]);
    bench.run(1);
    assert.equal(bench.cpu.rip, 0x6801n);
    assert.equal(bench.masked, true);
    assert.equal(bench.words(bench.rsp, 3)[width === 64 ? 2 : 0], BigInt(CODE + 1));
  });
}

test("bounce, 64-bit: a stack in the hypervisor's range crashes the domain", () => {
  const bench = new PvBench(64).code(...UD2).start();
  bench.handle(UD);
  bench.set(S.RSP, 0xffff_8300_0000_0000n);
  bench.run(1);
  assert.match(bench.crash ?? '', /is the hypervisor's/);
});

test('bounce, 64-bit: with the architectural-IOPL assist the virtual IOPL is in the saved flags', () => {
  const bench = new PvBench(64).code(...UD2).start();
  bench.handle(UD);
  bench.vcpu.iopl = 0x3000;
  bench.pv.domain.vmAssist = 1n << 4n;
  bench.run(1);
  assert.equal(bench.words(bench.rsp + 32n, 1)[0], 0x1_3002n);
});
