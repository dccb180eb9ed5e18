import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { DB, GP, PFV } from './fault.ts';
import { Bench, CODE, HANDLERS, STACK0, TSS, TSS_SELECTOR } from './testing.ts';

const handler = (vector: number): bigint => BigInt(HANDLERS + vector * 16);

test('IN and OUT: move AL, AX and EAX', () => {
  const b = new Bench().protect();
  b.inputs.set(0x60, 0x1234_5678);
  b.cpu.setGpr(S.RAX, 0xffff_ffffn);
  b.cpu.setGpr(S.RDX, 0x60n);
  b.execute([0xe4, 0x60]);
  assert.equal(b.cpu.gpr(S.RAX), 0xffff_ff78n);
  b.execute([0x66, 0xed]);
  assert.equal(b.cpu.gpr(S.RAX), 0xffff_5678n);
  b.execute([0xed]);
  assert.equal(b.cpu.gpr(S.RAX), 0x1234_5678n);
  b.execute([0xe6, 0x80]);
  assert.deepEqual(b.log, ['in 60 1', 'in 60 2', 'in 60 4', 'out 80 1 78']);
});

/** A user-mode access with a permission map: offset of the map, its limit, two bytes of it, the bytes run, allowed. */
const permissions: [string, number, number, number, number[], boolean][] = [
  ['a clear bit allows', 0x68, 0x80, 0x0000, [0xe4, 0x08], true],
  ['a set bit refuses', 0x68, 0x80, 0x0100, [0xe4, 0x08], false],
  ['every byte of a wide access counts', 0x68, 0x80, 0x0800, [0xe5, 0x08], false],
  ['a map beyond the limit refuses', 0x68, 0x69, 0x0000, [0xe4, 0x08], false],
];
for (const [name, base, limit, bits, bytes, allowed] of permissions)
  test(`I/O permission map: ${name}`, () => {
    const b = new Bench().protect(3);
    b.gate(GP);
    b.cpu.setSegment(S.TR, TSS_SELECTOR, BigInt(TSS), limit, 0x8b);
    b.write16(TSS + 0x66, base);
    b.write16(TSS + base, bits);
    b.execute(bytes);
    assert.equal(b.cpu.rip, allowed ? BigInt(CODE + 2) : handler(GP));
  });

test('IN: IOPL allows user code without the map', () => {
  const b = new Bench().protect(3);
  b.cpu.eflags = S.IOPL | 2;
  b.execute([0xe4, 0x08]);
  assert.equal(b.cpu.rip, BigInt(CODE + 2));
});

test('REP INSB: stores count bytes and leaves the count at zero', () => {
  const b = new Bench().protect();
  b.inputs.set(0x1f0, 0x5a);
  b.cpu.setGpr(S.RDX, 0x1f0n);
  b.cpu.setGpr(S.RCX, 3n);
  b.cpu.setGpr(S.RDI, 0x5000n);
  b.execute([0xf3, 0x6c], 3);
  assert.equal(b.read32(0x5000), 0x5a5a5a);
  assert.deepEqual([b.cpu.gpr(S.RCX), b.cpu.gpr(S.RDI), b.cpu.rip], [0n, 0x5003n, BigInt(CODE + 2)]);
});

test('REP OUTSW: honours the segment override, DF and a count of zero', () => {
  const b = new Bench().protect();
  b.cpu.setSegment(S.FS, 0x10, 0x1000n, 0xffff_ffff, 0xc093);
  b.cpu.updateMode();
  b.write32(0x5000, 0x2222_1111);
  b.cpu.setGpr(S.RDX, 0x1f0n);
  b.cpu.setGpr(S.RCX, 2n);
  b.cpu.setGpr(S.RSI, 0x4002n);
  b.cpu.eflags = S.DF | 2;
  b.execute([0xf3, 0x64, 0x66, 0x6f], 2);
  assert.deepEqual(b.log, ['out 1f0 2 2222', 'out 1f0 2 1111']);
  b.execute([0xf3, 0x6f]);
  assert.equal(b.log.length, 2);
});

test('INS: a page fault leaves the port unread', () => {
  const b = new Bench().long();
  b.gate(PFV);
  b.cpu.setGpr(S.RDI, 0x4000_0000n);
  b.execute([0x6c]);
  assert.equal(b.cpu.rip, handler(PFV));
  assert.deepEqual(b.log, []);
});

test('I/O breakpoint: traps behind the access when CR4.DE is set', () => {
  const b = new Bench().protect();
  b.gate(DB);
  b.cpu.set64(S.CR4, 8n);
  b.cpu.set64(S.DR0, 0x80n);
  b.cpu.set64(S.DR7, 0x2_0402n);
  b.cpu.updateMode();
  b.execute([0xe6, 0x80]);
  assert.equal(b.cpu.rip, handler(DB));
  assert.equal(b.cpu.get32(S.DR6) & 15, 1);
});

test('OUT: what its device asks for happens before the next instruction', () => {
  const b = new Bench().protect();
  const { cpu } = b;
  b.gate(0x40);
  b.bytes(CODE, [0xe6, 0x80, 0x90, 0xe6, 0x81, 0x90]);
  const seen: number[] = [];
  b.onOut = (port) => {
    seen.push(cpu.executed);
    if (port === 0x80) b.pendingVector = 0x40;
    else cpu.requestExit();
  };
  // IF is clear: the interrupt waits, the request does not.
  assert.equal(cpu.run(100), 3);
  assert.equal(cpu.rip, BigInt(CODE + 5));
  assert.deepEqual(seen, [1, 3]);
  cpu.rip = BigInt(CODE);
  cpu.eflags |= S.IF;
  b.pendingVector = -1;
  b.bytes(HANDLERS + 0x400, [0xe6, 0x81]);
  assert.equal(cpu.run(100), 2);
  assert.equal(cpu.rip, handler(0x40) + 2n);
  assert.deepEqual(b.dwords(STACK0 - 12, 1), [CODE + 2]);
});

test('STI and POPF: a waiting interrupt comes behind the next instruction, or at once', () => {
  const b = new Bench().protect();
  const { cpu } = b;
  b.gate(0x40);
  b.pendingVector = 0x40;
  b.execute([0xfb, 0x90, 0x90], 3);
  assert.deepEqual(b.dwords(STACK0 - 12, 1), [CODE + 2]);
  const c = new Bench().protect();
  c.gate(0x40);
  c.pendingVector = 0x40;
  c.write32(STACK0, S.IF | S.CF | 2);
  c.execute([0x9d, 0x90, 0x90], 2);
  assert.deepEqual(c.dwords(STACK0 + 4 - 12, 1), [CODE + 1]);
  assert.equal(c.read32(STACK0 + 4 - 4), S.IF | S.CF | 2);
  assert.equal(cpu.cpl, 0);
});
