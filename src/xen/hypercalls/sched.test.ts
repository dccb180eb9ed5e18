import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EFAULT, EINVAL, ENOSPC, ENOSYS, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import * as s from '../../abi/xen/sched.ts';
import { __HYPERVISOR_sched_op, __HYPERVISOR_set_timer_op, VIRQ_TIMER } from '../../abi/xen/xen.ts';
import { port, vcpuId } from '../../base/int.ts';
import { block } from '../hypercall.ts';
import { enterProcessor, leaveProcessor, runstateOf } from '../run-state.ts';
import { NOWHERE, TestDomain } from '../testing.ts';
import { VPF_blocked } from '../vcpu.ts';
import { schedOp } from './sched.ts';
import { setTimerOp } from './set-timer.ts';

const make = (type: 'hvm' | 'pv64' = 'hvm'): TestDomain =>
  new TestDomain({ hypercalls: [schedOp, setTimerOp], config: { type } });
const op = (d: TestDomain, command: number, arg = 0n): unknown => d.raw(__HYPERVISOR_sched_op, [BigInt(command), arg]);
const LIST = 0x2000n;
const poll = (d: TestDomain, ports: readonly number[], timeout = 0n, nr_ports = ports.length): unknown => {
  ports.forEach((p, i) => {
    d.put(s.evtchn_port, { port: p }, LIST + BigInt(4 * i));
  });
  return op(d, s.SCHEDOP_poll, d.put(s.sched_poll, { ports: LIST, nr_ports, timeout }));
};
const isBlocked = (d: TestDomain): boolean => (d.domain.vcpus[0].pauseFlags & VPF_blocked) !== 0;

test('sched_op: ENOSYS for unknown operations, EPERM for pin_override, EFAULT for unreadable arguments', () => {
  const d = make();
  assert.equal(op(d, 99), -ENOSYS);
  assert.equal(op(d, s.SCHEDOP_pin_override), -EPERM);
  for (const c of [
    s.SCHEDOP_shutdown,
    s.SCHEDOP_poll,
    s.SCHEDOP_remote_shutdown,
    s.SCHEDOP_shutdown_code,
    s.SCHEDOP_watchdog,
  ]) {
    assert.equal(op(d, c, NOWHERE), -EFAULT);
  }
  assert.equal(op(d, s.SCHEDOP_remote_shutdown, d.put(s.sched_remote_shutdown, { domain_id: 77, reason: 0 })), -ESRCH);
});

test('SCHEDOP_block: unmasks, returns at once when an event waits, else until one arrives', () => {
  const d = make('pv64');
  const { info, evtchn } = d.domain;
  const ipi = evtchn.bindIpi(0);
  info.setUpcallMask(vcpuId(0), true, 'toolstack');
  evtchn.send(ipi);
  assert.equal(op(d, s.SCHEDOP_block), 0);
  assert.equal(info.upcallMask(vcpuId(0), 'toolstack'), false);
  info.vcpuInfo(vcpuId(0), 'toolstack', 'write').setBigUint64(0, 0n, true);
  info.vcpuInfo(vcpuId(0), 'toolstack', 'write').setBigUint64(8, 0n, true);
  info.setPending(port(ipi), false);
  assert.deepEqual(op(d, s.SCHEDOP_block), block(0));
  assert.ok(isBlocked(d));
  evtchn.send(ipi);
  assert.ok(!isBlocked(d));
});

test('SCHEDOP_poll: EINVAL above 128 ports, EFAULT list, EINVAL port; 0 when pending though masked', () => {
  const d = make();
  assert.equal(poll(d, [], 0n, 129), -EINVAL);
  assert.equal(op(d, s.SCHEDOP_poll, d.put(s.sched_poll, { ports: NOWHERE, nr_ports: 1, timeout: 0n })), -EFAULT);
  for (const bad of [0, 5, 4096]) assert.equal(poll(d, [bad]), -EINVAL);
  const ipi = d.domain.evtchn.bindIpi(0);
  d.domain.info.setMask(port(ipi), true);
  assert.deepEqual(poll(d, [ipi]), block(0));
  d.domain.evtchn.send(ipi);
  assert.ok(!isBlocked(d), 'a masked port wakes its poller');
  assert.equal(poll(d, [ipi]), 0);
});

test('SCHEDOP_poll: ends at its timeout and forgets the timeout when woken earlier', () => {
  const d = make();
  const ipi = d.domain.evtchn.bindIpi(0);
  poll(d, [ipi], d.domain.now() + 10n);
  d.time.pass(9n);
  assert.ok(isBlocked(d));
  d.time.pass(1n);
  assert.ok(!isBlocked(d));
  poll(d, [ipi], d.domain.now() + 10n);
  d.domain.vcpus[0].unblock();
  d.domain.vcpus[0].block();
  d.time.pass(20n);
  assert.ok(isBlocked(d));
});

test('SCHEDOP_shutdown: low eight bits are the reason; SCHEDOP_shutdown_code changes nothing afterwards', () => {
  const d = make();
  assert.equal(op(d, s.SCHEDOP_shutdown, d.put(s.sched_shutdown, { reason: 0x101 })), 0);
  assert.equal(op(d, s.SCHEDOP_shutdown_code, d.put(s.sched_shutdown, { reason: 3 })), 0);
  assert.equal(d.shutdownReason(), 1);
});

test('SCHEDOP_shutdown_code: the first one decides what a later shutdown means, until the domain is resumed', () => {
  const d = make();
  assert.equal(op(d, s.SCHEDOP_shutdown_code, d.put(s.sched_shutdown, { reason: 0x103 })), 0);
  assert.equal(op(d, s.SCHEDOP_shutdown_code, d.put(s.sched_shutdown, { reason: 2 })), 0);
  assert.equal(op(d, s.SCHEDOP_shutdown, d.put(s.sched_shutdown, { reason: 0 })), 0);
  assert.equal(d.shutdownReason(), 3);
  d.domain.resume();
  assert.equal(op(d, s.SCHEDOP_shutdown, d.put(s.sched_shutdown, { reason: 2 })), 0);
  assert.equal(d.shutdownReason(), 2);
});

test('SCHEDOP_poll: the list of a PV guest is checked as a whole, that of an HVM guest as it is read', () => {
  const list = (1n << 64n) - 4n;
  for (const [type, want] of [
    ['pv64', -EFAULT],
    ['hvm', 0],
  ] as const) {
    const d = make(type);
    d.domain.evtchn.bindIpi(0);
    if (type === 'hvm') d.cpu(0).event = true;
    else d.domain.info.setUpcallPending(d.domain.vcpus[0].id, 'vcpu_mark_events_pending');
    assert.equal(op(d, s.SCHEDOP_poll, d.put(s.sched_poll, { ports: list, nr_ports: 2, timeout: 0n })), want);
  }
});

test('SCHEDOP_watchdog: EINVAL id, allocation, ENOSPC, EINVAL unused, expiry shuts the domain down', () => {
  const d = make();
  const dog = (id: number, timeout: number): unknown =>
    op(d, s.SCHEDOP_watchdog, d.put(s.sched_watchdog, { id, timeout }));
  assert.equal(dog(3, 1), -EINVAL);
  assert.equal(dog(1, 1), -EINVAL);
  assert.equal(dog(0, 5), 1);
  assert.equal(dog(0, 5), 2);
  assert.equal(dog(0, 5), -ENOSPC);
  assert.equal(dog(2, 0), 0);
  assert.equal(dog(2, 0), -EINVAL);
  assert.equal(dog(1, 9), 0);
  d.time.pass(8_999_999_999n);
  assert.equal(d.shutdownReason(), undefined);
  d.time.pass(1n);
  assert.equal(d.shutdownReason(), s.SHUTDOWN_watchdog);
});

test('set_timer_op: 0 cancels, absurd deadlines mean 100 ms, 32-bit callers pass halves', () => {
  const d = make();
  const timer = (...args: bigint[]): unknown => d.raw(__HYPERVISOR_set_timer_op, args);
  const p = d.domain.evtchn.bindVirq(VIRQ_TIMER, 0);
  assert.equal(timer(d.domain.now() + 10n), 0);
  assert.equal(timer(0n), 0);
  d.time.pass(20n);
  assert.equal(d.domain.evtchn.poll(p), false);
  assert.equal(timer(1n << 60n), 0);
  d.time.pass(99_999_999n);
  assert.equal(d.domain.evtchn.poll(p), false);
  d.time.pass(1n);
  assert.equal(d.domain.evtchn.poll(p), true);
  d.domain.info.setPending(port(p), false);
  d.time.pass((1n << 32n) - d.domain.now());
  assert.equal(d.raw(__HYPERVISOR_set_timer_op, [5n, 1n], { width: 'compat' }), 0);
  d.time.pass(4n);
  assert.equal(d.domain.evtchn.poll(p), false);
  d.time.pass(1n);
  assert.equal(d.domain.evtchn.poll(p), true);
});

test('periodic timer: a vCPU off the processor gets one tick when it returns', () => {
  const d = make();
  const [vcpu] = d.domain.vcpus;
  const p = d.domain.evtchn.bindVirq(VIRQ_TIMER, 0);
  const taken = (): boolean => {
    const pending = d.domain.evtchn.poll(p) === true;
    d.domain.info.setPending(port(p), false);
    return pending;
  };
  enterProcessor(vcpu);
  vcpu.timers.setPeriodic(1_000_000n);
  assert.ok(taken(), 'due at once, as the last tick was long ago');
  d.time.pass(1_000_000n);
  assert.ok(taken());
  leaveProcessor(vcpu);
  d.time.pass(5_000_000n);
  assert.ok(!taken());
  enterProcessor(vcpu);
  assert.ok(taken());
});

test('runstate: the registered area says running while the vCPU runs, and times sum up to its age', () => {
  const d = make();
  const [vcpu] = d.domain.vcpus;
  assert.equal(d.domain.info.runstate.registerPhysical(vcpu, false, 0x5000n, 'native'), 0);
  enterProcessor(vcpu);
  d.time.pass(70n);
  const at = new DataView(d.domain.memory.bytes.buffer, d.domain.memory.page(5, false), 48);
  assert.equal(at.getUint32(0, true), 0);
  assert.equal(at.getBigUint64(8, true) >> 63n, 0n);
  vcpu.block();
  leaveProcessor(vcpu);
  d.time.pass(30n);
  const { state, time } = runstateOf(vcpu);
  assert.equal(state, 2);
  assert.deepEqual(time, [70n, 0n, 30n, 0n]);
  assert.equal(at.getUint32(0, true), 2);
});
