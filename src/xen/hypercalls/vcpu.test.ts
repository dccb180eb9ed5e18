import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, ENOSYS, ENXIO } from '../../abi/xen/errno.ts';
import type { ValueOf } from '../../abi/xen/struct.ts';
import * as v from '../../abi/xen/vcpu.ts';
import { vcpu_hvm_x86_32, vcpu_hvm_x86_64 } from '../../abi/xen/vcpu-hvm-context.ts';
import { __HYPERVISOR_vcpu_op, VIRQ_TIMER } from '../../abi/xen/xen.ts';
import { vcpuId } from '../../base/int.ts';
import * as S from '../../cpu/state.ts';
import type { TestDomainOptions } from '../testing.ts';
import { ARGUMENT, NOWHERE, TestDomain } from '../testing.ts';
import { initVcpu, sipiVcpu } from '../vcpu-state.ts';
import { vcpuOp } from './vcpu.ts';

const make = (options: TestDomainOptions = {}): TestDomain => new TestDomain({ hypercalls: [vcpuOp], ...options });
const op = (
  d: TestDomain,
  command: number,
  id: number,
  arg = 0n,
  caller: { caller?: number; width?: 'native' | 'compat' } = {},
): unknown => d.raw(__HYPERVISOR_vcpu_op, [BigInt(command), BigInt(id), arg], caller);

const context32 = (over: Partial<ValueOf<typeof vcpu_hvm_x86_32>> = {}): ValueOf<typeof vcpu_hvm_x86_32> => ({
  mode: 0,
  pad: 0,
  eax: 1,
  ecx: 0,
  edx: 0,
  ebx: 0,
  esp: 0,
  ebp: 0,
  esi: 0,
  edi: 0,
  eip: 0x2000,
  eflags: 0,
  cr0: 0x11,
  cr3: 0,
  cr4: 0,
  pad1: 0,
  efer: 0n,
  base: [0, 0, 0, 0, 0],
  limit: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x67],
  attributes: [0xc9b, 0xc93, 0xc93, 0xc93, 0x8b],
  pad2: [0, 0, 0],
  ...over,
});
const context64 = (over: Partial<ValueOf<typeof vcpu_hvm_x86_64>> = {}): ValueOf<typeof vcpu_hvm_x86_64> => ({
  mode: 1,
  pad: 0,
  rax: 0n,
  rcx: 0n,
  rdx: 0n,
  rbx: 0n,
  rsp: 0n,
  rbp: 0n,
  rsi: 0n,
  rdi: 0n,
  rip: 0x2000n,
  rflags: 0n,
  cr0: 0x8000_0011n,
  cr3: 0x3000n,
  cr4: 0x20n,
  efer: 0x100n,
  ...over,
});
const initialise = (d: TestDomain, id: number, over: Partial<ValueOf<typeof vcpu_hvm_x86_32>> = {}): unknown =>
  op(d, v.VCPUOP_initialise, id, d.put(vcpu_hvm_x86_32, context32(over)));
const initialise64 = (d: TestDomain, id: number, over: Partial<ValueOf<typeof vcpu_hvm_x86_64>> = {}): unknown =>
  op(d, v.VCPUOP_initialise, id, d.put(vcpu_hvm_x86_64, context64(over)));

test('vcpu_op: ENOENT comes before the operation, ENOSYS for unknown ones, only low halves count', () => {
  const d = make();
  assert.equal(op(d, 99, 2), -ENOENT);
  assert.equal(op(d, 99, 1), -ENOSYS);
  assert.equal(d.raw(__HYPERVISOR_vcpu_op, [(1n << 32n) | 3n, 1n << 32n]), 1);
});

test('VCPUOP_initialise: EFAULT, EINVAL, 0, then EEXIST; the vCPU stays down', () => {
  const d = make();
  assert.equal(op(d, v.VCPUOP_initialise, 1, NOWHERE), -EFAULT);
  assert.equal(initialise(d, 1, { pad: 1 }), -EINVAL);
  assert.equal(initialise(d, 1), 0);
  assert.equal(op(d, v.VCPUOP_is_up, 1), 0);
  assert.equal(initialise(d, 1), -EEXIST);
  assert.equal(initialise(d, 1, { pad: 1 }), -EEXIST);
  assert.equal(d.cpu(1).get64(S.RIP), 0x2000n);
  assert.equal(d.cpu(1).get32(S.seg(S.CS) + S.SEG_ATTR), 0xc09b);
});

test('VCPUOP_initialise: refuses each bad 32-bit context', () => {
  const bad: Partial<ValueOf<typeof vcpu_hvm_x86_32>>[] = [
    { mode: 2 },
    { pad1: 1 },
    { pad2: [0, 0, 1] },
    { efer: 0x400n },
    { attributes: [0x1c9b, 0xc93, 0xc93, 0xc93, 0x8b] },
    { attributes: [0, 0xc93, 0xc93, 0xc93, 0x8b] },
    { attributes: [0xc93, 0xc93, 0xc93, 0xc93, 0x8b] },
    { attributes: [0xc9b, 0xc99, 0xc93, 0xc93, 0x8b] },
    { attributes: [0xc9b, 0xc93, 0xc91, 0xc93, 0x8b] },
    { attributes: [0xc9b, 0xc13, 0xc93, 0xc93, 0x8b] },
    { attributes: [0xc9b, 0xcf3, 0xc93, 0xc93, 0x8b] },
    { attributes: [0xc9b, 0xc93, 0xcf3, 0xc93, 0x8b] },
    { attributes: [0xc9b, 0xc93, 0xc93, 0xc93, 0x89 & ~8] },
    { eip: 0x10000, limit: [0xffff, 0, 0, 0, 0], attributes: [0x49b, 0xc93, 0xc93, 0xc93, 0x8b] },
  ];
  for (const over of bad)
    assert.equal(
      initialise(make(), 1, over),
      -EINVAL,
      JSON.stringify(over, (_k, x) => (typeof x === 'bigint' ? `${x}` : x)),
    );
  assert.equal(
    initialise(make(), 1, { attributes: [0xc9b, 0, 0xc93, 0, 0x89] }),
    0,
    'null ds and es, TSS not yet busy',
  );
});

test('VCPUOP_initialise: checks a 64-bit context and control bits', () => {
  for (const over of [{ rip: 1n << 47n }, { cr0: 0x11n }, { cr4: 0n }, { efer: 0n }])
    assert.equal(initialise64(make(), 1, over), -EINVAL);
  const d = make();
  d.domain.controlBits = { cr4: 0x20n, efer: 0x500n };
  assert.equal(initialise64(d, 1, { cr4: 0x60n }), -EINVAL);
  assert.equal(initialise64(d, 1, { efer: 0x900n }), -EINVAL);
  assert.equal(initialise64(d, 1), 0);
  assert.equal(d.cpu(1).get64(S.EFER), 0x500n, 'LME implies LMA');
});

test('VCPUOP_initialise: vCPU 32 without vcpu_info is EINVAL until 4.18, allowed from 4.19', () => {
  const config = { maxVcpus: 33 };
  assert.equal(initialise(make({ version: '4.18', config }), 32), -EINVAL);
  assert.equal(initialise(make({ version: '4.18', config }), 31), 0);
  assert.equal(initialise(make({ version: '4.19', config }), 32), 0);
  const d = make({ version: '4.18', config });
  assert.equal(
    op(d, v.VCPUOP_register_vcpu_info, 32, d.put(v.vcpu_register_vcpu_info, { mfn: 4n, offset: 0, rsvd: 0 })),
    0,
  );
  assert.equal(initialise(d, 32), 0);
});

test('VCPUOP_up: EINVAL before initialise, then idempotent', () => {
  const d = make();
  assert.equal(op(d, v.VCPUOP_up, 1), -EINVAL);
  initialise(d, 1);
  assert.equal(op(d, v.VCPUOP_up, 1), 0);
  assert.equal(op(d, v.VCPUOP_up, 1, NOWHERE), 0);
  assert.equal(op(d, v.VCPUOP_is_up, 1), 1);
});

test('VCPUOP_down: the last vCPU powers the domain off', () => {
  const d = make();
  assert.equal(op(d, v.VCPUOP_down, 1), 0);
  assert.equal(d.shutdownReason(), undefined);
  assert.equal(op(d, v.VCPUOP_down, 0), 0);
  assert.equal(d.shutdownReason(), 0);
});

test('VCPUOP_get_runstate_info: EFAULT; times sum up to the time since creation in both layouts', () => {
  const d = make();
  assert.equal(op(d, v.VCPUOP_get_runstate_info, 1, NOWHERE), -EFAULT);
  d.time.pass(500n);
  for (const width of ['native', 'compat'] as const) {
    assert.equal(op(d, v.VCPUOP_get_runstate_info, 1, ARGUMENT, { width }), 0);
    const info = d.get(v.vcpu_runstate_info, ARGUMENT, width);
    assert.equal(info.state, 3);
    assert.equal(
      info.time.reduce((a, b) => a + b),
      500n,
    );
  }
});

test('VCPUOP_set_periodic_timer: EFAULT, EINVAL below 1 ms and above 2^62-1', () => {
  const d = make();
  const set = (period_ns: bigint): unknown =>
    op(d, v.VCPUOP_set_periodic_timer, 0, d.put(v.vcpu_set_periodic_timer, { period_ns }));
  assert.equal(op(d, v.VCPUOP_set_periodic_timer, 0, NOWHERE), -EFAULT);
  assert.equal(set(999_999n), -EINVAL);
  assert.equal(set(1n << 62n), -EINVAL);
  assert.equal(set((1n << 62n) - 1n), 0);
  assert.equal(op(d, v.VCPUOP_stop_periodic_timer, 0), 0);
});

test('VCPUOP_set_singleshot_timer: other vCPU EINVAL (32-bit: EFAULT first), EFAULT, past deadlines fire at once, later ones later', () => {
  const d = make();
  d.start(1);
  assert.equal(op(d, v.VCPUOP_set_singleshot_timer, 1, NOWHERE), -EINVAL);
  assert.equal(op(d, v.VCPUOP_set_singleshot_timer, 1, NOWHERE, { width: 'compat' }), -EFAULT);
  assert.equal(op(d, v.VCPUOP_set_singleshot_timer, 0, NOWHERE), -EFAULT);
  const p = d.domain.evtchn.bindVirq(VIRQ_TIMER, 0);
  const arm = (timeout_abs_ns: bigint): unknown =>
    op(d, v.VCPUOP_set_singleshot_timer, 0, d.put(v.vcpu_set_singleshot_timer, { timeout_abs_ns, flags: 1 }));
  assert.equal(arm(1n), 0);
  assert.equal(d.domain.evtchn.poll(p), true);
  d.domain.info.setPending(p as never, false);
  assert.equal(arm(d.domain.now() + 100n), 0);
  d.time.pass(99n);
  assert.equal(d.domain.evtchn.poll(p), false);
  d.time.pass(1n);
  assert.equal(d.domain.evtchn.poll(p), true);
  assert.equal(op(d, v.VCPUOP_stop_singleshot_timer, 1), -EINVAL);
  assert.equal(op(d, v.VCPUOP_stop_singleshot_timer, 0), 0);
});

const register = (d: TestDomain, id: number, mfn: bigint, offset: number): unknown =>
  op(d, v.VCPUOP_register_vcpu_info, id, d.put(v.vcpu_register_vcpu_info, { mfn, offset, rsvd: 7 }));

test('VCPUOP_register_vcpu_info: order of errors from 4.18 on', () => {
  const d = make();
  assert.equal(op(d, v.VCPUOP_register_vcpu_info, 0, NOWHERE), -EFAULT);
  assert.equal(register(d, 0, 4n, 4096), -EINVAL);
  assert.equal(register(d, 0, 4n, 4096 - 56), -ENXIO);
  assert.equal(register(d, 0, 4n, 4), -ENXIO);
  assert.equal(register(d, 0, 0x700n, 0), -EINVAL);
  d.start(1);
  assert.equal(register(d, 1, 4n, 64), 0, 'another vCPU that runs');
  assert.equal(register(d, 1, 0x700n, 4), -EBUSY);
});

test('VCPUOP_register_vcpu_info: order of errors of 4.17', () => {
  const d = make({ version: '4.17' });
  assert.equal(register(d, 0, 4n, 4096), -ENXIO);
  assert.equal(register(d, 0, 4n, 4), -ENXIO);
  d.start(1);
  assert.equal(register(d, 1, 4n, 0), -EINVAL);
  assert.equal(register(d, 0, 0x700n, 0), -EINVAL);
  assert.equal(register(d, 0, 4n, 0), 0);
  assert.equal(register(d, 0, 4n, 4), -ENXIO);
  assert.equal(register(d, 0, 4n, 0), -EINVAL);
});

test('VCPUOP_register_vcpu_info: keeps the slot’s bytes, announces everything once; from the dummy it starts masked', () => {
  const d = make({ config: { maxVcpus: 33 } });
  d.domain.info.setCr2(vcpuId(0), 0x1234n);
  assert.equal(register(d, 0, 4n, 128), 0);
  const at = new DataView(d.domain.memory.bytes.buffer, d.domain.memory.page(4, false) + 128, 64);
  assert.deepEqual(
    [at.getUint8(0), at.getUint8(1), at.getBigUint64(8, true), at.getBigUint64(16, true)],
    [1, 0, (1n << 64n) - 1n, 0x1234n],
  );
  assert.equal(register(d, 32, 5n, 0), 0);
  const dummy = new DataView(d.domain.memory.bytes.buffer, d.domain.memory.page(5, false), 64);
  assert.deepEqual([dummy.getUint8(0), dummy.getUint8(1)], [1, 1]);
  d.domain.p2m.remove(4);
  assert.ok(d.domain.info.upcallPending(vcpuId(0), 'toolstack'), 'the frame stays although the guest gave it up');
});

test('VCPUOP_send_nmi: EINVAL with an argument; a down vCPU stays down', () => {
  const d = make();
  assert.equal(op(d, v.VCPUOP_send_nmi, 1, 1n), -EINVAL);
  assert.equal(op(d, v.VCPUOP_send_nmi, 1), 0);
  assert.equal(d.cpu(1).nmis, 1);
  assert.equal(op(d, v.VCPUOP_is_up, 1), 0);
});

test('VCPUOP_get_physid: EINVAL for every guest', () => {
  assert.equal(op(make(), v.VCPUOP_get_physid, 0), -EINVAL);
});

test('virtual areas: EFAULT on the argument; HVM accepts unmapped addresses, PV refuses those of the hypervisor', () => {
  for (const command of [v.VCPUOP_register_runstate_memory_area, v.VCPUOP_register_vcpu_time_memory_area]) {
    const d = make();
    const area = (addr: bigint): unknown => op(d, command, 0, d.put(v.vcpu_register_area, { addr }));
    assert.equal(op(d, command, 0, NOWHERE), -EFAULT);
    assert.equal(area(NOWHERE), 0);
    assert.equal(area(0x5000n), 0);
    const pv = make({ config: { type: 'pv64' } });
    const inXen = op(pv, command, 0, pv.put(v.vcpu_register_area, { addr: 0xffff_8000_0000_0000n }));
    assert.equal(inXen, -EFAULT);
  }
});

test('physical areas: ENOSYS in 4.17; EFAULT, ENXIO, EINVAL, replaceable, all ones unregisters', () => {
  for (const [command, size] of [
    [v.VCPUOP_register_runstate_phys_area, 48],
    [v.VCPUOP_register_vcpu_time_phys_area, 32],
  ] as const) {
    const d = make();
    const area = (addr: bigint): unknown => op(d, command, 0, d.put(v.vcpu_register_phys_area, { addr }));
    assert.equal(op(make({ version: '4.17' }), command, 0, NOWHERE), -ENOSYS);
    assert.equal(op(d, command, 0, NOWHERE), -EFAULT);
    assert.equal(area(0x5004n), -ENXIO);
    assert.equal(area(0x6000n - BigInt(size) + 8n), -ENXIO);
    assert.equal(area(0x6000n - BigInt(size)), 0);
    assert.equal(area(0x70_0000n), -EINVAL);
    assert.equal(area(0x5000n), 0);
    assert.equal(area((1n << 64n) - 1n), 0);
  }
});

test('guest areas: the probe names site and mapping; the fault policy crashes where a NULL pointer would be read', () => {
  const d = make({ config: { maxVcpus: 33 } });
  const seen: string[] = [];
  d.domain.info.access.onAccess = ({ site, mapping, mode }) => seen.push(`${site}: ${mode} ${mapping}`);
  d.domain.evtchn.send(d.domain.evtchn.bindIpi(32));
  assert.deepEqual(seen, ['event_2l set_pending: update unset', 'vcpu_mark_events_pending: update unset']);
  const fault = make({ config: { maxVcpus: 33 }, rules: { 'vcpu-info-unset': 'fault' } });
  fault.domain.evtchn.send(fault.domain.evtchn.bindIpi(32));
  assert.match(fault.domain.shutdownState?.message ?? '', /vCPU 32 .*event_2l set_pending/);
});

test('INIT and SIPI: the table of sequences', () => {
  const d = make();
  const vcpu = d.domain.vcpus[1];
  assert.equal(initVcpu(vcpu), false, 'INIT on a vCPU that was never started');
  assert.equal(initialise(d, 1), 0);
  assert.equal(sipiVcpu(vcpu, 8), false, 'SIPI behind initialise');
  assert.equal(op(d, v.VCPUOP_up, 1), 0);
  assert.equal(op(d, v.VCPUOP_down, 1), 0);
  assert.equal(sipiVcpu(vcpu, 8), false, 'down keeps it initialised');
  assert.equal(initVcpu(vcpu), true);
  assert.equal(op(d, v.VCPUOP_up, 1), -EINVAL);
  assert.equal(sipiVcpu(vcpu, 8), true);
  assert.equal(op(d, v.VCPUOP_is_up, 1), 1);
  assert.deepEqual([d.cpu(1).get64(S.seg(S.CS)), d.cpu(1).get64(S.RIP)], [0x8000n, 0n]);
  assert.equal(initialise(d, 1), -EEXIST);
});

test('SIPI: resets what Xen resets and keeps the other registers; INIT forgets a waiting NMI, SIPI does not', () => {
  const d = make();
  const vcpu = d.domain.vcpus[1];
  const cpu = d.cpu(1);
  d.domain.vcpus[0].tscOffset = 77n;
  vcpu.tscAdjust = 5n;
  assert.equal(initialise(d, 1), 0);
  assert.equal(vcpu.tscOffset, 77n, 'initialise takes the counter of vCPU 0');
  assert.equal(vcpu.tscAdjust, 5n);
  const kept = [S.STAR, S.LSTAR, S.KERNEL_GS_BASE, S.SYSENTER_EIP, S.TSC_AUX, S.PAT, S.XCR0];
  for (const at of kept) cpu.set64(at, 0x1234n);
  for (const at of [S.EFER, S.CR4, S.DR0, S.gpr(S.RBX)]) cpu.set64(at, 0x500n);
  cpu.nmiPending = true;
  assert.equal(initVcpu(vcpu), true);
  assert.equal(cpu.nmiPending, false);
  cpu.nmiPending = true;
  d.domain.vcpus[0].tscOffset = 99n;
  assert.equal(sipiVcpu(vcpu, 8), true);
  for (const at of kept) assert.equal(cpu.get64(at), 0x1234n);
  for (const at of [S.EFER, S.CR4, S.DR0, S.gpr(S.RBX)]) assert.equal(cpu.get64(at), 0n);
  assert.equal(cpu.get64(S.CR0), 0x10n);
  assert.equal(cpu.nmiPending, true);
  assert.deepEqual([vcpu.tscOffset, vcpu.tscAdjust], [99n, 0n]);
});

/** The independent model: two booleans per vCPU. */
interface Model {
  initialised: boolean;
  down: boolean;
}

test('vCPU state: random sequences agree with a model of two booleans', () => {
  const seed = Number(process.env['XENOLITH_SEED'] ?? 20240321);
  let state = seed;
  const random = (n: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % n;
  };
  for (let run = 0; run < 20; run++) {
    const d = make({ config: { maxVcpus: 3 } });
    const model: Model[] = [0, 1, 2].map((id) => ({ initialised: id === 0, down: id !== 0 }));
    for (let step = 0; step < 30 && d.domain.shutdownState === undefined; step++) {
      const id = random(3);
      const m = model[id];
      const where = `seed ${seed} run ${run} step ${step} vCPU ${id}`;
      const othersDown = model.every((other) => other === m || other.down);
      let off = false;
      switch (random(6)) {
        case 0:
          assert.equal(initialise(d, id), m.initialised ? -EEXIST : 0, where);
          if (!m.initialised) Object.assign(m, { initialised: true, down: true });
          break;
        case 1:
          assert.equal(op(d, v.VCPUOP_up, id), m.initialised ? 0 : -EINVAL, where);
          if (m.initialised) m.down = false;
          break;
        case 2:
          assert.equal(op(d, v.VCPUOP_down, id), 0, where);
          off = othersDown;
          if (!off) m.down = true;
          break;
        case 3:
          assert.equal(initVcpu(d.domain.vcpus[id]), m.initialised, where);
          off = m.initialised && othersDown;
          if (m.initialised) Object.assign(m, { initialised: false, down: true });
          break;
        case 4:
          assert.equal(sipiVcpu(d.domain.vcpus[id], 1), !m.initialised, where);
          if (!m.initialised) Object.assign(m, { initialised: true, down: false });
          break;
        case 5:
          d.time.pass(BigInt(random(1000)));
          break;
      }
      assert.equal(d.domain.shutdownState !== undefined, off, where);
      for (const [n, expected] of model.entries()) {
        assert.equal(op(d, v.VCPUOP_is_up, n), expected.down ? 0 : 1, where);
        const { runstateTime, runstateEntryTime } = d.domain.vcpus[n];
        const sum = runstateTime.reduce((a, b) => a + b) + (d.domain.now() - runstateEntryTime);
        assert.equal(sum, d.domain.now() - 1_000_000n, where);
      }
    }
  }
});

test('VCPUOP: a PV domain has up to 8192 vCPUs, an HVM domain 128; the first id beyond is -ENOENT', () => {
  for (const [type, most] of [
    ['pv64', 8192],
    ['hvm', 128],
  ] as const) {
    const d = make({ config: { type, maxVcpus: most } });
    assert.equal(op(d, v.VCPUOP_is_up, most - 1), 0);
    assert.equal(op(d, v.VCPUOP_is_up, most), -ENOENT);
    assert.equal(op(d, v.VCPUOP_up, most - 1), -EINVAL, 'there, but not initialised');
    assert.throws(() => make({ config: { type, maxVcpus: most + 1 } }), RangeError);
  }
});
