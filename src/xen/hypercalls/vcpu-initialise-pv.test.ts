import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EEXIST, EFAULT, EINVAL, ENOENT } from '../../abi/xen/errno.ts';
import { decode, encode, type Type } from '../../abi/xen/struct.ts';
import * as v from '../../abi/xen/vcpu.ts';
import * as c from '../../abi/xen/vcpu-guest-context.ts';
import { __HYPERVISOR_vcpu_op } from '../../abi/xen/xen.ts';
import * as S from '../../cpu/state.ts';
import { ABSENT, CODE, PvBench, STACK, USER_CODE, USER_STACK } from '../pv/testing.ts';
import { VPF_in_reset } from '../vcpu.ts';

const CONTEXT = 0x2_0000n;
const widths = [64, 32] as const;
/** Fields of both forms: a test touches those that its width has. */
type Context64 = c.GuestContext64;
type Context32 = c.GuestContext32;

const op = (bench: PvBench, operation: number, id = 1, address = 0n) =>
  bench.call(__HYPERVISOR_vcpu_op, operation, id, address);

/** VCPUOP_initialise of vCPU 1 with a context that only `change` makes different from a good one. */
function initialise(bench: PvBench, change: (context: Context64 & Context32) => void = () => {}, id = 1) {
  const form: unknown = bench.width === 64 ? c.vcpu_guest_context_64 : c.vcpu_guest_context_32;
  const type = form as Type<Context64 & Context32>;
  const context = decode(type, bench.context({ flags: c.VGCF_in_kernel }), bench.layout);
  change(context);
  bench.write(CONTEXT, encode(type, context, bench.layout));
  return op(bench, v.VCPUOP_initialise, id, CONTEXT);
}

for (const width of widths) {
  test(`initialise, ${width}-bit: valid registers, still down; up runs it at its address; a second time EEXIST`, () => {
    const bench = new PvBench(width).code(0xeb, 0xfe).start();
    bench.write(0x2000, [0x90, 0x90, 0xeb, 0xfe]);
    const address = 0x2000n;
    assert.equal(op(bench, v.VCPUOP_up), -EINVAL, 'nothing to run yet');
    const at = (context: Context64 & Context32): void => {
      if (width === 64) context.user_regs.rip = address;
      else context.user_regs.eip = Number(address);
    };
    assert.equal(initialise(bench, at), 0);
    assert.equal(op(bench, v.VCPUOP_is_up), 0);
    assert.equal(initialise(bench, at), -EEXIST);
    assert.equal(op(bench, v.VCPUOP_up), 0);
    assert.equal(op(bench, v.VCPUOP_is_up), 1);
    bench.run(3000);
    const [, cpu] = bench.machine.cpus;
    assert.equal(cpu.rip, 0x2002n);
    assert.equal(cpu.cpl, width === 64 ? 3 : 1);
    assert.equal(cpu.gpr(S.RSP), STACK);
    assert.deepEqual(bench.pv.mm.check(), []);
    assert.equal(op(bench, v.VCPUOP_down), 0);
    assert.equal(op(bench, v.VCPUOP_is_up), 0);
    assert.equal(initialise(bench, at), -EEXIST, 'down does not undo it');
  });

  test(`initialise, ${width}-bit: VGCF_online makes it up without waking it; down and up starts it`, () => {
    const bench = new PvBench(width).code(0xeb, 0xfe).start();
    const online = (context: Context64 & Context32): void => {
      context.flags |= BigInt(c.VGCF_online);
    };
    assert.equal(initialise(bench, online), 0);
    assert.equal(op(bench, v.VCPUOP_is_up), 1);
    const [, second] = bench.pv.vcpus;
    bench.run(3000);
    assert.notEqual(second.begin, undefined, 'it never ran');
    op(bench, v.VCPUOP_up);
    bench.run(3000);
    assert.notEqual(second.begin, undefined, 'up changes nothing');
    op(bench, v.VCPUOP_down);
    op(bench, v.VCPUOP_up);
    bench.run(3000);
    assert.equal(second.begin, undefined);
  });

  test(`initialise, ${width}-bit: ENOENT, then EINVAL without vcpu_info, then EFAULT, then the context's own errors`, () => {
    const bench = new PvBench(width, { maxVcpus: 34 }).start();
    assert.equal(op(bench, v.VCPUOP_initialise, 34, ABSENT), -ENOENT);
    assert.equal(op(bench, v.VCPUOP_initialise, 33, ABSENT), -EINVAL);
    assert.equal(op(bench, v.VCPUOP_initialise, 1, ABSENT), -EFAULT);
    assert.equal(
      initialise(bench, (x) => (x.ldt_ents = 8193n)),
      -EINVAL,
    );
    assert.equal(
      initialise(bench, (x) => (x.ldt_base = 0x10n)),
      -EINVAL,
    );
    assert.equal(
      initialise(bench, (x) => (x.gdt_ents = 7169n)),
      -EINVAL,
    );
    assert.equal(
      initialise(bench, (x) => Object.assign(x, { gdt_ents: 1n })),
      -EINVAL,
      "frame 0 is nobody's",
    );
  });

  test(`initialise, ${width}-bit: a root that is none is EINVAL and leaves the vCPU in reset until a later success`, () => {
    const bench = new PvBench(width).start();
    const [, { vcpu }] = bench.pv.vcpus;
    const wrong = c.frameToCr3(BigInt(bench.mfns[4]), bench.layout);
    bench.write(4 * 4096, [7, 0, 0, 0xff, 0xff, 0, 0, 0]);
    assert.equal(
      initialise(bench, (x) => (x.ctrlreg[3] = wrong)),
      -EINVAL,
    );
    assert.notEqual(vcpu.pauseFlags & VPF_in_reset, 0);
    assert.equal(vcpu.isInitialised, false);
    assert.deepEqual(bench.pv.mm.check(), []);
    assert.equal(initialise(bench), 0);
    assert.equal(vcpu.pauseFlags & VPF_in_reset, 0);
  });

  test(`initialise, ${width}-bit: a context that cannot run harms nobody while the vCPU is down`, () => {
    const bench = new PvBench(width).start();
    const empty = (context: Context64 & Context32): void => {
      Object.assign(context.user_regs, { cs: 0, ss: 0 });
    };
    assert.equal(initialise(bench, empty), 0);
    assert.equal(bench.crash, undefined);
  });

  test(`initialise, ${width}-bit: the FPU image counts only with its flag`, () => {
    const image = new Uint8Array(512);
    new DataView(image.buffer).setUint16(0, 0x027f, true);
    new DataView(image.buffer).setUint32(24, 0x1fbf, true);
    for (const valid of [false, true]) {
      const bench = new PvBench(width).start();
      initialise(bench, (x) => {
        x.fpu_ctxt = image;
        if (valid) x.flags |= BigInt(c.VGCF_i387_valid);
      });
      const [, cpu] = bench.machine.cpus;
      assert.deepEqual([cpu.get16(S.FPU_CONTROL), cpu.get32(S.MXCSR)], valid ? [0x027f, 0x1fbf] : [0x037f, 0x1f80]);
    }
  });

  test(`initialise, ${width}-bit: a data segment that cannot be loaded is told through the failsafe callback`, () => {
    const bench = new PvBench(width).code(0xeb, 0xfe).start();
    bench.write(0x6b00, [0xeb, 0xfe]);
    initialise(bench, (x) => {
      x.user_regs.es = 0x4b;
      x.failsafe_callback_eip = 0x6b00n;
      x.flags |= BigInt(c.VGCF_failsafe_disables_events);
      x.failsafe_callback_cs = 0xe019n;
    });
    const [, cpu] = bench.machine.cpus;
    bench.pv.domain.info.setUpcallMask(bench.pv.vcpus[1].vcpu.id, false, 'toolstack');
    op(bench, v.VCPUOP_up);
    bench.run(3000);
    assert.equal(cpu.rip, 0x6b00n);
    const words = bench.words(cpu.gpr(S.RSP), 7);
    if (width === 64) assert.deepEqual(words.slice(2, 7), [0n, 0x4bn, 0n, 0n, BigInt(CODE)]);
    else assert.deepEqual(words.slice(0, 5), [0xe021n, 0x4bn, 0n, 0n, BigInt(CODE)]);
    assert.equal(bench.pv.domain.info.upcallMask(bench.pv.vcpus[1].vcpu.id, 'toolstack'), true);
  });
}

test('initialise, 64-bit: user mode needs a root for it, and begins there', () => {
  const bench = new PvBench(64).code(0xeb, 0xfe).start();
  bench.write(USER_CODE, [0xeb, 0xfe]);
  const user = (root: bigint) => (x: Context64 & Context32) => {
    x.flags = 0n;
    x.ctrlreg[1] = root;
    Object.assign(x.user_regs, { rip: BigInt(USER_CODE), rsp: USER_STACK });
    Object.assign(x, { gs_base_user: 0x1111n, gs_base_kernel: 0x2222n });
  };
  assert.equal(initialise(bench, user(0n)), -EINVAL);
  assert.equal(initialise(bench, user(BigInt(bench.userRoot) << 12n)), 0);
  op(bench, v.VCPUOP_up);
  bench.run(3000);
  const [, cpu] = bench.machine.cpus;
  assert.equal(cpu.rip, BigInt(USER_CODE));
  assert.deepEqual([cpu.get64(S.seg(S.GS)), cpu.get64(S.KERNEL_GS_BASE)], [0x1111n, 0x2222n]);
  assert.equal(cpu.get64(S.CR3), BigInt(bench.userRoot) << 12n);
});

test('initialise, 64-bit: addresses that are not canonical and debug registers, EINVAL', () => {
  const bench = new PvBench(64).start();
  const bad = 0x8000_0000_0000n;
  const changes: ((x: Context64 & Context32) => unknown)[] = [
    (x) => (x.user_regs.rip = bad),
    (x) => (x.user_regs.rsp = bad),
    (x) => (x.kernel_sp = bad),
    (x) => (x.fs_base = bad),
    (x) => (x.gs_base_user = bad),
    (x) => (x.event_callback_eip = bad),
    (x) => (x.syscall_callback_eip = bad),
    (x) => (x.trap_ctxt[200].address = bad),
    (x) => (x.debugreg[7] = 1n << 32n),
    (x) => (x.debugreg[2] = 0xffff_8000_0000_0000n),
  ];
  for (const change of changes) assert.equal(initialise(bench, change), -EINVAL, String(change));
});

test("initialise: trap handlers go by their place in the table, and selectors get the kernel's RPL", () => {
  const bench = new PvBench(64).start();
  initialise(bench, (x) => {
    x.trap_ctxt[14] = { vector: 3, flags: 4, cs: 0x30, address: 0x1234n };
  });
  const { traps } = bench.pv.vcpus[1];
  assert.deepEqual([traps.address[14], traps.cs[14], traps.masksEvents(14)], [0x1234n, 0x33, true]);
});

test('VCPUOP_down of oneself: execution goes on behind the call when somebody brings it up', () => {
  const bench = new PvBench(64).code(0x0f, 0x05, 0x90, 0xeb, 0xfe).start();
  assert.equal(
    initialise(bench, (x) => (x.user_regs.rip = BigInt(0x2000))),
    0,
  );
  bench.write(0x2000, [0xeb, 0xfe]);
  op(bench, v.VCPUOP_up);
  bench.set(S.RAX, __HYPERVISOR_vcpu_op);
  bench.set(S.RDI, v.VCPUOP_down);
  bench.set(S.RSI, 0);
  bench.run(2500);
  assert.equal(bench.cpu.rip, BigInt(CODE + 2));
  assert.equal(bench.reg(S.RAX), 0n);
  bench.vcpu.vcpu.clearPauseFlags(2);
  bench.run(2500);
  assert.equal(bench.cpu.rip, BigInt(CODE + 3));
});

test('256 vCPUs: each registers its vcpu_info, is initialised, runs and takes an event', () => {
  const bench = new PvBench(64, { maxVcpus: 256 }).code(0xeb, 0xfe).start();
  const { domain } = bench.pv;
  // inc %eax in a loop; the event callback increments ebx and stays.
  bench.write(0x2000, [0xff, 0xc0, 0xeb, 0xfc]);
  bench.write(0x2100, [0xff, 0xc3, 0xeb, 0xfe]);
  for (let id = 1; id < 256; id++) {
    if (id >= 32) {
      const mfn = BigInt(bench.mfns[8 + (id >> 6)]);
      bench.put(v.vcpu_register_vcpu_info, { mfn, offset: (id & 63) * 64, rsvd: 0 });
      assert.equal(op(bench, v.VCPUOP_register_vcpu_info, id, 0x5000n), 0);
    }
    const result = initialise(
      bench,
      (x) => {
        x.user_regs.rip = 0x2000n;
        x.user_regs.rsp = 0x3_0000n - BigInt(id * 128);
        x.event_callback_eip = 0x2100n;
      },
      id,
    );
    assert.equal(result, 0);
    assert.equal(op(bench, v.VCPUOP_up, id), 0);
  }
  bench.run(256 * 3000);
  for (let id = 1; id < 256; id++) {
    domain.info.setUpcallMask(domain.vcpus[id].id, false, 'toolstack');
    domain.upcalls.markEventsPending(domain.vcpus[id]);
  }
  bench.run(256 * 3000);
  const started = bench.machine.cpus.slice(1);
  assert.deepEqual(
    started.filter((cpu) => cpu.gpr(S.RAX) === 0n || cpu.gpr(S.RBX) !== 1n).map((cpu) => cpu.id),
    [],
  );
  assert.deepEqual(bench.pv.mm.check(), []);
});
