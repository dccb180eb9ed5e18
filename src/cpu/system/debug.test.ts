import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { DB } from './fault.ts';
import { Bench, CODE, CODE0, DATA0, HANDLERS, STACK0 } from './testing.ts';

const HANDLER = BigInt(HANDLERS + DB * 16);

const armed = (address: number, control: number): Bench => {
  const b = new Bench().protect();
  b.gate(DB);
  b.cpu.set64(S.DR0, BigInt(address));
  b.cpu.set64(S.DR7, BigInt(0x402 | (control << 16)));
  b.cpu.updateMode();
  return b;
};

test('instruction breakpoint: faults at the instruction', () => {
  const b = armed(CODE + 1, 0);
  b.bytes(Number(HANDLER), [0x90]);
  b.execute([0x90, 0x90], 2);
  assert.deepEqual([b.cpu.rip - 1n, b.read32(STACK0 - 12), b.cpu.get32(S.DR6) & 0xf], [HANDLER, CODE + 1, 1]);
});

test('instruction breakpoint: RF of an IRET frame passes it once', () => {
  const b = armed(0xa000, 0);
  [0xa000, CODE0, S.RF | 2].forEach((value, n) => {
    b.write32(STACK0 + 4 * n, value);
  });
  b.bytes(0xa000, [0x90]);
  b.execute([0xcf], 2);
  assert.equal(b.cpu.rip, 0xa001n);
  assert.equal(b.cpu.eflags & S.RF, 0);
});

test('data breakpoint: traps behind the access that touches it', () => {
  // MOV [0x5002], EAX against a 2-byte write breakpoint at 0x5004.
  const b = armed(0x5004, 0b0101);
  b.execute([0xa3, 0x02, 0x50, 0, 0]);
  assert.deepEqual([b.cpu.rip, b.read32(STACK0 - 12), b.cpu.get32(S.DR6) & 0xf], [HANDLER, CODE + 5, 1]);
});

test('data breakpoint: a write breakpoint ignores reads', () => {
  const b = armed(0x5004, 0b0101);
  b.execute([0xa1, 0x04, 0x50, 0, 0]);
  assert.equal(b.cpu.rip, BigInt(CODE + 5));
});

test('single step: traps behind each instruction with BS', () => {
  const b = new Bench().protect();
  b.gate(DB);
  b.cpu.eflags = S.TF | 2;
  b.execute([0x90, 0x90], 1);
  assert.deepEqual([b.cpu.rip, b.read32(STACK0 - 12), b.cpu.get32(S.DR6) & 0x4000], [HANDLER, CODE + 1, 0x4000]);
  assert.equal(b.cpu.eflags & S.TF, 0);
});

test('MOV SS: its data breakpoint is reported behind the next instruction, inside the handler of an INT3', () => {
  const b = armed(0x5000, 0b1111);
  b.gate(3);
  b.write16(0x5000, DATA0);
  // MOV SS, [0x5000]; INT3
  b.bytes(Number(HANDLER), [0x90]);
  b.execute([0x8e, 0x15, 0x00, 0x50, 0, 0, 0xcc], 3);
  assert.equal(b.cpu.rip, HANDLER + 1n);
  // The #DB interrupted the first instruction of the breakpoint handler.
  assert.equal(b.read32(STACK0 - 24), HANDLERS + 3 * 16);
});

test('single step: an INT3 that is stepped does not trap in the handler', () => {
  const b = new Bench().protect();
  b.gate(DB);
  b.gate(3);
  b.cpu.eflags = S.TF | 2;
  b.execute([0xcc], 1);
  assert.deepEqual([b.cpu.rip, b.read32(STACK0 - 4)], [BigInt(HANDLERS + 3 * 16), S.TF | 2]);
});

test('single step: SYSCALL goes by the flags it loads', () => {
  const b = new Bench().long();
  b.gate(DB);
  b.cpu.set64(S.LSTAR, 0xa000n);
  b.cpu.set64(S.STAR, 0x8_0000_0000n);
  b.cpu.set64(S.SFMASK, BigInt(S.TF));
  b.cpu.eflags = S.TF | 2;
  b.execute([0x0f, 0x05], 1);
  assert.equal(b.cpu.rip, 0xa000n);
});

test('instruction breakpoint: a repeated string instruction is reported once, not at each repetition', () => {
  const b = armed(CODE, 0);
  // The handler counts in EBX, sets RF in its frame and returns.
  b.bytes(Number(HANDLER), [0x43, 0x81, 0x4c, 0x24, 0x08, 0, 0, 1, 0, 0xcf]);
  b.cpu.setGpr(S.RBX, 0n);
  b.cpu.setGpr(S.RCX, 4n);
  b.cpu.setGpr(S.RDI, 0x5000n);
  b.execute([0xf3, 0xaa], 7);
  assert.deepEqual([b.cpu.rip, b.cpu.gpr(S.RBX), b.cpu.gpr(S.RCX)], [BigInt(CODE + 2), 1n, 0n]);
  assert.equal(b.cpu.eflags & S.RF, 0);
});
