import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { Bench, CODE, HANDLERS } from '../system/testing.ts';

/** Real mode with ES at 256 KiB, SS at 128 KiB: linear addresses that no limit of DS allows. */
const segmented = (): Bench => {
  const b = new Bench().real();
  b.cpu.setSegment(S.ES, 0x4000, 0x4_0000n, 0xffff, 0x93);
  b.cpu.setSegment(S.SS, 0x2000, 0x2_0000n, 0xffff, 0x93);
  b.cpu.updateMode();
  b.cpu.setGpr(S.RDI, 0x10n);
  b.cpu.setGpr(S.RSI, 0x5000n);
  return b;
};

test('STOS: the destination is checked against ES alone', () => {
  const b = segmented();
  b.cpu.setGpr(S.RAX, 0x1234n);
  b.execute([0xab]);
  assert.deepEqual([b.cpu.rip, b.read16(0x4_0010)], [BigInt(CODE + 1), 0x1234]);
});

test('MOVS: source and destination are checked against their own segments', () => {
  const b = segmented();
  b.write16(0x2_5000, 0xabcd);
  // SS: MOVSW
  b.execute([0x36, 0xa5]);
  assert.deepEqual([b.cpu.rip, b.read16(0x4_0010)], [BigInt(CODE + 2), 0xabcd]);
});

test('XLAT: the table is checked against the segment of the prefix', () => {
  const b = segmented();
  b.write16(0x4_0005, 0x99);
  b.cpu.setGpr(S.RAX, 5n);
  // ES: XLAT
  b.execute([0x26, 0xd7]);
  assert.deepEqual([b.cpu.rip, b.cpu.get8(S.gpr(S.RAX))], [BigInt(CODE + 2), 0x99]);
});

test('LEAVE: the frame is checked against SS', () => {
  const b = segmented();
  b.write16(0x2_0100, 0x4321);
  b.cpu.setGpr(S.RBP, 0x100n);
  b.execute([0xc9]);
  assert.deepEqual([b.cpu.gpr(S.RBP), b.cpu.gpr(S.RSP)], [0x4321n, 0x102n]);
});

test('LEAVE: a frame pointer that is not canonical is #SS', () => {
  const b = new Bench().long();
  b.gate(12);
  b.cpu.setGpr(S.RBP, 1n << 47n);
  b.execute([0xc9]);
  assert.equal(b.cpu.rip, BigInt(HANDLERS + 12 * 16));
});

test('CMPXCHG16B: what must be aligned is the linear address, FS base included', () => {
  const b = new Bench().long();
  b.gate(13);
  b.cpu.set64(S.seg(S.FS), 8n);
  b.cpu.setGpr(S.RBX, 0x5008n);
  // FS: CMPXCHG16B [RBX]
  b.execute([0x64, 0x48, 0x0f, 0xc7, 0x0b]);
  assert.equal(b.cpu.rip, BigInt(CODE + 5));
  b.cpu.setGpr(S.RBX, 0x5000n);
  b.execute([0x64, 0x48, 0x0f, 0xc7, 0x0b]);
  assert.equal(b.cpu.rip, BigInt(HANDLERS + 13 * 16));
});
