import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { deliverException } from './deliver.ts';
import { BP, DB, DFV, GP, NP, OFV, PFV, UD } from './fault.ts';
import {
  Bench,
  CODE,
  CODE0,
  CODE3,
  DATA0,
  DATA3,
  descriptor,
  FREE,
  HANDLERS,
  STACK0,
  STACK3,
  TSS,
  TSS_SELECTOR,
} from './testing.ts';

const handler = (vector: number): bigint => BigInt(HANDLERS + vector * 16);

test('INT n: pushes flags, CS and IP and goes through the vector table in real mode', () => {
  const b = new Bench().real();
  b.write16(0x21 * 4, 0x1234);
  b.write16(0x21 * 4 + 2, 0x40);
  b.cpu.eflags = S.IF | S.TF | S.CF | 2;
  b.cpu.eflags = S.IF | S.CF | 2;
  b.execute([0xcd, 0x21]);
  assert.equal(b.cpu.rip, 0x1234n);
  assert.equal(b.selector(S.CS), 0x40);
  assert.deepEqual(
    [0, 2, 4].map((n) => b.read16(STACK0 - 6 + n)),
    [CODE + 2, 0, S.IF | S.CF | 2],
  );
  assert.equal(b.cpu.eflags & S.IF, 0);
});

test('interrupt gate: stays on the stack and clears IF at the same privilege', () => {
  const b = new Bench().protect();
  b.gate(3);
  b.cpu.eflags = S.IF | 2;
  b.execute([0xcc]);
  assert.equal(b.cpu.rip, handler(3));
  assert.deepEqual(b.dwords(STACK0 - 12, 3), [CODE + 1, CODE0, S.IF | 2]);
  assert.equal(b.cpu.gpr(S.RSP), BigInt(STACK0 - 12));
  assert.equal(b.cpu.eflags & S.IF, 0);
});

test('trap gate: keeps IF', () => {
  const b = new Bench().protect();
  b.gate(3, { type: 15 });
  b.cpu.eflags = S.IF | 2;
  b.execute([0xcc]);
  assert.equal(b.cpu.eflags & S.IF, S.IF);
});

test('interrupt gate: switches to the ring-0 stack of the TSS from user code', () => {
  const b = new Bench().protect(3);
  b.gate(0x80, { dpl: 3 });
  b.execute([0xcd, 0x80]);
  assert.equal(b.cpu.rip, handler(0x80));
  assert.equal(b.cpu.cpl, 0);
  assert.equal(b.selector(S.SS), DATA0);
  assert.deepEqual(b.dwords(STACK0 - 20, 5), [CODE + 2, CODE3, 2, STACK3, DATA3]);
});

/** Which fault an instruction's delivery meets: the handler that runs and its error code. */
const softwareFaults: [string, number[], number, { dpl?: number; present?: boolean }, number, number, bigint][] = [
  ['INT3 below the gate', [0xcc], BP, { dpl: 0 }, GP, BP * 8 + 2, 0n],
  ['INT 3 below the gate', [0xcd, 3], BP, { dpl: 0 }, GP, BP * 8 + 2, 0n],
  ['INT3 with the gate absent', [0xcc], BP, { dpl: 3, present: false }, NP, BP * 8 + 2, 0n],
  ['INT1 with the gate absent', [0xf1], DB, { dpl: 0, present: false }, NP, DB * 8 + 3, 0n],
  ['INT 1 with the gate absent', [0xcd, 1], DB, { dpl: 3, present: false }, NP, DB * 8 + 2, 0n],
];
for (const long of [false, true])
  for (const [name, bytes, vector, options, expected, code] of softwareFaults)
    test(`${name}: faults at the instruction in ${long ? '64' : '32'}-bit code`, () => {
      const b = long ? new Bench().long(3) : new Bench().protect(3);
      b.gate(vector, options);
      b.gate(expected);
      b.execute(bytes);
      assert.equal(b.cpu.rip, handler(expected));
      const frame = long ? b.quads(STACK0 - 48, 2) : b.dwords(STACK0 - 24, 2).map(BigInt);
      assert.deepEqual(frame, [BigInt(code), BigInt(CODE)]);
    });

test('INT1: passes a gate whatever its DPL and returns behind itself', () => {
  const b = new Bench().protect(3);
  b.gate(DB, { dpl: 0 });
  b.execute([0xf1]);
  assert.equal(b.cpu.rip, handler(DB));
  assert.equal(b.read32(STACK0 - 20), CODE + 1);
});

test('INTO: traps only with OF set', () => {
  const b = new Bench().protect();
  b.gate(OFV);
  b.execute([0xce]);
  assert.equal(b.cpu.rip, BigInt(CODE + 1));
  b.cpu.eflags = S.OF | 2;
  b.execute([0xce]);
  assert.equal(b.cpu.rip, handler(OFV));
});

test('faults: are saved with RF set, with their error code on top', () => {
  const b = new Bench().protect();
  b.gate(UD);
  b.execute([0x0f, 0x0b]);
  assert.deepEqual(b.dwords(STACK0 - 12, 3), [CODE, CODE0, S.RF | 2]);
});

test('double fault: two contributory faults make one', () => {
  const b = new Bench().protect();
  b.gate(DFV);
  // #GP meets an absent gate (#NP): #DF with code 0.
  b.gate(GP, { present: false });
  deliverException(b.cpu, GP, 0x50);
  assert.equal(b.cpu.rip, handler(DFV));
  assert.deepEqual(b.dwords(STACK0 - 16, 2), [0, CODE]);
});

test('double fault: a benign exception is replaced instead', () => {
  const b = new Bench().protect();
  b.gate(UD, { present: false });
  b.gate(NP);
  deliverException(b.cpu, UD, undefined);
  assert.equal(b.cpu.rip, handler(NP));
  assert.equal(b.read32(STACK0 - 16), UD * 8 + 3);
});

test('shutdown: a fault while a double fault is delivered', () => {
  const b = new Bench().protect();
  deliverException(b.cpu, GP, 0);
  assert.deepEqual(b.log, ['triple fault']);
  assert.equal(b.cpu.rip, BigInt(CODE));
  assert.equal(b.cpu.gpr(S.RSP), BigInt(STACK0));
});

test('page fault on the handler stack: becomes a double fault on its IST stack in long mode', () => {
  const b = new Bench().long(3);
  b.gate(PFV);
  b.gate(DFV, { ist: 1 });
  b.write64(TSS + 4, 0x40_0000n);
  b.write64(TSS + 36, 0x5000n);
  deliverException(b.cpu, PFV, 4);
  assert.equal(b.cpu.rip, handler(DFV));
  assert.deepEqual(b.quads(0x5000 - 48, 6), [
    0n,
    BigInt(CODE),
    BigInt(CODE3),
    BigInt(S.RF | 2),
    BigInt(STACK3),
    BigInt(DATA3),
  ]);
  assert.equal(b.cpu.get64(S.CR2), 0x40_0000n - 48n);
});

test('64-bit gate: aligns the stack, saves SS:RSP at the same privilege, and nulls SS going inward', () => {
  const b = new Bench().long();
  b.gate(3);
  b.cpu.setGpr(S.RSP, BigInt(STACK0 - 3));
  b.execute([0xcc]);
  assert.deepEqual(b.quads(STACK0 - 16 - 40, 5), [
    BigInt(CODE + 1),
    BigInt(CODE0),
    2n,
    BigInt(STACK0 - 3),
    BigInt(DATA0),
  ]);
  assert.equal(b.selector(S.SS), DATA0);
  const user = new Bench().long(3);
  user.gate(3, { dpl: 3 });
  user.execute([0xcc]);
  assert.equal(user.selector(S.SS), 0);
  assert.equal(user.cpu.cpl, 0);
});

for (const long of [false, true])
  test(`TSS too short for the inner stack: #TS with TR's selector in ${long ? '64' : '32'}-bit code`, () => {
    const b = long ? new Bench().long(3) : new Bench().protect(3);
    b.describe(FREE, descriptor(0, 0xf_ffff, 0xbb, long ? 0xa : 0xc));
    b.cpu.setSegment(S.TR, TSS_SELECTOR, BigInt(TSS), 11, 0x8b);
    b.gate(0x80, { dpl: 3, selector: FREE | 1 });
    b.gate(10);
    b.execute([0xcd, 0x80]);
    assert.equal(b.cpu.rip, handler(10));
    assert.equal(long ? b.read64(STACK0 - 48) : BigInt(b.read32(STACK0 - 24)), BigInt(TSS_SELECTOR));
  });

test('external interrupt: waits for IF, then enters with IF clear', () => {
  const b = new Bench().protect();
  b.gate(0x40);
  b.pendingVector = 0x40;
  b.execute([0x90, 0x90]);
  assert.equal(b.cpu.rip, BigInt(CODE + 1));
  b.cpu.eflags = S.IF | 2;
  b.bytes(Number(handler(0x40)), [0x90]);
  b.cpu.run(1);
  assert.equal(b.cpu.rip, handler(0x40) + 1n);
});

test('STI: holds the interrupt off for one more instruction', () => {
  const b = new Bench().protect();
  b.gate(0x40);
  b.pendingVector = 0x40;
  b.bytes(Number(handler(0x40)), [0x90]);
  b.execute([0xfb, 0x90, 0x90], 3);
  assert.equal(b.read32(STACK0 - 12), CODE + 2);
});

/** Virtual-8086 code at 0800:0000 under the flat protected mode. */
const vm86 = (iopl: number): Bench => {
  const b = new Bench().protect();
  const { cpu } = b;
  cpu.eflags = S.VM | (iopl << 12) | 2;
  [0x11, 0x800, 0x22, 0x33, 0x44, 0x55].forEach((selector, n) => {
    cpu.setSegment(n, selector, BigInt(selector * 16), 0xffff, 0xf3);
  });
  cpu.rip = 0n;
  cpu.setGpr(S.RSP, 0x1000n);
  cpu.updateMode(3);
  return b;
};

test('virtual-8086 mode: an interrupt saves nine slots and IRET restores them', () => {
  const b = vm86(3);
  b.gate(0x20, { dpl: 3 });
  b.bytes(Number(handler(0x20)), [0xcf]);
  b.execute([0xcd, 0x20]);
  assert.equal(b.cpu.rip, handler(0x20));
  assert.equal(b.cpu.cpl, 0);
  assert.equal(b.selector(S.DS), 0);
  assert.deepEqual(b.dwords(STACK0 - 36, 9), [2, 0x800, S.VM | S.IOPL | 2, 0x1000, 0x22, 0x11, 0x33, 0x44, 0x55]);
  b.cpu.run(1);
  assert.equal(b.cpu.virtual8086, true);
  assert.equal(b.cpu.rip, 2n);
  assert.deepEqual(
    [S.ES, S.CS, S.SS, S.DS, S.FS, S.GS].map((n) => b.selector(n)),
    [0x11, 0x800, 0x22, 0x33, 0x44, 0x55],
  );
});

test('virtual-8086 mode: INT n below IOPL 3 is #GP(0), INT3 is not', () => {
  const b = vm86(0);
  b.gate(GP);
  b.gate(0x20, { dpl: 3 });
  b.execute([0xcd, 0x20]);
  assert.equal(b.cpu.rip, handler(GP));
  assert.deepEqual(b.dwords(STACK0 - 40, 2), [0, 0]);
  const other = vm86(0);
  other.gate(BP, { dpl: 3 });
  other.execute([0xcc]);
  assert.equal(other.cpu.rip, handler(BP));
});
