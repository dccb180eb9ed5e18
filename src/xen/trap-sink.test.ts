import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EPERM } from '../abi/xen/errno.ts';
import { __HYPERVISOR_sched_op } from '../abi/xen/xen.ts';
import * as STATE from '../cpu/state.ts';
import { CpuidPolicy } from './cpuid-policy.ts';
import type { Entry, Result } from './hypercall.ts';
import { again, block, crash, full, HypercallTable, hypercall } from './hypercall.ts';
import { TestDomain } from './testing.ts';
import { HvmTrapSink, type VcpuDevices } from './trap-sink.ts';

const RAX = STATE.gpr(STATE.RAX);
const RBX = STATE.gpr(STATE.RBX);
const RDI = STATE.gpr(STATE.RDI);

function make(handler: () => Result = () => 0) {
  const t = new TestDomain();
  const seen: { width: string; args: readonly bigint[] }[] = [];
  const entry: Entry = full({ guests: 'all' }, (context) => {
    seen.push({ width: context.width, args: context.args });
    return handler();
  });
  const table = new HypercallTable([hypercall(__HYPERVISOR_sched_op, 'test', entry)]);
  for (const vcpu of t.domain.vcpus) vcpu.tscOffset = 5n;
  const devices = t.domain.vcpus.map((vcpu) => ({ vcpu }) as VcpuDevices);
  const sink = new HvmTrapSink(t.domain, table, new CpuidPolicy(), devices);
  const cpu = t.cpu(0);
  cpu.set64(RAX, BigInt(__HYPERVISOR_sched_op));
  return { t, cpu, seen, sink, call: (kind: 0 | 1 = 0) => sink.hypercall({ id: 0 } as never, kind) };
}

test('VMCALL: EPERM in virtual-8086 mode and outside supervisor mode; real mode is accepted', () => {
  const { cpu, call, seen } = make();
  cpu.virtual8086 = true;
  assert.equal(call(), 'next');
  assert.equal(cpu.get64(RAX), BigInt.asUintN(64, BigInt(-EPERM)));
  cpu.virtual8086 = false;
  cpu.cpl = 3;
  cpu.set64(RAX, 29n);
  call();
  assert.equal(seen.length, 0);
  cpu.protectedMode = false;
  cpu.code64 = false;
  cpu.set64(RAX, 29n);
  call();
  assert.equal(seen.length, 1);
});

test('VMMCALL: #UD on an Intel processor', () => {
  assert.equal(make().call(1), 'undefined');
});

test('VMCALL: 64-bit code passes whole registers, other code their lower halves', () => {
  const { cpu, call, seen } = make(() => -22);
  cpu.set64(RDI, 0x1_0000_0001n);
  call();
  assert.deepEqual([seen[0].width, seen[0].args[0]], ['native', 0x1_0000_0001n]);
  assert.equal(cpu.get64(RAX), BigInt.asUintN(64, -22n));
  cpu.code64 = false;
  cpu.set64(RAX, 29n | (1n << 32n));
  cpu.set64(RBX, 0x1_0000_0002n);
  call();
  assert.deepEqual([seen[1].width, seen[1].args[0]], ['compat', 2n]);
  assert.equal(cpu.get64(RAX), 0xffff_ffean);
});

test('VMCALL: outcomes are a value for later, another try, or the end of the domain', () => {
  const blocking = make(() => block(7));
  assert.equal(blocking.call(), 'next');
  assert.equal(blocking.cpu.get64(RAX), 7n);
  const continuing = make(() => again(9n));
  assert.equal(continuing.call(), 'again');
  assert.deepEqual([continuing.cpu.get64(RDI), continuing.cpu.get64(RAX)], [9n, 29n]);
  const crashing = make(() => crash('broken'));
  crashing.call();
  assert.deepEqual(crashing.t.domain.shutdownState, { reason: 3, message: 'broken' });
});

test('triple fault: the domain shuts down for the reason its parameter gives', () => {
  const { t, sink } = make();
  t.domain.hvmParams[31] = 1n;
  sink.tripleFault({ id: 0 } as never);
  assert.equal(t.domain.shutdownState?.reason, 1);
});

test('RDTSC: nanoseconds of system time plus the offset of the vCPU', () => {
  const { t, sink } = make();
  assert.equal(sink.readTsc({ id: 0 } as never), t.domain.now() + 5n);
});

test('HLT: down for good without interrupts, blocked with', () => {
  const { t, sink } = make();
  t.start(1);
  sink.halt({ id: 1 } as never, true);
  assert.equal(t.domain.vcpus[1].isOnline, true);
  assert.equal(t.domain.vcpus[1].isRunnable, false);
  sink.halt({ id: 0 } as never, false);
  assert.equal(t.domain.vcpus[0].isOnline, false);
});
