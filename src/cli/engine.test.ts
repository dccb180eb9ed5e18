import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makePvhKernel, u32 } from '../../tests/support/make-elf.ts';
import { buildPvh, openKernel } from '../toolstack/index.ts';
import { DEFAULT_VERSION } from '../xen/index.ts';
import { machine } from './engine.ts';
import type { RunObserver, RunPlan } from './machine.ts';

const BASE = 0x10_0000;
/** Shutdown for reason 5 (soft reset); when that returns, power off. */
const CODE = (() => {
  const shutdown = (argument: number): number[] => [
    ...[0xb8, ...u32(29)], // mov $29, %eax
    ...[0xbb, ...u32(2)], // mov $2, %ebx
    ...[0xb9, ...u32(argument)], // mov $argument, %ecx
    ...[0x0f, 0x01, 0xc1], // vmcall
  ];
  const data = BASE + 2 * shutdown(0).length + 1;
  return Uint8Array.from([...shutdown(data), ...shutdown(data + 4), 0xf4, ...u32(5), ...u32(0)]);
})();

const plan = (softReset: boolean): RunPlan => ({
  image: buildPvh({
    kernel: openKernel(makePvhKernel(CODE), () => undefined),
    memoryMib: 4,
    vcpus: 1,
    maxVcpus: 1,
    modules: [],
  }),
  name: 'g',
  uuid: '00000000-0000-4000-8000-000000000001',
  memoryMib: 4,
  maxMemoryMib: 4,
  xen: DEFAULT_VERSION,
  rules: {},
  engine: 'interpret',
  viridian: [],
  cpuid: [],
  forcedEmulation: false,
  softReset,
  trace: [],
});

const observer: RunObserver = {
  console: () => {},
  emergency: () => {},
  trace: () => {},
  poll: () => Promise.resolve(undefined),
  input: () => new Uint8Array(0),
  realTime: () => undefined,
  wait: () => Promise.resolve(),
};

test('soft reset: the guest goes on behind its shutdown call, or the run ends, as the configuration says', async () => {
  assert.equal((await machine.run(plan(true), observer, undefined)).reason, 0);
  assert.equal((await machine.run(plan(false), observer, undefined)).reason, 5);
});
