import assert from 'node:assert/strict';
import { test } from 'node:test';
import { vcpuId } from '../../base/int.ts';
import { TestDomain } from '../testing.ts';
import type { InterruptSinks } from './upcall.ts';

interface Log extends InterruptSinks {
  readonly lines: string[];
  enabled: boolean;
}
const sinks = (hasPlatformInterrupts = true): Log => {
  const lines: string[] = [];
  const log: Log = {
    lines,
    enabled: true,
    hasPlatformInterrupts,
    gsis: 48,
    lapicEnabled: () => log.enabled,
    lapicInject: (vcpu, vector) => lines.push(`lapic ${vcpu} ${vector}`),
    setGsi: (gsi, level) => lines.push(`gsi ${gsi} ${level}`),
    setIntx: (device, pin, level) => lines.push(`intx ${device} ${pin} ${level}`),
  };
  return log;
};
const make = (hasPlatform = true): { d: TestDomain; log: Log; ipi: (vcpu: number) => void } => {
  const d = new TestDomain();
  const log = sinks(hasPlatform);
  d.domain.upcalls.sinks = log;
  const ports = [d.domain.evtchn.bindIpi(0), d.domain.evtchn.bindIpi(1)];
  return { d, log, ipi: (vcpu) => d.domain.evtchn.send(ports[vcpu]) };
};

test('upcall vector: an edge into an enabled local APIC, repeated when the guest enables it', () => {
  const { d, log, ipi } = make();
  d.domain.upcalls.setUpcallVector(vcpuId(1), 0x40);
  log.enabled = false;
  ipi(1);
  assert.deepEqual(log.lines, []);
  d.domain.upcalls.lapicEnabled(vcpuId(1));
  assert.deepEqual(log.lines, ['lapic 1 64']);
});

test('callback vector: pending as long as upcall_pending is set, on every vCPU', () => {
  const { d, ipi } = make(false);
  d.domain.upcalls.setCallbackIrq((2n << 56n) | 0xf3n);
  assert.equal(d.domain.upcalls.pendingVector(vcpuId(1)), -1);
  ipi(1);
  assert.equal(d.domain.upcalls.pendingVector(vcpuId(1)), 0xf3);
  assert.equal(d.domain.upcalls.pendingVector(vcpuId(0)), -1);
});

test('callback GSI and INTx: the line follows upcall_pending of vCPU 0; ignored without platform interrupts', () => {
  const { d, log, ipi } = make();
  d.domain.upcalls.setCallbackIrq(9n);
  ipi(1);
  assert.deepEqual(log.lines, []);
  ipi(0);
  assert.deepEqual(log.lines, ['gsi 9 true']);
  d.domain.upcalls.setCallbackIrq((1n << 56n) | (3n << 11n) | 1n);
  assert.deepEqual(log.lines.slice(1), ['gsi 9 false', 'intx 3 1 true']);
  d.domain.info.vcpuInfo(vcpuId(0), 'toolstack', 'write').setUint8(0, 0);
  d.domain.upcalls.maybeDeassert();
  assert.deepEqual(log.lines.slice(3), ['intx 3 1 false']);
  const pvh = make(false);
  pvh.d.domain.upcalls.setCallbackIrq(9n);
  assert.equal(pvh.d.domain.upcalls.via.kind, 'none');
});

test('the dummy: one stuck selector bit holds back the upcall of every unregistered vCPU', () => {
  const d = new TestDomain({ config: { maxVcpus: 34 } });
  const { evtchn, info } = d.domain;
  let marks = 0;
  evtchn.send(evtchn.bindIpi(32));
  info.access.onAccess = ({ site }) => {
    if (site === 'vcpu_mark_events_pending') marks++;
  };
  evtchn.send(evtchn.bindIpi(33));
  assert.equal(marks, 0);
});
