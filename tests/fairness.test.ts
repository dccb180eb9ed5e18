/**
 * Guests that never stop asking: no vCPU starves another, and the host always gets the machine back. The guests are a few instructions each, put
 * together here: the first vCPU brings up all others by VCPUOP_initialise, then every vCPU does the same thing for ever.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '../src/abi/xen/struct.ts';
import { vcpu_hvm_x86_32 } from '../src/abi/xen/vcpu-hvm-context.ts';
import { Machine, type MachineOptions } from '../src/index.ts';
import { makePvhKernel, u32 } from './support/make-elf.ts';

/** The body of every vCPU starts here, with its number in eax; flat 32-bit code, interrupts off. */
const BODY = 0x100800;
const CONTEXT = 0x100400;
const CONTEXT_EAX = 8;
/** Each vCPU has 64 bytes of its own from here on. */
const OWN = 0x200000;

const vmcall = [0x0f, 0x01, 0xc1];
const movEax = (value: number): number[] => [0xb8, ...u32(value)];
const movEbx = (value: number): number[] => [0xbb, ...u32(value)];
const movEdx = (value: number): number[] => [0xba, ...u32(value)];
/** Repeats instructions for ever. */
const forever = (...code: number[]): number[] => [...code, 0xeb, 256 - code.length - 2];

/** edi = place of this vCPU's own, [edi] = its number. */
const own = [0x89, 0xc7, 0xc1, 0xe7, 6, 0x81, 0xc7, ...u32(OWN), 0x89, 0x07];
const EVTCHNOP_bind_ipi = 7;
const EVTCHNOP_send = 4;
const eventOp = (operation: number): number[] => [...movEax(32), ...movEbx(operation), 0x89, 0xf9, ...vmcall];

const BODIES = {
  'spins without a pause': forever(0x41),
  'makes hypercalls': forever(...movEax(17), ...movEbx(0), ...vmcall),
  'makes hypercalls that do not exist': forever(...movEax(99), ...vmcall),
  /** Spurious-vector register: enabled; then interrupt commands to itself, fixed, vector 0x40. */
  'sends itself interrupts': [
    ...[0xc7, 0x05, ...u32(0xfee0_00f0), ...u32(0x1ff)],
    ...forever(0xc7, 0x05, ...u32(0xfee0_0300), ...u32(0x4_4040)),
  ],
  /** A port for events to itself, its number from the answer to the front of the argument; then one event after the other. */
  'sends itself events': [
    ...own,
    ...eventOp(EVTCHNOP_bind_ipi),
    ...[0x8b, 0x47, 4, 0x89, 0x07],
    ...forever(...eventOp(EVTCHNOP_send)),
  ],
  /** sched_op yield. */
  'gives way all the time': forever(...movEax(29), ...movEbx(0), ...vmcall),
} as const;

function guest(vcpus: number, body: readonly number[]): Uint8Array {
  const code = new Uint8Array(0x1000);
  const vcpuOp = (operation: number): number[] => [
    ...movEax(24),
    ...movEbx(operation),
    ...[0x89, 0xf1],
    ...movEdx(CONTEXT),
    ...vmcall,
  ];
  const bringUp = [0x89, 0x35, ...u32(CONTEXT + CONTEXT_EAX), ...vcpuOp(0), ...vcpuOp(1), 0x46];
  const start = [0xbe, ...u32(1)];
  // cmp esi, vcpus; jae to behind the loop
  const test = [0x81, 0xfe, ...u32(vcpus), 0x73, bringUp.length + 2];
  const loop = [...test, ...bringUp, 0xeb, 256 - test.length - bringUp.length - 2];
  const head = [...start, ...loop, 0x31, 0xc0];
  code.set([...head, 0xe9, ...u32(BODY - (0x100000 + head.length + 5))]);
  code.set(
    encode(
      vcpu_hvm_x86_32,
      {
        ...{ mode: 0, pad: 0, eax: 0, ecx: 0, edx: 0, ebx: 0, esp: 0, ebp: 0, esi: 0, edi: 0, eip: BODY, eflags: 0 },
        ...{ cr0: 0x11, cr3: 0, cr4: 0, pad1: 0, efer: 0n, pad2: [0, 0, 0] },
        base: [0, 0, 0, 0, 0],
        limit: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x67],
        attributes: [0xc9b, 0xc93, 0xc93, 0xc93, 0x8b],
      },
      'native',
    ),
    CONTEXT - 0x100000,
  );
  code.set(body, BODY - 0x100000);
  return makePvhKernel(code);
}

/** Runs until all vCPUs are up, then for `rounds` slices of each; what each of them executed in that time. */
function shares(
  vcpus: number,
  body: readonly number[],
  rounds: number,
  schedule: NonNullable<MachineOptions['schedule']>,
): number[] {
  const machine = new Machine(guest(vcpus, body), { vcpus, memory: 8, schedule });
  const slice = schedule.slice!;
  const { domain } = machine.control.machine;
  for (let n = 0; n < 200 && !domain.vcpus.every((vcpu) => vcpu.isOnline); n++)
    assert.equal(machine.run({ instructions: 2000 }).kind, 'paused');
  assert.ok(
    domain.vcpus.every((vcpu) => vcpu.isOnline),
    'all vCPUs are up',
  );
  // A first interrupt may end a first slice early: everybody has been there before it counts.
  machine.run({ instructions: 2 * vcpus * slice });
  const before = [...machine.vcpuInstructions];
  // The limit is kept to the instruction, whatever the guest does.
  const { instructions } = machine;
  assert.equal(machine.run({ instructions: rounds * vcpus * slice }).kind, 'paused');
  assert.equal(machine.instructions, instructions + rounds * vcpus * slice);
  assert.equal(domain.shutdownState, undefined);
  return machine.vcpuInstructions.map((count, n) => count - before[n]!);
}

const spread = (counts: readonly number[]): number => Math.max(...counts) - Math.min(...counts);

for (const [name, body] of Object.entries(BODIES)) {
  test(`128 vCPUs, each of which ${name}: shares are within a slice of each other`, () => {
    const slice = 500;
    const counts = shares(128, body, 4, { slice });
    assert.ok(spread(counts) <= slice, `from ${Math.min(...counts)} to ${Math.max(...counts)}`);
    assert.ok(Math.min(...counts) >= 3 * slice);
  });
}

test('four vCPUs spinning: shares are within a slice of each other for other lengths of slices', () => {
  for (const slice of [1, 7, 1000, 20_000]) {
    const counts = shares(4, BODIES['spins without a pause'], 10, { slice });
    assert.ok(spread(counts) <= slice, `slice ${slice}: ${counts.join()}`);
  }
});

test('four vCPUs spinning: nobody starves when slices vary at random, whatever the seed', () => {
  for (const seed of [1, 2, 3]) {
    const counts = shares(4, BODIES['spins without a pause'], 200, { slice: 1000, seed });
    const mean = counts.reduce((a, b) => a + b) / 4;
    assert.ok(spread(counts) < mean / 4, `seed ${seed}: ${counts.join()}`);
  }
});

test('a vCPU that floods with hypercalls does not slow one that spins', () => {
  // vCPU 0 floods, the others spin: by number.
  const flood = forever(...movEax(17), ...movEbx(0), ...vmcall);
  const mixed = [0x85, 0xc0, 0x75, flood.length, ...flood, ...forever(0x41)];
  const counts = shares(4, mixed, 20, { slice: 1000 });
  assert.ok(spread(counts) <= 1000, counts.join());
});
