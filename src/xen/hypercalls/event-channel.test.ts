import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  EACCES,
  EBUSY,
  EEXIST,
  EFAULT,
  EINVAL,
  ENOENT,
  ENOSPC,
  ENOSYS,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
} from '../../abi/xen/errno.ts';
import * as e from '../../abi/xen/event-channel.ts';
import type { Type } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_event_channel_op, DOMID_SELF, VIRQ_ARGO, VIRQ_CONSOLE, VIRQ_TIMER } from '../../abi/xen/xen.ts';
import { domId, port, vcpuId } from '../../base/int.ts';
import { connectService, toolstackEvents } from '../evtchn/host.ts';
import type { TestDomainOptions } from '../testing.ts';
import { NOWHERE, TestDomain } from '../testing.ts';
import { eventChannelOp } from './event-channel.ts';

const make = (options: TestDomainOptions = {}): TestDomain =>
  new TestDomain({ hypercalls: [eventChannelOp], ...options });
const op = <T>(d: TestDomain, command: number, type: Type<T>, value: T): unknown =>
  d.raw(__HYPERVISOR_event_channel_op, [BigInt(command), d.put(type, value)]);
const bindIpi = (d: TestDomain, vcpu = 0): number => {
  assert.equal(op(d, e.EVTCHNOP_bind_ipi, e.evtchn_bind_ipi, { vcpu, port: 0 }), 0);
  return d.get(e.evtchn_bind_ipi).port;
};
const loopback = (d: TestDomain): number => {
  assert.equal(
    op(d, e.EVTCHNOP_alloc_unbound, e.evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: DOMID_SELF, port: 0 }),
    0,
  );
  return d.get(e.evtchn_alloc_unbound).port;
};
const initControl = (d: TestDomain, gfn: bigint, offset = 0, vcpu = 0): unknown =>
  op(d, e.EVTCHNOP_init_control, e.evtchn_init_control, {
    control_gfn: gfn,
    offset,
    vcpu,
    link_bits: 0,
    pad: new Uint8Array(7),
  });

test('event_channel_op: unknown operations are ENOSYS, unreadable arguments EFAULT', () => {
  const d = make();
  assert.equal(d.raw(__HYPERVISOR_event_channel_op, [99n, NOWHERE]), -ENOSYS);
  assert.equal(d.raw(__HYPERVISOR_event_channel_op, [BigInt(e.EVTCHNOP_send), NOWHERE]), -EFAULT);
});

test('EVTCHNOP_alloc_unbound: ESRCH for unknown domains, lowest free port, ENOSPC at the limit', () => {
  const d = make({ config: { maxEventChannels: 2 } });
  assert.equal(op(d, e.EVTCHNOP_alloc_unbound, e.evtchn_alloc_unbound, { dom: 77, remote_dom: 0, port: 0 }), -ESRCH);
  assert.equal(loopback(d), 1);
  assert.equal(loopback(d), 2);
  assert.equal(
    op(d, e.EVTCHNOP_alloc_unbound, e.evtchn_alloc_unbound, { dom: DOMID_SELF, remote_dom: 0, port: 0 }),
    -ENOSPC,
  );
  assert.equal(op(d, e.EVTCHNOP_close, e.evtchn_close, { port: 1 }), 0);
  assert.equal(loopback(d), 1);
});

test('EVTCHNOP_bind_interdomain: ESRCH, then EINVAL, then a loopback that starts pending', () => {
  const d = make();
  const bind = (remote_dom: number, remote_port: number): unknown =>
    op(d, e.EVTCHNOP_bind_interdomain, e.evtchn_bind_interdomain, { remote_dom, remote_port, local_port: 0 });
  assert.equal(bind(77, 1), -ESRCH);
  assert.equal(bind(DOMID_SELF, 1), -EINVAL);
  const unbound = loopback(d);
  assert.equal(bind(DOMID_SELF, unbound), 0);
  const local = d.get(e.evtchn_bind_interdomain).local_port;
  assert.ok(d.domain.info.testPending(port(local)));
  assert.ok(!d.domain.info.testPending(port(unbound)));
  assert.equal(op(d, e.EVTCHNOP_send, e.evtchn_send, { port: local }), 0);
  assert.ok(d.domain.info.testPending(port(unbound)));
  assert.equal(op(d, e.EVTCHNOP_close, e.evtchn_close, { port: local }), 0);
  assert.equal(d.domain.evtchn.channel(unbound)?.state.kind, 'unbound');
  assert.ok(d.domain.info.testPending(port(unbound)), 'the peer keeps its pending bit');
});

test('EVTCHNOP_bind_virq: EINVAL number, EINVAL vCPU of a domain VIRQ, ENOENT, EBUSY global, EEXIST, in this order', () => {
  const d = make();
  const bind = (virq: number, vcpu: number): unknown =>
    op(d, e.EVTCHNOP_bind_virq, e.evtchn_bind_virq, { virq, vcpu, port: 0 });
  assert.equal(bind(24, 99), -EINVAL);
  assert.equal(bind(VIRQ_ARGO, 99), -EINVAL);
  assert.equal(bind(VIRQ_TIMER, 99), -ENOENT);
  assert.equal(bind(VIRQ_CONSOLE, 0), -EBUSY);
  assert.equal(bind(VIRQ_TIMER, 1), 0);
  assert.equal(bind(VIRQ_TIMER, 1), -EEXIST);
  assert.equal(d.domain.evtchn.channel(1)?.notify, 1);
  assert.equal(make({ version: '4.20' }).domain.evtchn.bindVirq(VIRQ_CONSOLE, 0), 1);
});

test('EVTCHNOP_bind_pirq: EINVAL without pirqs', () => {
  assert.equal(op(make(), e.EVTCHNOP_bind_pirq, e.evtchn_bind_pirq, { pirq: 0, flags: 0, port: 0 }), -EINVAL);
});

test('EVTCHNOP_bind_ipi: ENOENT for a vCPU that does not exist', () => {
  assert.equal(op(make(), e.EVTCHNOP_bind_ipi, e.evtchn_bind_ipi, { vcpu: 2, port: 0 }), -ENOENT);
});

test('EVTCHNOP_close: EINVAL for port 0, free ports and ports never reached', () => {
  const d = make();
  for (const bad of [0, 5, 5000]) assert.equal(op(d, e.EVTCHNOP_close, e.evtchn_close, { port: bad }), -EINVAL);
});

test('EVTCHNOP_send: drops on unbound ports, EINVAL on VIRQs, delivers IPIs to their vCPU', () => {
  const d = make();
  const send = (p: number): unknown => op(d, e.EVTCHNOP_send, e.evtchn_send, { port: p });
  assert.equal(send(900), -EINVAL);
  assert.equal(send(loopback(d)), 0);
  const ipi = bindIpi(d, 1);
  assert.equal(send(ipi), 0);
  assert.ok(d.domain.info.upcallPending(vcpuId(1), 'toolstack'));
  assert.ok(!d.domain.info.upcallPending(vcpuId(0), 'toolstack'));
  const virq = d.domain.evtchn.bindVirq(VIRQ_TIMER, 0);
  assert.equal(send(virq), -EINVAL);
});

test('EVTCHNOP_status: ESRCH, EINVAL, then kind, details and vCPU', () => {
  const d = make();
  const status = (dom: number, p: number): unknown =>
    op(d, e.EVTCHNOP_status, e.evtchn_status, {
      dom,
      port: p,
      status: 9,
      vcpu: 9,
      u: { unbound: { dom: 0 }, interdomain: { dom: 0, port: 0 }, pirq: 0, virq: 0 },
    });
  assert.equal(status(77, 0), -ESRCH);
  assert.equal(status(DOMID_SELF, 5000), -EINVAL);
  assert.equal(status(DOMID_SELF, 0), 0);
  assert.equal(d.get(e.evtchn_status).status, e.EVTCHNSTAT_closed);
  assert.equal(status(1, loopback(d)), 0);
  assert.equal(d.get(e.evtchn_status).u.unbound?.dom, 1);
  assert.equal(status(DOMID_SELF, bindIpi(d, 1)), 0);
  assert.deepEqual([d.get(e.evtchn_status).status, d.get(e.evtchn_status).vcpu], [e.EVTCHNSTAT_ipi, 1]);
});

test('EVTCHNOP_bind_vcpu: ENOENT before EINVAL; IPIs and per-vCPU VIRQs stay where they are', () => {
  const d = make();
  const bind = (p: number, vcpu: number): unknown => op(d, e.EVTCHNOP_bind_vcpu, e.evtchn_bind_vcpu, { port: p, vcpu });
  assert.equal(bind(5000, 9), -ENOENT);
  assert.equal(bind(5000, 1), -EINVAL);
  assert.equal(bind(bindIpi(d), 1), -EINVAL);
  assert.equal(bind(d.domain.evtchn.bindVirq(VIRQ_TIMER, 0), 1), -EINVAL);
  assert.equal(bind(loopback(d), 1), 0);
});

test('EVTCHNOP_unmask: EINVAL only for ports never reached; a pending event is delivered', () => {
  const d = make();
  const unmask = (p: number): unknown => op(d, e.EVTCHNOP_unmask, e.evtchn_unmask, { port: p });
  assert.equal(unmask(5000), -EINVAL);
  assert.equal(unmask(0), 0);
  assert.equal(unmask(9), 0);
  const ipi = bindIpi(d);
  d.domain.info.setMask(port(ipi), true);
  d.domain.evtchn.send(ipi);
  assert.ok(!d.domain.info.upcallPending(vcpuId(0), 'toolstack'));
  assert.equal(unmask(ipi), 0);
  assert.ok(d.domain.info.upcallPending(vcpuId(0), 'toolstack'));
});

test('EVTCHNOP_init_control: ENOENT, EINVAL for offset, alignment and frame; a failure leaves the 2-level ABI', () => {
  const d = make();
  assert.equal(initControl(d, 2n, 4032, 9), -ENOENT);
  assert.equal(initControl(d, 2n, 4032), -EINVAL);
  assert.equal(initControl(d, 2n, 4), -EINVAL);
  assert.equal(initControl(d, 0x700n), -EINVAL);
  assert.equal(op(d, e.EVTCHNOP_expand_array, e.evtchn_expand_array, { array_gfn: 3n }), -EOPNOTSUPP);
  assert.equal(initControl(d, 2n), 0);
  assert.equal(d.get(e.evtchn_init_control).link_bits, 17);
  assert.equal(initControl(d, 2n), -EINVAL);
});

test('EVTCHNOP_set_priority: EINVAL port, ENOSYS for 2-level, EACCES for port 0, EINVAL priority', () => {
  const d = make();
  const set = (p: number, priority: number): unknown =>
    op(d, e.EVTCHNOP_set_priority, e.evtchn_set_priority, { port: p, priority });
  assert.equal(set(5000, 99), -EINVAL);
  assert.equal(set(0, 99), -ENOSYS);
  assert.equal(initControl(d, 2n), 0);
  assert.equal(set(0, 99), -EACCES);
  assert.equal(set(bindIpi(d), 16), -EINVAL);
});

test('FIFO: events queue by priority, a word that arrives late keeps them, a vCPU without control block loses them', () => {
  const d = make();
  const { evtchn, memory } = d.domain;
  const a = bindIpi(d);
  const b = bindIpi(d);
  const lost = bindIpi(d, 1);
  assert.equal(initControl(d, 2n), 0);
  evtchn.send(a);
  assert.equal(op(d, e.EVTCHNOP_expand_array, e.evtchn_expand_array, { array_gfn: 3n }), 0);
  evtchn.send(b);
  const control = new DataView(memory.bytes.buffer, memory.page(2, false));
  const words = new DataView(memory.bytes.buffer, memory.page(3, false));
  assert.equal(control.getUint32(0, true), 1 << 7);
  assert.equal(control.getUint32(8 + 7 * 4, true), a);
  assert.equal(words.getUint32(a * 4, true) & e.EVTCHN_FIFO_LINK_MASK, b);
  assert.ok(d.domain.info.upcallPending(vcpuId(0), 'toolstack'));
  evtchn.send(lost);
  assert.equal(evtchn.poll(lost), false);
  evtchn.close(b);
  assert.notEqual(bindIpi(d), b, 'a port still linked is not reused');
});

test('EVTCHNOP_reset: ESRCH, then closes everything and returns to the 2-level ABI', () => {
  const d = make();
  bindIpi(d);
  initControl(d, 2n);
  assert.equal(op(d, e.EVTCHNOP_reset, e.evtchn_reset, { dom: 77 }), -ESRCH);
  assert.equal(op(d, e.EVTCHNOP_reset, e.evtchn_reset, { dom: DOMID_SELF }), 0);
  assert.equal([...d.domain.evtchn.bound()].length, 0);
  assert.equal(d.domain.evtchn.expandArray(3), -EOPNOTSUPP);
});

test('toolstack services: the guest finds its port bound and its sends reach the consumer', () => {
  let heard = 0;
  const d = make();
  const guest = d.domain.evtchn;
  const control = toolstackEvents(domId(0), () => guest);
  const ends = connectService(guest, control, () => heard++);
  assert.equal(guest.channel(ends.guest)?.state.kind, 'interdomain');
  heard = 0;
  assert.equal(guest.send(ends.guest), 0);
  assert.equal(heard, 1);
  control.notifyPeer(ends.toolstack);
  assert.equal(guest.poll(ends.guest), true);
  assert.equal(guest.status(domId(0), 1), -ESRCH);
  assert.equal(control.status(domId(1), 1), -EPERM);
});
