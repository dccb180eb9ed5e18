import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EFAULT, EINVAL, ENODEV, ENOSYS, EPERM } from '../../abi/xen/errno.ts';
import * as a from '../../abi/xen/misc.ts';
import { trap_info } from '../../abi/xen/vcpu-guest-context.ts';
import * as x from '../../abi/xen/xen.ts';
import * as S from '../../cpu/state.ts';
import { ABSENT, ARGUMENT, CODE, PvBench, STACK } from '../pv/testing.ts';

const NOT_CANONICAL = 0x8000_0000_0000n;
const XEN_64 = 0xffff_8300_0000_0000n;
const widths = [64, 32] as const;

const entry = (vector: number, address: bigint, cs = 0, flags = 0) => ({ vector, flags, cs, address });

for (const width of widths) {
  test(`set_trap_table, ${width}-bit: entries by their vector field until address 0; selectors get the kernel's RPL; NULL clears`, () => {
    const bench = new PvBench(width).start();
    const size = BigInt(trap_info.size(bench.layout));
    bench.put(trap_info, entry(14, 0x1234n, 0x30, 4));
    bench.put(trap_info, entry(3, 0x5678n, 0xe019, 3), ARGUMENT + size);
    bench.put(trap_info, entry(9, 0n), ARGUMENT + 2n * size);
    assert.equal(bench.call(x.__HYPERVISOR_set_trap_table, ARGUMENT), 0);
    const { traps } = bench.vcpu;
    assert.deepEqual([traps.address[14], traps.cs[14], traps.flags[14]], [0x1234n, width === 64 ? 0x33 : 0x31, 4]);
    assert.deepEqual([traps.address[3], traps.dpl(3)], [0x5678n, 3]);
    assert.equal(bench.call(x.__HYPERVISOR_set_trap_table, 0), 0);
    assert.equal(traps.address[14], 0n);
  });

  test(`set_trap_table, ${width}-bit: a list that ends in nothing is EFAULT, entries before stay`, () => {
    const bench = new PvBench(width).start();
    const size = BigInt(trap_info.size(bench.layout));
    bench.put(trap_info, entry(1, 0x99n), ABSENT - size);
    assert.equal(bench.call(x.__HYPERVISOR_set_trap_table, ABSENT - size), -EFAULT);
    assert.equal(bench.vcpu.traps.address[1], 0x99n);
  });

  test(`set_trap_table, ${width}-bit: continues when an event waits`, () => {
    const bench = new PvBench(width).start();
    bench.put(trap_info, entry(1, 0x99n));
    bench.masked = false;
    bench.pv.domain.upcalls.markEventsPending(bench.vcpu.vcpu);
    const result = bench.call(x.__HYPERVISOR_set_trap_table, ARGUMENT);
    const next = ARGUMENT + BigInt(trap_info.size(bench.layout));
    assert.deepEqual(result, { kind: 'again', args: [next] });
  });

  test(`physdev_op, ${width}-bit: set_iopl above 3 is EINVAL, set_iobitmap wants at most 65536 ports outside Xen's range`, () => {
    const bench = new PvBench(width).start();
    const set = (iopl: number) =>
      bench.call(x.__HYPERVISOR_physdev_op, a.PHYSDEVOP_set_iopl, bench.put(a.physdev_set_iopl, { iopl }));
    assert.equal(set(4), -EINVAL);
    assert.equal(set(2), 0);
    assert.equal(bench.vcpu.iopl, 0x2000);
    assert.equal(bench.call(x.__HYPERVISOR_physdev_op, a.PHYSDEVOP_set_iopl, ABSENT), -EFAULT);
    const map = (bitmap: bigint, nr_ports: number) =>
      bench.call(
        x.__HYPERVISOR_physdev_op,
        a.PHYSDEVOP_set_iobitmap,
        bench.put(a.physdev_set_iobitmap, { bitmap, nr_ports }),
      );
    assert.equal(map(0x8000n, 65537), -EINVAL);
    assert.equal(map(width === 64 ? XEN_64 : 0xf580_0000n, 8), -EINVAL);
    assert.equal(map(0x8000n, 65536), 0);
  });

  test(`debug registers, ${width}-bit: addresses in Xen's range EPERM, high bits EINVAL, GD EPERM, DR4 is DR6, others ENODEV`, () => {
    const bench = new PvBench(width).start();
    const set = (n: number, value: bigint) => bench.call(x.__HYPERVISOR_set_debugreg, n, value);
    const get = (n: number) => bench.call(x.__HYPERVISOR_get_debugreg, n);
    assert.equal(set(0, 0x1234n), 0);
    assert.equal(get(0), 0x1234n);
    if (width === 64) {
      assert.equal(set(3, XEN_64), -EPERM);
      assert.equal(set(6, 1n << 32n), -EINVAL);
    }
    assert.equal(set(7, 0x2000n), -EPERM);
    assert.equal(set(4, 0xffff_0ff1n), 0);
    assert.equal(get(6), 0xffff_0ff1n);
    assert.equal(set(7, 0x0002_0001n), -EPERM, 'an I/O breakpoint without CR4.DE');
    assert.equal(set(8, 0n), -ENODEV);
    assert.equal(get(8), -ENODEV);
    bench.pv.setCr4(bench.vcpu, 8n);
    assert.equal(set(4, 0n), -ENODEV);
    assert.equal(set(7, 0x0002_0001n), 0);
    assert.equal(get(7), 0x0002_0401n, 'the guest sees its I/O breakpoint enabled');
    assert.equal(bench.cpu.get32(S.DR7) & 1, 0, 'the processor does not');
  });

  test(`fpu_taskswitch, ${width}-bit: the next FPU instruction is #NM once, which clears TS`, () => {
    const bench = new PvBench(width).code(0xd9, 0xe8).start();
    const handler = bench.handle(7);
    assert.equal(bench.call(x.__HYPERVISOR_fpu_taskswitch, 1), 0);
    bench.run(1);
    assert.equal(bench.cpu.rip, handler);
    assert.equal(bench.cpu.get32(S.CR0) & 8, 0);
    assert.equal(bench.vcpu.taskSwitched, false);
  });
}

test('set_trap_table, 64-bit: an address that is not canonical is EINVAL', () => {
  const bench = new PvBench(64).start();
  bench.put(trap_info, entry(1, NOT_CANONICAL));
  assert.equal(bench.call(x.__HYPERVISOR_set_trap_table, ARGUMENT), -EINVAL);
});

test('callback_op, 64-bit: types, flags, and the order EFAULT, EINVAL, ENOSYS', () => {
  const bench = new PvBench(64).start();
  const register = (type: number, eip: bigint, flags = 0) =>
    bench.call(
      x.__HYPERVISOR_callback_op,
      a.CALLBACKOP_register,
      bench.put(a.callback_register_64, { type, flags, address: { eip } }),
    );
  assert.equal(register(a.CALLBACKTYPE_event, 0x100n), 0);
  assert.equal(register(a.CALLBACKTYPE_failsafe, 0x200n, a.CALLBACKF_mask_events), 0);
  assert.deepEqual(bench.vcpu.callbacks.failsafe, { cs: 0, address: 0x200n, masksEvents: true });
  assert.equal(register(a.CALLBACKTYPE_syscall, 0x300n), 0);
  assert.equal(register(a.CALLBACKTYPE_nmi, 0x400n), 0);
  assert.equal(bench.vcpu.traps.address[2], 0x400n);
  assert.equal(register(3, NOT_CANONICAL), -EINVAL);
  assert.equal(register(3, 0n), -ENOSYS);
  assert.equal(bench.call(x.__HYPERVISOR_callback_op, a.CALLBACKOP_register, ABSENT), -EFAULT);
  const unregister = (type: number) =>
    bench.call(
      x.__HYPERVISOR_callback_op,
      a.CALLBACKOP_unregister,
      bench.put(a.callback_unregister, { type, unused: 0 }),
    );
  assert.equal(unregister(a.CALLBACKTYPE_nmi), 0);
  assert.equal(bench.vcpu.traps.address[2], 0n);
  assert.equal(unregister(a.CALLBACKTYPE_syscall), -EINVAL);
  assert.equal(unregister(3), -ENOSYS);
  assert.equal(bench.call(x.__HYPERVISOR_callback_op, 2, ARGUMENT), -ENOSYS);
});

test('callback_op, 32-bit: selectors get RPL 1, there is no syscall callback, unknown commands are EINVAL', () => {
  const bench = new PvBench(32).start();
  const register = (type: number, cs: number) =>
    bench.call(
      x.__HYPERVISOR_callback_op,
      a.CALLBACKOP_register,
      bench.put(a.callback_register_32, { type, flags: 0, address: { cs, eip: 0x500 } }),
    );
  assert.equal(register(a.CALLBACKTYPE_event, 0x60), 0);
  assert.equal(bench.vcpu.callbacks.event.cs, 0x61);
  assert.equal(register(a.CALLBACKTYPE_syscall, 0x61), -ENOSYS);
  assert.equal(register(a.CALLBACKTYPE_syscall32, 0x61), 0);
  assert.equal(bench.call(x.__HYPERVISOR_callback_op, 2, ARGUMENT), -EINVAL);
});

test('set_callbacks and nmi_op: the older ways', () => {
  const bench = new PvBench(64).start();
  assert.equal(bench.call(x.__HYPERVISOR_set_callbacks, 0x10, 0x20, NOT_CANONICAL), 0);
  const { event, failsafe, syscall } = bench.vcpu.callbacks;
  assert.deepEqual([event.address, failsafe.address, syscall.address], [0x10n, 0x20n, 0n]);
  const narrow = new PvBench(32).start();
  assert.equal(narrow.call(x.__HYPERVISOR_set_callbacks, 0x60, 0x10, 0x68, 0x20), 0);
  assert.deepEqual(narrow.vcpu.callbacks.failsafe, { cs: 0x69, address: 0x20n, masksEvents: false });
  bench.put(a.xennmi_callback, { handler_address: 0x700n, pad: 0n });
  assert.equal(bench.call(x.__HYPERVISOR_nmi_op, a.XENNMI_register_callback, ARGUMENT), 0);
  assert.equal(bench.vcpu.traps.address[2], 0x700n);
  assert.equal(bench.call(x.__HYPERVISOR_nmi_op, a.XENNMI_unregister_callback, 0), 0);
  assert.equal(bench.call(x.__HYPERVISOR_nmi_op, 2, 0), -ENOSYS);
});

test('stack_switch: the selector gets the kernel RPL', () => {
  const bench = new PvBench(32).start();
  assert.equal(bench.call(x.__HYPERVISOR_stack_switch, 0x70, 0x9000), 0);
  assert.deepEqual([bench.vcpu.kernelSs, bench.vcpu.kernelSp], [0x71, 0x9000n]);
});

test('set_segment_base: each base, not canonical EINVAL, a bad user selector becomes null without an error', () => {
  const bench = new PvBench(64).start();
  const set = (which: number, base: bigint) => bench.call(x.__HYPERVISOR_set_segment_base, which, base);
  assert.equal(set(a.SEGBASE_FS, 0x1000n), 0);
  assert.equal(set(a.SEGBASE_GS_USER, 0x2000n), 0);
  assert.equal(set(a.SEGBASE_GS_KERNEL, 0x3000n), 0);
  const bases = [S.seg(S.FS), S.KERNEL_GS_BASE, S.seg(S.GS)].map((at) => bench.cpu.get64(at));
  assert.deepEqual(bases, [0x1000n, 0x2000n, 0x3000n]);
  assert.equal(set(a.SEGBASE_FS, NOT_CANONICAL), -EINVAL);
  assert.equal(set(4, 0n), -EINVAL);
  assert.equal(set(a.SEGBASE_GS_USER_SEL, 0x80n), 0);
  assert.equal(bench.selector(S.GS), 0);
  assert.equal(bench.cpu.get64(S.seg(S.GS)), 0x3000n, 'the kernel keeps its base');
  assert.equal(set(a.SEGBASE_GS_USER_SEL, 0xe02bn), 0);
  assert.equal(bench.selector(S.GS), 0xe02b);
  assert.equal(new PvBench(32).start().call(x.__HYPERVISOR_set_segment_base, 0, 0n), -ENOSYS);
});

test('SYSCALL of the kernel: result in rax, rcx and r11 overwritten, flat selectors', () => {
  const bench = new PvBench(64).start();
  bench.hypercallInstruction(x.__HYPERVISOR_xen_version);
  assert.equal(bench.reg(S.RAX) >> 16n, 4n);
  assert.equal(bench.reg(S.RCX), BigInt(CODE + 2));
  assert.equal(bench.reg(11), BigInt(bench.cpu.eflags));
  assert.equal(bench.cpu.rip, BigInt(CODE + 2));
});

test('SYSCALL that ends at the end of the lower half is #GP there', () => {
  const bench = new PvBench(64).start();
  bench.handle(13);
  // The instruction itself is elsewhere; what counts is the address behind it.
  bench.set(S.RAX, x.__HYPERVISOR_xen_version);
  bench.machine.cpus[0].owner?.syscall(bench.cpu, NOT_CANONICAL);
  assert.deepEqual(bench.words(bench.rsp + 16n, 2), [0n, NOT_CANONICAL]);
});

test('older forms: sched_op, event_channel_op and physdev_op in one structure', () => {
  const bench = new PvBench(64).start();
  bench.write(ARGUMENT, [6, 0, 0, 0, 0xf0, 0x7f, 0, 0]);
  assert.equal(bench.call(x.__HYPERVISOR_event_channel_op_compat, ARGUMENT), 0, 'alloc_unbound for itself');
  bench.write(ARGUMENT, [13, 0, 0, 0]);
  assert.equal(bench.call(x.__HYPERVISOR_event_channel_op_compat, ARGUMENT), -ENOSYS);
  bench.write(ARGUMENT, [6, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
  assert.equal(bench.call(x.__HYPERVISOR_physdev_op_compat, ARGUMENT), 0);
  assert.equal(bench.vcpu.iopl, 0x3000);
  assert.equal(bench.call(x.__HYPERVISOR_physdev_op_compat, ABSENT), -EFAULT);
  assert.equal(bench.call(x.__HYPERVISOR_sched_op_compat, 3), -ENOSYS);
  assert.equal(bench.call(x.__HYPERVISOR_sched_op_compat, 2, 1), 0);
  assert.equal(bench.pv.domain.shutdownState?.reason, 1);
});

test("copies for a PV guest stay out of the hypervisor's range", () => {
  const bench = new PvBench(64).start();
  assert.equal(
    bench.call(x.__HYPERVISOR_set_trap_table, 0xffff_8000_0000_0000n),
    -EFAULT,
    'the M2P is readable, not for calls',
  );
  assert.equal(bench.call(x.__HYPERVISOR_set_trap_table, XEN_64), -EFAULT);
});

test('multicall: iret ends the batch, and its rax is the result', () => {
  const bench = new PvBench(64).start();
  const frame = STACK - 0x100n;
  const view = new DataView(new ArrayBuffer(72));
  [0x99n, 0n, 0n, 0n, BigInt(CODE + 0x40), 0xe030n, 0x202n, STACK, 0xe02bn].forEach((word, n) => {
    view.setBigUint64(n * 8, word, true);
  });
  bench.write(frame, new Uint8Array(view.buffer));
  const calls = [x.__HYPERVISOR_iret, x.__HYPERVISOR_fpu_taskswitch].map((op) => ({
    op: BigInt(op),
    result: 0n,
    args: [1n, 0n, 0n, 0n, 0n, 0n],
  }));
  calls.forEach((call, n) => {
    bench.put(x.multicall_entry, call, ARGUMENT + BigInt(64 * n));
  });
  bench.set(S.RSP, frame);
  bench.set(S.RDI, ARGUMENT);
  bench.set(S.RSI, 2);
  bench.hypercallInstruction(x.__HYPERVISOR_multicall);
  assert.deepEqual([bench.cpu.rip, bench.reg(S.RAX)], [BigInt(CODE + 0x40), 0x99n]);
  assert.equal(bench.vcpu.taskSwitched, false);
});
