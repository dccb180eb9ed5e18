import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { GP, NP, SSV, UD } from './fault.ts';
import { Bench, CODE, CODE0, DATA0, DATA3, descriptor, FREE, GDT, HANDLERS, STACK0, TSS_SELECTOR } from './testing.ts';

const handler = (vector: number): bigint => BigInt(HANDLERS + vector * 16);
const MOV_DS_AX = [0x8e, 0xd8],
  MOV_SS_AX = [0x8e, 0xd0];

/** Runs one instruction with a value in AX and tells the fault, or undefined. */
const outcome = (b: Bench, bytes: number[], ax: number): { vector: number; code: number } | undefined => {
  for (const vector of [UD, NP, SSV, GP]) b.gate(vector);
  b.cpu.setGpr(S.RAX, BigInt(ax));
  const long = b.cpu.longMode;
  const user = b.cpu.cpl === 3;
  b.execute(bytes);
  if (b.cpu.rip === BigInt(CODE + bytes.length)) return undefined;
  const vector = (Number(b.cpu.rip) - HANDLERS) / 16;
  const at = long ? STACK0 - 48 : STACK0 - (user ? 24 : 16);
  return { vector, code: vector === UD ? 0 : b.read32(at) };
};

const READ_ONLY = descriptor(0x1_0000, 0xfff, 0x90, 4),
  ABSENT = descriptor(0, 0xfff, 0x12, 4),
  EXECUTE_ONLY = descriptor(0, 0xfff, 0x98, 4);
const LDT_DESCRIPTOR = descriptor(0x4000, 0x17, 0x82, 0);

const loads: [string, number[], number, [number, number], { vector: number; code: number } | undefined][] = [
  ['DS with a null selector', MOV_DS_AX, 3, READ_ONLY, undefined],
  ['DS with read-only data', MOV_DS_AX, FREE, READ_ONLY, undefined],
  ['DS outside the table', MOV_DS_AX, 0x1003, READ_ONLY, { vector: GP, code: 0x1000 }],
  ['DS from an LDT that is not there', MOV_DS_AX, 0x0f, READ_ONLY, { vector: GP, code: 0x0c }],
  ['DS with code that cannot be read', MOV_DS_AX, FREE, EXECUTE_ONLY, { vector: GP, code: FREE }],
  ['DS with an RPL above the DPL', MOV_DS_AX, FREE | 3, READ_ONLY, { vector: GP, code: FREE }],
  ['DS with an absent segment', MOV_DS_AX, FREE, ABSENT, { vector: NP, code: FREE }],
  ['SS with a null selector', MOV_SS_AX, 0, READ_ONLY, { vector: GP, code: 0 }],
  ['SS with read-only data', MOV_SS_AX, FREE, READ_ONLY, { vector: GP, code: FREE }],
  ['SS with an absent segment', MOV_SS_AX, FREE, ABSENT, { vector: SSV, code: FREE }],
  ['SS with another privilege', MOV_SS_AX, DATA3, READ_ONLY, { vector: GP, code: DATA3 & ~3 }],
  ['CS', [0x8e, 0xc8], DATA0, READ_ONLY, { vector: UD, code: 0 }],
];
for (const [name, bytes, selector, words, expected] of loads)
  test(`MOV Sreg: ${name} ${expected === undefined ? 'loads' : 'faults'}`, () => {
    const b = new Bench().protect();
    b.describe(FREE, words);
    assert.deepEqual(outcome(b, bytes, selector), expected);
  });

test('MOV Sreg: loads base and limit and marks the descriptor accessed', () => {
  const b = new Bench().protect();
  b.describe(FREE, READ_ONLY);
  assert.equal(outcome(b, MOV_DS_AX, FREE), undefined);
  assert.equal(b.cpu.get64(S.seg(S.DS)), 0x1_0000n);
  assert.equal(b.cpu.get32(S.seg(S.DS) + S.SEG_LIMIT), 0xfff);
  assert.equal(b.read32(GDT + FREE + 4) & 0x100, 0x100);
});

test('MOV SS: a null selector is allowed in 64-bit code below privilege level 3 only', () => {
  assert.equal(outcome(new Bench().long(), MOV_SS_AX, 0), undefined);
  assert.deepEqual(outcome(new Bench().long(3), MOV_SS_AX, 3), { vector: GP, code: 0 });
});

test('MOV Sreg: keeps limit and size in real mode', () => {
  const b = new Bench().real();
  b.cpu.setSegment(S.DS, 0, 0n, 0xffff_ffff, 0xc093);
  b.cpu.setGpr(S.RAX, 0x1234n);
  b.execute(MOV_DS_AX);
  assert.equal(b.cpu.get64(S.seg(S.DS)), 0x1_2340n);
  assert.equal(b.cpu.get32(S.seg(S.DS) + S.SEG_LIMIT), 0xffff_ffff);
});

test('POP and PUSH Sreg: move the stack by the operand size', () => {
  const b = new Bench().protect();
  b.execute([0x1e, 0x07], 2);
  assert.equal(b.selector(S.ES), DATA0);
  assert.equal(b.cpu.gpr(S.RSP), BigInt(STACK0));
});

test('LDS: loads register and segment from a far pointer', () => {
  const b = new Bench().protect();
  b.write32(0x5000, 0x1234_5678);
  b.write16(0x5004, DATA0 | 0);
  b.execute([0xc5, 0x05, 0, 0x50, 0, 0]);
  assert.equal(b.cpu.gpr(S.RAX), 0x1234_5678n);
  assert.equal(b.selector(S.DS), DATA0);
});

test('LLDT and LTR: check type and privilege, and LTR marks the task busy', () => {
  const lldt = [0x0f, 0x00, 0xd0],
    ltr = [0x0f, 0x00, 0xd8];
  const b = new Bench().protect();
  b.describe(FREE, LDT_DESCRIPTOR);
  assert.equal(outcome(b, lldt, FREE), undefined);
  assert.equal(b.cpu.get64(S.seg(S.LDTR)), 0x4000n);
  assert.deepEqual(outcome(new Bench().protect(), lldt, DATA0), { vector: GP, code: DATA0 });
  assert.deepEqual(outcome(new Bench().protect(3), lldt, 0), { vector: GP, code: 0 });
  assert.deepEqual(outcome(new Bench().protect(), ltr, 0), { vector: GP, code: 0 });
  assert.deepEqual(outcome(new Bench().protect(), ltr, TSS_SELECTOR), { vector: GP, code: TSS_SELECTOR });
  const c = new Bench().protect();
  c.describe(FREE, descriptor(0x3000, 0x67, 0x89, 0));
  assert.equal(outcome(c, ltr, FREE), undefined);
  assert.equal((c.read32(GDT + FREE + 4) >>> 8) & 0x1f, 11);
});

test('LLDT: reads a 16-byte descriptor in long mode', () => {
  const b = new Bench().long();
  b.describe(FREE, LDT_DESCRIPTOR);
  b.describe(FREE + 8, [0xffff_8000, 0]);
  assert.equal(outcome(b, [0x0f, 0x00, 0xd0], FREE), undefined);
  assert.equal(b.cpu.get64(S.seg(S.LDTR)), 0xffff_8000_0000_4000n);
  b.describe(FREE + 8, [0x0001_0000, 0]);
  b.cpu.rip = BigInt(CODE);
  b.cpu.setGpr(S.RSP, BigInt(STACK0));
  assert.deepEqual(outcome(b, [0x0f, 0x00, 0xd0], FREE), { vector: GP, code: FREE });
});

const queries: [string, number[], number, bigint | undefined][] = [
  ['LAR of code', [0x0f, 0x02, 0xc8], CODE0, 0xcf9b00n],
  ['LAR of a null selector', [0x0f, 0x02, 0xc8], 0, undefined],
  ['LSL of flat data', [0x0f, 0x03, 0xc8], DATA0, 0xffff_ffffn],
  ['LSL of a TSS', [0x0f, 0x03, 0xc8], TSS_SELECTOR, 0x67n],
  ['LSL outside the table', [0x0f, 0x03, 0xc8], 0x1000, undefined],
];
for (const [name, bytes, selector, expected] of queries)
  test(`${name}: ${expected === undefined ? 'clears ZF and keeps the register' : 'sets ZF'}`, () => {
    const b = new Bench().protect();
    b.cpu.setGpr(S.RCX, 0x77n);
    assert.equal(outcome(b, bytes, selector), undefined);
    assert.equal(b.cpu.gpr(S.RCX), expected ?? 0x77n);
    assert.equal((b.cpu.eflags & S.ZF) !== 0, expected !== undefined);
  });

test('LAR: user code does not see a more privileged segment', () => {
  const b = new Bench().protect(3);
  assert.equal(outcome(b, [0x0f, 0x02, 0xc8], DATA0), undefined);
  assert.equal(b.cpu.eflags & S.ZF, 0);
});

test('VERW: tells writable data from code', () => {
  const b = new Bench().protect();
  outcome(b, [0x0f, 0x00, 0xe8], DATA0);
  assert.equal(b.cpu.eflags & S.ZF, S.ZF);
  const c = new Bench().protect();
  outcome(c, [0x0f, 0x00, 0xe8], CODE0);
  assert.equal(c.cpu.eflags & S.ZF, 0);
});

test('ARPL: raises the requested privilege level', () => {
  const b = new Bench().protect();
  b.cpu.setGpr(S.RCX, 3n);
  assert.equal(outcome(b, [0x63, 0xc8], 0x1000), undefined);
  assert.equal(b.cpu.gpr(S.RAX), 0x1003n);
  assert.equal(b.cpu.eflags & S.ZF, S.ZF);
});

test('UMIP: SGDT, SIDT, SLDT, SMSW and STR of user code are #GP(0)', () => {
  for (const bytes of [
    [0x0f, 0x01, 0x05, 0, 0x50, 0, 0],
    [0x0f, 0x01, 0x0d, 0, 0x50, 0, 0],
    [0x0f, 0x00, 0xc0],
    [0x0f, 0x01, 0xe0],
    [0x0f, 0x00, 0xc8],
  ]) {
    assert.equal(outcome(new Bench().protect(3), bytes, 0), undefined);
    const b = new Bench().protect(3);
    b.cpu.set64(S.CR4, 0x800n);
    assert.deepEqual(outcome(b, bytes, 0), { vector: GP, code: 0 });
  }
});

test('SWAPGS and WRGSBASE: exchange and check the GS base', () => {
  const b = new Bench().long();
  b.cpu.set64(S.KERNEL_GS_BASE, 0xffff_8000_0000_0000n);
  assert.equal(outcome(b, [0x0f, 0x01, 0xf8], 0), undefined);
  assert.equal(b.cpu.get64(S.seg(S.GS)), 0xffff_8000_0000_0000n);
  assert.equal(b.cpu.get64(S.KERNEL_GS_BASE), 0n);
  const c = new Bench().long();
  assert.deepEqual(outcome(c, [0xf3, 0x0f, 0xae, 0xd8], 0), { vector: UD, code: 0 });
  const d = new Bench().long();
  d.cpu.set64(S.CR4, 0x1_0020n);
  d.cpu.setGpr(S.RCX, 0x8000_0000_0000_0000n);
  assert.deepEqual(outcome(d, [0xf3, 0x48, 0x0f, 0xae, 0xd9], 0), { vector: GP, code: 0 });
});

test('MOV SS: the instruction behind it runs before a single-step trap', () => {
  const b = new Bench().protect();
  b.gate(1);
  b.cpu.eflags = S.TF | 2;
  b.cpu.setGpr(S.RAX, BigInt(DATA0));
  b.execute([0x8e, 0xd0, 0x90, 0x90], 2);
  assert.equal(b.cpu.rip, handler(1));
  assert.equal(b.read32(STACK0 - 12), CODE + 3);
});
