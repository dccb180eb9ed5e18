import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ulong } from '../../../abi/xen/struct.ts';
import { __HYPERVISOR_set_gdt } from '../../../abi/xen/xen.ts';
import * as S from '../../../cpu/state.ts';
import { CODE, PvBench, READ_ONLY, STACK, USER_CODE, USER_STACK } from '../testing.ts';

const NP = 11,
  GP = 13;
const TARGET = 0x6c00;
const GATE = 0x28;

interface GateOptions {
  readonly dpl?: number;
  readonly present?: boolean;
  readonly parameters?: number;
  readonly selector?: number;
}

/** A guest whose GDT has a call gate to {@link TARGET} at {@link GATE}. */
function withGate({ dpl = 3, present = true, parameters = 0, selector = 0xe019 }: GateOptions = {}): PvBench {
  const bench = new PvBench(32).start();
  const low = ((selector << 16) | TARGET) >>> 0;
  const high = ((present ? 0x8000 : 0) | (dpl << 13) | 0xc00 | parameters) >>> 0;
  const raw = new Uint8Array(8);
  new DataView(raw.buffer).setUint32(0, low, true);
  new DataView(raw.buffer).setUint32(4, high, true);
  bench.write(READ_ONLY + BigInt(GATE), raw);
  bench.put(ulong, BigInt(bench.mfns[Number(READ_ONLY >> 12n)]));
  assert.equal(bench.call(__HYPERVISOR_set_gdt, 0x5000, 6), 0);
  bench.handle(GP);
  bench.handle(NP);
  return bench;
}

const farCall = (selector: number): number[] => [0x9a, 0, 0, 0, 0, selector & 0xff, selector >> 8];
const farJump = (selector: number): number[] => [0xea, 0, 0, 0, 0, selector & 0xff, selector >> 8];

test('call gate: from ring 3 the kernel runs on its own stack with ss, esp, cs and eip', () => {
  const bench = withGate();
  bench.write(USER_CODE, farCall(GATE | 3));
  bench.enterUser();
  bench.run(1);
  assert.equal(bench.cpu.rip, BigInt(TARGET));
  assert.equal(bench.cpu.cpl, 1);
  assert.equal(bench.rsp, STACK - 16n);
  assert.deepEqual(bench.words(bench.rsp, 4), [BigInt(USER_CODE + 7), 0xe02bn, USER_STACK, 0xe033n]);
});

test('call gate: parameters are copied between the stacks', () => {
  const bench = withGate({ parameters: 2 });
  bench.write(USER_CODE, farCall(GATE | 3));
  bench.enterUser();
  bench.set(S.RSP, USER_STACK - 8n);
  bench.write(USER_STACK - 8n, [1, 0, 0, 0, 2, 0, 0, 0]);
  bench.run(1);
  assert.deepEqual(bench.words(bench.rsp, 6), [BigInt(USER_CODE + 7), 0xe02bn, 1n, 2n, USER_STACK - 8n, 0xe033n]);
});

test('call gate: from ring 1 on the same stack; a jump pushes nothing; through memory too', () => {
  const bench = withGate();
  bench.write(CODE, farCall(GATE));
  bench.run(1);
  assert.equal(bench.cpu.rip, BigInt(TARGET));
  assert.deepEqual(bench.words(STACK - 8n, 2), [BigInt(CODE + 7), 0xe019n]);
  const jump = withGate();
  jump.write(CODE, farJump(GATE));
  jump.run(1);
  assert.deepEqual([jump.cpu.rip, jump.rsp], [BigInt(TARGET), STACK]);
  const indirect = withGate();
  indirect.write(CODE, [0xff, 0x1b]);
  indirect.write(0x5100, [0, 0, 0, 0, GATE, 0]);
  indirect.set(S.RBX, 0x5100);
  indirect.run(1);
  assert.equal(indirect.cpu.rip, BigInt(TARGET));
  assert.deepEqual(indirect.words(STACK - 8n, 2), [BigInt(CODE + 2), 0xe019n]);
});

test('call gate: too low a DPL is #GP, an absent gate #NP, a selector that is no gate #GP', () => {
  const cases = [
    [withGate({ dpl: 1 }), farCall(GATE | 3), GP, BigInt(GATE)],
    [withGate({ present: false }), farCall(GATE | 3), NP, BigInt(GATE)],
    [withGate(), farCall(0x13), GP, 0x10n],
    [withGate(), farCall(0xe018), GP, 0xe018n],
  ] as const;
  for (const [bench, bytes, vector, code] of cases) {
    bench.write(USER_CODE, bytes);
    bench.enterUser();
    bench.run(1);
    assert.equal(bench.cpu.rip, bench.vcpu.traps.address[vector]);
    assert.deepEqual(bench.words(bench.rsp, 2), [code, BigInt(USER_CODE)]);
  }
});

test('call gate: a kernel stack that is not there is the page fault of the push', () => {
  const bench = withGate();
  const handler = bench.handle(14);
  bench.write(USER_CODE, farCall(GATE | 3));
  bench.enterUser();
  bench.vcpu.kernelSp = 0x11_010n;
  bench.run(1);
  assert.notEqual(bench.cpu.rip, handler, 'its own frame has no place either');
  assert.match(bench.crash ?? '', /cannot be written/);
});
