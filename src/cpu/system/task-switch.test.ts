import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { GP, NP, TS } from './fault.ts';
import {
  Bench,
  CODE,
  CODE0,
  CODE3,
  DATA0,
  DATA3,
  descriptor,
  FREE,
  GDT,
  HANDLERS,
  STACK0,
  STACK3,
  TSS,
  TSS_SELECTOR,
} from './testing.ts';

const TASK = 0x4000,
  ENTRY = 0xa000,
  TASK_STACK = 0x5000;
const jumpTo = (selector: number): number[] => [0xea, 0, 0, 0, 0, selector, 0];
const callTo = (selector: number): number[] => [0x9a, 0, 0, 0, 0, selector, 0];
const busy = (b: Bench, selector: number): boolean => ((b.read32(GDT + selector + 4) >>> 8) & 0x1f) === 11;

/** A second task at {@link FREE}: flat level-0 code. */
const bench = (level: 0 | 3 = 0): Bench => {
  const b = new Bench().protect(level);
  b.describe(FREE, descriptor(TASK, 0x67, 0x89 | (level << 5), 0));
  b.write32(TASK + 0x20, ENTRY);
  b.write32(TASK + 0x24, 2);
  b.write32(TASK + 0x28, 0xaaaa);
  b.write32(TASK + 0x38, TASK_STACK);
  b.write16(TASK + 0x4c, CODE0);
  for (const at of [0x48, 0x50, 0x54, 0x58, 0x5c]) b.write16(TASK + at, DATA0);
  for (const vector of [TS, NP, GP]) b.gate(vector);
  return b;
};

test('JMP to a TSS: saves the old task, loads the new one and moves the busy bit', () => {
  const b = bench();
  b.cpu.setGpr(S.RBX, 0xbbbbn);
  b.execute(jumpTo(FREE));
  assert.deepEqual([b.cpu.rip, b.cpu.gpr(S.RAX), b.cpu.gpr(S.RSP)], [BigInt(ENTRY), 0xaaaan, BigInt(TASK_STACK)]);
  assert.deepEqual([b.selector(S.TR), b.cpu.get64(S.seg(S.TR)), b.cpu.get32(S.CR0) & 8], [FREE, BigInt(TASK), 8]);
  assert.deepEqual([b.read32(TSS + 0x20), b.read32(TSS + 0x34), b.read16(TSS + 0x4c)], [CODE + 7, 0xbbbb, CODE0]);
  assert.deepEqual([busy(b, TSS_SELECTOR), busy(b, FREE), b.cpu.eflags & S.NT], [false, true, 0]);
});

test('CALL to a TSS: nests, and IRET goes back', () => {
  const b = bench();
  b.bytes(ENTRY, [0xcf]);
  b.execute(callTo(FREE));
  assert.deepEqual(
    [b.cpu.eflags & S.NT, b.read16(TASK), busy(b, TSS_SELECTOR), busy(b, FREE)],
    [S.NT, TSS_SELECTOR, true, true],
  );
  b.cpu.run(1);
  assert.deepEqual(
    [b.cpu.rip, b.selector(S.TR), b.cpu.eflags & S.NT, busy(b, FREE)],
    [BigInt(CODE + 7), TSS_SELECTOR, 0, false],
  );
  // The task resumes behind its IRET when it is entered again.
  assert.equal(b.read32(TASK + 0x20), ENTRY + 1);
});

test('task gate of the interrupt table: enters from user code and pushes an error code', () => {
  const b = bench(3);
  b.gate(GP, { type: 5, selector: FREE });
  b.execute([0xfa]);
  assert.deepEqual([b.cpu.rip, b.cpu.cpl, b.cpu.gpr(S.RSP)], [BigInt(ENTRY), 0, BigInt(TASK_STACK - 4)]);
  assert.deepEqual([b.read32(TASK_STACK - 4), b.read32(TSS + 0x20), b.read16(TSS + 0x4c)], [0, CODE, CODE3]);
  assert.deepEqual([b.read32(TSS + 0x38), b.read16(TSS + 0x50)], [STACK3, DATA3]);
});

test('NMI through a task gate: IRET returns to the interrupted instruction', () => {
  const b = bench(3);
  b.gate(2, { type: 5, selector: FREE });
  b.bytes(ENTRY, [0xcf]);
  b.cpu.raiseNmi();
  b.execute([0x90], 1);
  assert.deepEqual([b.cpu.rip, b.cpu.cpl, b.selector(S.TR)], [BigInt(CODE), 3, TSS_SELECTOR]);
  assert.equal(b.cpu.get32(S.NMI_BLOCKED), 0);
});

const refusals: [string, (b: Bench) => void, number, number][] = [
  ['a busy task', (b) => b.describe(FREE, descriptor(TASK, 0x67, 0x8b, 0)), GP, FREE],
  ['an absent task', (b) => b.describe(FREE, descriptor(TASK, 0x67, 0x09, 0)), NP, FREE],
  ['a TSS that is too short', (b) => b.describe(FREE, descriptor(TASK, 0x66, 0x89, 0)), TS, FREE],
];
for (const [name, prepare, vector, code] of refusals)
  test(`JMP to ${name}: faults in the old task`, () => {
    const b = bench();
    prepare(b);
    b.execute(jumpTo(FREE));
    assert.equal(b.cpu.rip, BigInt(HANDLERS + vector * 16));
    assert.deepEqual(b.dwords(STACK0 - 16, 2), [code, CODE]);
    assert.equal(b.selector(S.TR), TSS_SELECTOR);
  });

test('task switch: a bad selector is #TS in the new task', () => {
  const b = bench();
  b.write16(TASK + 0x54, 0x1000);
  b.execute(jumpTo(FREE));
  assert.equal(b.cpu.rip, BigInt(HANDLERS + TS * 16));
  assert.deepEqual(b.dwords(TASK_STACK - 16, 2), [0x1000, ENTRY]);
  assert.equal(b.selector(S.TR), FREE);
});

test('task switch into virtual-8086 mode: LDTR stays null', () => {
  const b = bench();
  b.write32(TASK + 0x24, S.VM | S.IOPL | 2);
  b.write32(TASK + 0x20, 0x10);
  b.write16(TASK + 0x4c, 0xa00);
  b.execute(jumpTo(FREE));
  assert.deepEqual([b.cpu.virtual8086, b.cpu.cpl, b.cpu.get64(S.CS_BASE), b.cpu.rip], [true, 3, 0xa000n, 0x10n]);
  assert.equal(b.cpu.get32(S.seg(S.LDTR) + S.SEG_ATTR) & S.ATTR_UNUSABLE, S.ATTR_UNUSABLE);
});

test('task switch: the T bit raises #DB with BT before the first instruction', () => {
  const b = bench();
  b.gate(1);
  b.write16(TASK + 0x64, 1);
  b.bytes(HANDLERS + 16, [0x90]);
  b.execute(jumpTo(FREE), 2);
  assert.equal(b.cpu.get32(S.DR6) & 0x8000, 0x8000);
  assert.equal(b.read32(TASK_STACK - 12), ENTRY);
});

test('16-bit TSS: saves and loads 16-bit registers, and the four segments it has', () => {
  const b = bench();
  b.describe(FREE, descriptor(TASK, 0x2b, 0x81, 0));
  for (let at = 0; at < 0x60; at += 4) b.write32(TASK + at, 0);
  b.write16(TASK + 0x0e, ENTRY);
  b.write16(TASK + 0x10, S.CF | 2);
  b.write16(TASK + 0x12, 0xaaaa);
  b.write16(TASK + 0x1a, TASK_STACK);
  [DATA0, CODE0, DATA0, DATA0].forEach((selector, n) => {
    b.write16(TASK + 0x22 + 2 * n, selector);
  });
  b.bytes(ENTRY, [0xcf]);
  b.execute(callTo(FREE));
  assert.deepEqual(
    [b.cpu.rip, b.cpu.gpr(S.RAX), b.cpu.eflags, b.selector(S.FS)],
    [BigInt(ENTRY), 0xaaaan, S.NT | S.CF | 2, 0],
  );
  b.cpu.run(1);
  assert.deepEqual([b.cpu.rip, b.selector(S.TR), b.read16(TASK + 0x0e)], [BigInt(CODE + 7), TSS_SELECTOR, ENTRY + 1]);
});
