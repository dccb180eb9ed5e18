import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { DB, GP, UD } from './fault.ts';
import { Bench, CODE, CODE0, HANDLERS, STACK0, STACK3 } from './testing.ts';

/** Runs one instruction; the vector of the fault it met, or undefined. */
const outcome = (b: Bench, bytes: number[]): number | undefined => {
  for (const vector of [DB, UD, GP]) b.gate(vector);
  b.execute(bytes);
  return b.cpu.rip === BigInt(CODE + bytes.length) ? undefined : (Number(b.cpu.rip) - HANDLERS) / 16;
};

/** MOV to control or debug register n from RAX. */
const movCr = (n: number): number[] => [0x0f, 0x22, 0xc0 | (n << 3)];
const movDr = (n: number): number[] => [0x0f, 0x23, 0xc0 | (n << 3)];

const writes: [string, 'protect' | 'long', number[], bigint, number | undefined][] = [
  ['CR0: PG without PE', 'protect', movCr(0), 0x8000_0010n, GP],
  ['CR0: NW without CD', 'protect', movCr(0), 0x2000_0011n, GP],
  ['CR0: upper half', 'long', movCr(0), 0x1_8000_0011n, GP],
  ['CR0: leaving paging in 64-bit code', 'long', movCr(0), 0x11n, GP],
  ['CR0: WP', 'protect', movCr(0), 0x1_0011n, undefined],
  ['CR3: beyond the physical width', 'long', movCr(3), 0x100_0001_0000n, GP],
  ['CR4: a bit the model lacks', 'protect', movCr(4), 0x2000_0000n, GP],
  ['CR4: leaving PAE in long mode', 'long', movCr(4), 0n, GP],
  ['CR1', 'protect', movCr(1), 0n, UD],
  ['CR8: too large', 'long', [0x44, 0x0f, 0x22, 0xc0], 16n, GP],
  ['CR8', 'long', [0x44, 0x0f, 0x22, 0xc0], 15n, undefined],
  ['DR7: upper half', 'long', movDr(7), 0x1_0000_0000n, GP],
  ['DR4 as DR6', 'long', movDr(4), 0n, undefined],
];
for (const [name, mode, bytes, value, expected] of writes)
  test(`MOV ${name}: ${expected === undefined ? 'is written' : `vector ${expected}`}`, () => {
    const b = new Bench()[mode]();
    b.cpu.setGpr(S.RAX, value);
    assert.equal(outcome(b, bytes), expected);
  });

test('MOV CR: is #GP above privilege level 0', () => {
  assert.equal(outcome(new Bench().protect(3), [0x0f, 0x20, 0xc0]), GP);
});

test('MOV CR0: enters long mode when EFER.LME and PAE are set', () => {
  const b = new Bench().protect();
  b.write64(0x10000, 0x11003n);
  b.write64(0x11000, 0x12003n);
  b.write64(0x12000, 0x83n);
  b.cpu.set64(S.CR3, 0x10000n);
  b.cpu.set64(S.EFER, 0x100n);
  b.cpu.setGpr(S.RAX, 0x8000_0011n);
  assert.equal(outcome(b, movCr(0)), GP);
  b.cpu.rip = BigInt(CODE);
  b.cpu.set64(S.CR4, 0x20n);
  assert.equal(outcome(b, movCr(0)), undefined);
  assert.equal(b.cpu.get64(S.EFER), 0x500n);
  assert.equal(b.cpu.longMode, true);
});

test('MOV CR0: loads the PAE pointers and refuses reserved bits in them', () => {
  const b = new Bench().protect();
  b.write64(0x10000, 0x11001n);
  b.write64(0x11000, 0x83n);
  b.write64(0x10008, 0x12003n);
  b.cpu.set64(S.CR3, 0x10000n);
  b.cpu.set64(S.CR4, 0x20n);
  b.cpu.setGpr(S.RAX, 0x8000_0011n);
  assert.equal(outcome(b, movCr(0)), GP);
  b.write64(0x10008, 0x12002n);
  b.cpu.rip = BigInt(CODE);
  assert.equal(outcome(b, movCr(0)), undefined);
  assert.equal(b.cpu.get64(S.PDPTE), 0x11001n);
});

test('DR6 and DR7: fixed bits read as the architecture says', () => {
  const b = new Bench().long();
  b.cpu.setGpr(S.RAX, 0n);
  outcome(b, movDr(6));
  b.cpu.rip = BigInt(CODE);
  outcome(b, movDr(7));
  assert.deepEqual([b.cpu.get64(S.DR6), b.cpu.get64(S.DR7)], [0xffff_0ff0n, 0x400n]);
});

test('DR7.GD: the next access is a #DB with BD, and the handler runs with GD clear', () => {
  const b = new Bench().protect();
  b.cpu.set64(S.DR7, 0x2400n);
  assert.equal(outcome(b, [0x0f, 0x21, 0xc0]), DB);
  assert.equal(b.cpu.get32(S.DR6) & 0x2000, 0x2000);
  assert.equal(b.cpu.get32(S.DR7), 0x400);
});

test('DR4: is #UD with CR4.DE', () => {
  const b = new Bench().protect();
  b.cpu.set64(S.CR4, 8n);
  assert.equal(outcome(b, [0x0f, 0x21, 0xe0]), UD);
});

const msrs: [string, number, bigint, number | undefined][] = [
  ['LSTAR', 0xc000_0082, 0xffff_8000_0000_0000n, undefined],
  ['LSTAR not canonical', 0xc000_0082, 0x8000_0000_0000_0000n, GP],
  ['PAT', 0x277, 0x0007_0406_0007_0406n, undefined],
  ['PAT with a reserved type', 0x277, 0x0007_0406_0007_0402n, GP],
  ['EFER reserved bit', 0xc000_0080, 0x2n, GP],
  ['EFER.LME under paging', 0xc000_0080, 0x1n, GP],
  ['EFER.SCE', 0xc000_0080, 0x501n, undefined],
  ['an unknown register', 0x1234_5678, 0n, GP],
];
for (const [name, index, value, expected] of msrs)
  test(`WRMSR ${name}: ${expected === undefined ? 'is written' : '#GP'}`, () => {
    const b = new Bench().long();
    b.cpu.setGpr(S.RCX, BigInt(index));
    b.cpu.setGpr(S.RAX, value & 0xffff_ffffn);
    b.cpu.setGpr(S.RDX, value >> 32n);
    assert.equal(outcome(b, [0x0f, 0x30]), expected);
    if (expected !== undefined) return;
    b.cpu.rip = BigInt(CODE);
    assert.equal(outcome(b, [0x0f, 0x32]), undefined);
    assert.equal((b.cpu.gpr(S.RDX) << 32n) | b.cpu.gpr(S.RAX), value);
  });

const POPF_IMAGE = S.IF | S.IOPL | S.CF | S.NT | S.AC | S.ID | S.VIF | S.RF;
const pops: [string, 0 | 3, number, number][] = [
  ['privilege level 0 changes all but RF, VM, VIF', 0, 0, S.IF | S.IOPL | S.CF | S.NT | S.AC | S.ID | 2],
  ['privilege level 3 within IOPL changes IF but not IOPL', 3, S.IOPL, S.IF | S.IOPL | S.CF | S.NT | S.AC | S.ID | 2],
  ['privilege level 3 above IOPL changes neither', 3, 0, S.CF | S.NT | S.AC | S.ID | 2],
];
for (const [name, level, before, after] of pops)
  test(`POPF: ${name}`, () => {
    const b = new Bench().protect(level);
    b.cpu.eflags = before | 2;
    b.write32(level === 0 ? STACK0 : STACK3, POPF_IMAGE);
    assert.equal(outcome(b, [0x9d]), undefined);
    assert.equal(b.cpu.eflags, after);
  });

test('PUSHF: hides RF', () => {
  const b = new Bench().protect();
  b.cpu.eflags = S.CF | S.RF | 2;
  outcome(b, [0x9c]);
  assert.equal(b.read32(STACK0 - 4), S.CF | 2);
});

test('CLI and HLT: are #GP above the privilege they need', () => {
  assert.equal(outcome(new Bench().protect(3), [0xfa]), GP);
  assert.equal(outcome(new Bench().protect(3), [0xf4]), GP);
  const b = new Bench().protect();
  assert.equal(outcome(b, [0xf4]), undefined);
  assert.deepEqual(b.log, ['halt false']);
});

test('LMSW: sets PE and does not clear it', () => {
  const b = new Bench().protect();
  b.cpu.setGpr(S.RAX, 8n);
  assert.equal(outcome(b, [0x0f, 0x01, 0xf0]), undefined);
  assert.equal(b.cpu.get32(S.CR0), 0x19);
});

test('SGDT and LGDT: store and load the table register', () => {
  const b = new Bench().long();
  b.cpu.setGpr(S.RAX, 0x5000n);
  outcome(b, [0x0f, 0x01, 0x00]);
  assert.deepEqual([b.read16(0x5000), b.read64(0x5002)], [0xff, 0x1000n]);
  b.write64(0x5002, 0x8000_0000_0000_0000n);
  b.cpu.rip = BigInt(CODE);
  assert.equal(outcome(b, [0x0f, 0x01, 0x10]), GP);
});

test('RDTSC: is #GP for user code with CR4.TSD; RDTSCP adds TSC_AUX', () => {
  const b = new Bench().protect(3);
  assert.equal(outcome(b, [0x0f, 0x01, 0xf9]), undefined);
  assert.deepEqual([b.cpu.gpr(S.RAX), b.cpu.gpr(S.RDX), b.cpu.gpr(S.RCX)], [2n, 1n, 0n]);
  b.cpu.rip = BigInt(CODE);
  b.cpu.set64(S.CR4, 4n);
  assert.equal(outcome(b, [0x0f, 0x31]), GP);
});

test('STAC: sets AC at privilege level 0 and is #UD above it', () => {
  const b = new Bench().protect();
  assert.equal(outcome(b, [0x0f, 0x01, 0xcb]), undefined);
  assert.equal(b.cpu.eflags & S.AC, S.AC);
  assert.equal(outcome(new Bench().protect(3), [0x0f, 0x01, 0xcb]), UD);
});

test('INVLPG: takes no fault for an address that is not canonical', () => {
  const b = new Bench().long();
  b.cpu.setGpr(S.RAX, 0x8000_0000_0000_0000n);
  assert.equal(outcome(b, [0x0f, 0x01, 0x38]), undefined);
  assert.equal(b.selector(S.CS), CODE0);
});
