import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { DB, PFV, SSV } from '../system/fault.ts';
import { Bench, CODE, CODE0, HANDLERS, STACK0 } from '../system/testing.ts';

const PAGE_DIRECTORY = 0x12000;
/** Linear 0x200000 is the second 2 MiB page: its first 512 KiB of frames are those of the first. */
const SECOND = 0x20_0000;

const eax = (b: Bench): number => b.cpu.get32(S.gpr(S.RAX));

test('INVLPG: drops every 4 KiB slice of a large page', () => {
  const b = new Bench().long();
  b.write64(PAGE_DIRECTORY + 8, 0x87n);
  b.write32(0x5000, 1);
  b.write32(0x6000, 2);
  b.cpu.setGpr(S.RBX, BigInt(SECOND + 0x5000));
  b.execute([0x8b, 0x03]);
  assert.equal(eax(b), 1);
  // The page now has no memory behind it; INVLPG names another part of it.
  b.write64(PAGE_DIRECTORY + 8, 0x4000_0087n);
  b.cpu.setGpr(S.RCX, BigInt(SECOND + 0x1f_0000));
  b.execute([0x0f, 0x01, 0x39]);
  b.execute([0x8b, 0x03]);
  assert.equal(eax(b), 0xffff_ffff);
});

test('a write that was prepared by an instruction that faulted is never made', () => {
  const b = new Bench().protect();
  b.gate(PFV);
  const page = CODE & ~0xfff;
  b.write32(page + 0xf00, 0x1111_1111);
  b.execute([0x90]);
  // Compiled code asks for a place on the code page and then faults instead of storing.
  b.cpu.set64(S.SLOW_LINEAR, BigInt(page + 0xf00));
  b.cpu.mem.slow(4 | 0x100);
  b.cpu.u8.fill(0xee, b.cpu.base + S.BOUNCE, b.cpu.base + S.BOUNCE + 4);
  b.cpu.writeLinear32(0x5000n, 5);
  b.cpu.writeLinear32(0x5000n, 6);
  assert.deepEqual([b.read32(page + 0xf00), b.read32(0x5000)], [0x1111_1111, 6]);
});

test('data breakpoint: an instruction that faults reports none', () => {
  const b = new Bench().long();
  b.gate(DB);
  b.gate(PFV);
  b.write64(PAGE_DIRECTORY + 8, 0n);
  b.cpu.set64(S.DR0, BigInt(SECOND));
  b.cpu.set64(S.DR7, 0x402n | (0b1111n << 16n));
  b.cpu.updateMode();
  b.bytes(HANDLERS + PFV * 16, [0x90, 0x90]);
  b.cpu.setGpr(S.RBX, BigInt(SECOND));
  b.execute([0x8b, 0x03], 2);
  assert.equal(b.cpu.rip, BigInt(HANDLERS + PFV * 16 + 1));
  assert.equal(b.cpu.get32(S.DR6) & 0xf, 0);
});

test('a stack access over the end of the canonical addresses is #SS', () => {
  const b = new Bench().long();
  // The last page of the lower half maps frame 5.
  b.write64(0x10000 + 255 * 8, 0x13007n);
  b.write64(0x13000 + 511 * 8, 0x14007n);
  b.write64(0x14000 + 511 * 8, 0x15007n);
  b.write64(0x15000 + 511 * 8, 0x5007n);
  b.gate(SSV, { ist: 1 });
  b.write64(0x3000 + 0x24, BigInt(STACK0));
  b.cpu.setGpr(S.RSP, 0x7fff_ffff_fffcn);
  b.execute([0x58]);
  assert.equal(b.cpu.rip, BigInt(HANDLERS + SSV * 16));
  assert.equal(b.cpu.get16(S.seg(S.CS) + S.SEG_SELECTOR), CODE0);
});
