import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { GP, NP, SSV, UD } from './fault.ts';
import { Bench, CODE, CODE0, CODE3, DATA0, DATA3, descriptor, FREE, HANDLERS, STACK0, STACK3 } from './testing.ts';

const TARGET = 0xa000;
const farPointer = (offset: number, selector: number): number[] => [
  offset & 0xff,
  (offset >> 8) & 0xff,
  (offset >> 16) & 0xff,
  offset >>> 24,
  selector & 0xff,
  selector >> 8,
];
const jump = (selector: number, offset = TARGET): number[] => [0xea, ...farPointer(offset, selector)];
const call = (selector: number, offset = TARGET): number[] => [0x9a, ...farPointer(offset, selector)];

const faultOf = (b: Bench, bytes: number[]): { vector: number; code: number } | undefined => {
  for (const vector of [UD, NP, SSV, GP]) b.gate(vector);
  const user = b.cpu.cpl === 3;
  b.execute(bytes);
  const vector = (Number(b.cpu.rip) - HANDLERS) / 16;
  if (vector < 0 || vector > 15) return undefined;
  return { vector, code: b.read32(b.cpu.longMode ? STACK0 - 48 : STACK0 - (user ? 24 : 16)) };
};

test('JMP far: loads CS and the offset', () => {
  const b = new Bench().protect();
  b.execute(jump(CODE0));
  assert.deepEqual([b.cpu.rip, b.selector(S.CS)], [BigInt(TARGET), CODE0]);
});

test('CALL far and RETF: push and pop CS and the offset', () => {
  const b = new Bench().protect();
  b.bytes(TARGET, [0xca, 8, 0]);
  b.execute(call(CODE0), 1);
  assert.deepEqual(b.dwords(STACK0 - 8, 2), [CODE + 7, CODE0]);
  b.cpu.run(1);
  assert.deepEqual([b.cpu.rip, b.cpu.gpr(S.RSP)], [BigInt(CODE + 7), BigInt(STACK0 + 8)]);
});

const jumps: [string, number, [number, number], number, { vector: number; code: number }][] = [
  ['a null selector', 0, [0, 0], TARGET, { vector: GP, code: 0 }],
  ['a selector outside the table', 0x1000, [0, 0], TARGET, { vector: GP, code: 0x1000 }],
  ['data', DATA0, [0, 0], TARGET, { vector: GP, code: DATA0 }],
  ['less privileged code', CODE3, [0, 0], TARGET, { vector: GP, code: CODE3 & ~3 }],
  ['absent code', FREE, descriptor(0, 0xf_ffff, 0x1b, 0xc), TARGET, { vector: NP, code: FREE }],
  ['an offset outside the segment', FREE, descriptor(0, 0xfff, 0x9b, 0x4), TARGET, { vector: GP, code: 0 }],
];
for (const [name, selector, words, offset, expected] of jumps)
  test(`JMP far: to ${name} faults`, () => {
    const b = new Bench().protect();
    if (selector === FREE) b.describe(FREE, words);
    assert.deepEqual(faultOf(b, jump(selector, offset)), expected);
  });

test('JMP far: conforming code keeps the privilege level', () => {
  const b = new Bench().protect(3);
  b.describe(FREE, descriptor(0, 0xf_ffff, 0x9f, 0xc));
  b.execute(jump(FREE));
  assert.deepEqual([b.cpu.rip, b.selector(S.CS), b.cpu.cpl], [BigInt(TARGET), FREE | 3, 3]);
});

test('JMP far: real mode moves CS by 16 bytes a step', () => {
  const b = new Bench().real();
  b.execute([0xea, 0x34, 0x12, 0x00, 0x01]);
  assert.deepEqual([b.cpu.rip, b.cpu.get64(S.CS_BASE)], [0x1234n, 0x1000n]);
});

test('CALL far: a call gate switches stacks and copies parameters, RETF undoes both', () => {
  const b = new Bench().protect(3);
  b.describe(FREE, [((CODE0 << 16) | TARGET) >>> 0, 0xec02]);
  b.write32(STACK3, 0x1111);
  b.write32(STACK3 + 4, 0x2222);
  b.bytes(TARGET, [0xca, 8, 0]);
  b.execute(call(FREE, 0x1234_5678));
  assert.deepEqual([b.cpu.rip, b.cpu.cpl, b.selector(S.SS)], [BigInt(TARGET), 0, DATA0]);
  assert.deepEqual(b.dwords(STACK0 - 24, 6), [CODE + 7, CODE3, 0x1111, 0x2222, STACK3, DATA3]);
  b.cpu.run(1);
  assert.deepEqual([b.cpu.rip, b.cpu.cpl, b.cpu.gpr(S.RSP)], [BigInt(CODE + 7), 3, BigInt(STACK3 + 8)]);
  // Data segments of the inner level would be dropped; these were of the outer one.
  assert.equal(b.selector(S.DS), DATA3);
});

test('CALL far: a 64-bit call gate pushes four quadwords', () => {
  const b = new Bench().long(3);
  b.describe(FREE, [((CODE0 << 16) | TARGET) >>> 0, 0xec00]);
  b.describe(FREE + 8, [0, 0]);
  b.bytes(0x5000, farPointer(0, FREE));
  b.cpu.setGpr(S.RAX, 0x5000n);
  b.execute([0xff, 0x18]);
  assert.deepEqual([b.cpu.rip, b.cpu.cpl, b.selector(S.SS)], [BigInt(TARGET), 0, 0]);
  assert.deepEqual(b.quads(STACK0 - 32, 4), [BigInt(CODE + 2), BigInt(CODE3), BigInt(STACK3), BigInt(DATA3)]);
});

test('CALL far: a gate above its DPL is #GP with the gate', () => {
  const b = new Bench().protect(3);
  b.describe(FREE, [((CODE0 << 16) | TARGET) >>> 0, 0x8c00]);
  assert.deepEqual(faultOf(b, call(FREE)), { vector: GP, code: FREE });
});

/** Writes an interrupt frame of dwords or quadwords at the ring-0 stack. */
const frame = (b: Bench, values: readonly number[]): void => {
  values.forEach((value, n) => {
    if (b.cpu.longMode) b.write64(STACK0 + 8 * n, BigInt(value));
    else b.write32(STACK0 + 4 * n, value);
  });
};

test('IRET: to user code loads SS:ESP and drops inner data segments', () => {
  const b = new Bench().protect();
  b.cpu.setSegment(S.FS, DATA3, 0n, 0xffff_ffff, 0xc0f3);
  frame(b, [TARGET, CODE3, S.IF | S.IOPL | S.CF | 2, STACK3, DATA3]);
  b.execute([0xcf]);
  assert.deepEqual([b.cpu.rip, b.cpu.cpl, b.cpu.gpr(S.RSP)], [BigInt(TARGET), 3, BigInt(STACK3)]);
  assert.equal(b.cpu.eflags, S.IF | S.IOPL | S.CF | 2);
  assert.deepEqual([b.selector(S.DS), b.selector(S.FS), b.selector(S.SS)], [0, DATA3, DATA3]);
});

test('IRET: user code cannot change IOPL, nor IF above it', () => {
  const b = new Bench().protect(3);
  [TARGET, CODE3, S.IF | S.IOPL | S.CF | 2].forEach((value, n) => {
    b.write32(STACK3 + 4 * n, value);
  });
  b.execute([0xcf]);
  assert.deepEqual([b.cpu.rip, b.cpu.eflags], [BigInt(TARGET), S.CF | 2]);
});

test('IRETQ: pops SS:RSP at the same level and allows a null SS', () => {
  const b = new Bench().long();
  frame(b, [TARGET, CODE0, 2, 0x5000, 0]);
  b.execute([0x48, 0xcf]);
  assert.deepEqual([b.cpu.rip, b.cpu.gpr(S.RSP), b.selector(S.SS)], [BigInt(TARGET), 0x5000n, 0]);
});

test('IRETQ: unblocks NMIs; a return address that is not canonical is #GP(0)', () => {
  const b = new Bench().long();
  b.cpu.set32(S.NMI_BLOCKED, 1);
  frame(b, [0, CODE0, 2, 0x5000, DATA0]);
  b.write64(STACK0, 0x8000_0000_0000n);
  assert.deepEqual(faultOf(b, [0x48, 0xcf]), { vector: GP, code: 0 });
  assert.equal(b.cpu.get32(S.NMI_BLOCKED), 0);
});

test('IRET: NT is #GP(0) in long mode', () => {
  const b = new Bench().long();
  b.cpu.eflags = S.NT | 2;
  assert.deepEqual(faultOf(b, [0x48, 0xcf]), { vector: GP, code: 0 });
});

const syscallBench = (level: 0 | 3): Bench => {
  const b = new Bench().long(level);
  b.cpu.set64(S.STAR, 0x0020_0008_0000_0000n);
  b.cpu.set64(S.LSTAR, BigInt(TARGET));
  b.cpu.set64(S.SFMASK, BigInt(S.TF | S.IF));
  return b;
};

test('SYSCALL: saves RIP and flags, masks flags and enters level 0', () => {
  const b = syscallBench(3);
  b.cpu.eflags = S.IF | S.CF | 2;
  b.execute([0x0f, 0x05]);
  assert.deepEqual(
    [b.cpu.rip, b.cpu.gpr(S.RCX), b.cpu.gpr(11)],
    [BigInt(TARGET), BigInt(CODE + 2), BigInt(S.IF | S.CF | 2)],
  );
  assert.deepEqual([b.cpu.eflags, b.cpu.cpl, b.selector(S.CS), b.selector(S.SS)], [S.CF | 2, 0, 8, 0x10]);
});

test('SYSRET: returns to 64-bit or compatibility code; checks RCX', () => {
  const b = syscallBench(0);
  b.cpu.setGpr(S.RCX, BigInt(TARGET));
  b.cpu.setGpr(11, BigInt(S.IF | S.VM | S.RF | 2));
  b.execute([0x48, 0x0f, 0x07]);
  assert.deepEqual(
    [b.cpu.rip, b.cpu.cpl, b.selector(S.CS), b.selector(S.SS), b.cpu.eflags],
    [BigInt(TARGET), 3, 0x33, 0x2b, S.IF | 2],
  );
  const c = syscallBench(0);
  c.cpu.setGpr(S.RCX, BigInt(TARGET));
  c.execute([0x0f, 0x07]);
  assert.deepEqual([c.selector(S.CS), c.cpu.codeSize], [0x23, 32]);
  const d = syscallBench(0);
  d.cpu.setGpr(S.RCX, 0x8000_0000_0000n);
  assert.deepEqual(faultOf(d, [0x48, 0x0f, 0x07]), { vector: GP, code: 0 });
});

test('SYSCALL: is #UD outside 64-bit mode and without EFER.SCE', () => {
  assert.equal(faultOf(new Bench().protect(), [0x0f, 0x05])?.vector, UD);
  const b = syscallBench(0);
  b.cpu.set64(S.EFER, 0x500n);
  assert.equal(faultOf(b, [0x0f, 0x05])?.vector, UD);
});

test('SYSENTER and SYSEXIT: use flat segments from SYSENTER_CS', () => {
  const b = new Bench().protect(3);
  b.cpu.set64(S.SYSENTER_CS, BigInt(CODE0));
  b.cpu.set64(S.SYSENTER_ESP, BigInt(STACK0));
  b.cpu.set64(S.SYSENTER_EIP, BigInt(TARGET));
  b.cpu.setGpr(S.RCX, BigInt(STACK3));
  b.cpu.setGpr(S.RDX, BigInt(CODE));
  b.bytes(TARGET, [0x0f, 0x35]);
  b.execute([0x0f, 0x34]);
  assert.deepEqual([b.cpu.rip, b.cpu.cpl, b.selector(S.SS)], [BigInt(TARGET), 0, 0x10]);
  b.cpu.run(1);
  assert.deepEqual([b.cpu.rip, b.cpu.cpl, b.selector(S.CS), b.selector(S.SS)], [BigInt(CODE), 3, 0x1b, 0x23]);
  assert.deepEqual(faultOf(new Bench().protect(), [0x0f, 0x34]), { vector: GP, code: 0 });
});
