/**
 * What 16-bit and 32-bit code do differently: addressing forms, widths of the stack pointer and the instruction pointer, segment limits and types.
 * Key `sdm:1 "Operand Addressing"`, `sdm:3A "Limit Checking"`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../../src/cpu/state.ts';
import { TestMachine } from './support/machine.ts';

const machine = new TestMachine();
const { cpu } = machine;
const GP = 13,
  SS = 12,
  NONE = -1;

const CODE16 = 0x9b,
  CODE32 = 0xc09b,
  DATA = 0x93,
  DATA32 = 0xc093,
  STACK16 = 0x93;

/** Real mode with 64 KiB segments, all at 0 but ES at 0x1000 and SS at 0x2000. */
const realMode = (): void => {
  cpu.set64(S.CR0, 0x10n);
  cpu.set64(S.EFER, 0n);
  for (const n of [S.DS, S.FS, S.GS]) cpu.setSegment(n, 0, 0n, 0xffff, DATA);
  cpu.setSegment(S.CS, 0, 0n, 0xffff, CODE16);
  cpu.setSegment(S.ES, 0x100, 0x1000n, 0xffff, DATA);
  cpu.setSegment(S.SS, 0x200, 0x2000n, 0xffff, STACK16);
  cpu.updateMode(0);
  cpu.flushTlb(true);
};

/** Flat 32-bit protected mode without paging. */
const flatMode = (): void => {
  cpu.set64(S.CR0, 0x11n);
  cpu.set64(S.EFER, 0n);
  for (const n of [S.ES, S.SS, S.DS, S.FS, S.GS]) cpu.setSegment(n, 0x10, 0n, 0xffff_ffff, DATA32);
  cpu.setSegment(S.CS, 8, 0n, 0xffff_ffff, CODE32);
  cpu.updateMode(0);
  cpu.flushTlb(true);
};

const setRegisters = (values: Readonly<Record<number, number>>): void => {
  for (let n = 0; n < 16; n++) cpu.set64(S.gpr(n), BigInt((values[n] ?? 0) >>> 0));
};

const put = (at: number, bytes: readonly number[]): void => {
  bytes.forEach((b, i) => {
    cpu.writeLinear8(BigInt(at + i), b);
  });
};

/** Executes bytes placed at an offset in CS (base 0): the fault's vector or -1. */
const run = (bytes: readonly number[], at = 0x400): number => {
  put(at, bytes);
  cpu.rip = BigInt(at);
  return machine.step();
};

const reg = (n: number): number => cpu.get32(S.gpr(n));

// ---- addressing ----

const BX = 0x123,
  BP = 0x245,
  SI = 0x18,
  DI = 0x20;
const FORMS16: readonly [string, number][] = [
  ['BX+SI', BX + SI],
  ['BX+DI', BX + DI],
  ['BP+SI', BP + SI],
  ['BP+DI', BP + DI],
  ['SI', SI],
  ['DI', DI],
  ['BP', BP],
  ['BX', BX],
];

test('16-bit addressing: every ModRM form has its base, index, displacement and default segment', () => {
  realMode();
  FORMS16.forEach(([name, sum], rm) => {
    for (const mod of [0, 1, 2]) {
      setRegisters({
        [S.RBX]: 0xaaaa_0000 | BX,
        [S.RBP]: 0xbbbb_0000 | BP,
        [S.RSI]: 0xcccc_0000 | SI,
        [S.RDI]: 0xdddd_0000 | DI,
      });
      const displacement = mod === 0 ? [] : mod === 1 ? [0xf0] : [0x34, 0x12];
      const direct = mod === 0 && rm === 6;
      const offset = direct ? 0x0777 : (sum + (mod === 1 ? -16 : mod === 2 ? 0x1234 : 0)) & 0xffff;
      const segment = !direct && name.startsWith('BP') ? 0x2000 : 0;
      put(segment + offset, [0x5a]);
      // mov cl, [..]
      assert.equal(run([0x8a, (mod << 6) | 8 | rm, ...(direct ? [0x77, 0x07] : displacement)], 0x6000), NONE);
      assert.equal(reg(S.RCX), 0x5a, `${name} mod ${mod}`);
      put(segment + offset, [0]);
    }
  });
});

test('16-bit addressing: the offset wraps at 64 KiB before the segment base is added', () => {
  realMode();
  put(0x1000 + 0x0010, [0x77]);
  setRegisters({ [S.RBX]: 0xfff0, [S.RSI]: 0x20 });
  // mov cl, es:[bx+si]
  assert.equal(run([0x26, 0x8a, 0x08]), NONE);
  assert.equal(reg(S.RCX), 0x77);
});

test('16-bit code with 67: 32-bit forms, ESP and EBP default to SS, beyond the limit is #GP', () => {
  realMode();
  put(0x2000 + 0x34, [0x66]);
  setRegisters({ [S.RBP]: 0x30, [S.RAX]: 0x0001_0000 });
  // mov cl, [ebp+4]
  assert.equal(run([0x67, 0x8a, 0x4d, 0x04]), NONE);
  assert.equal(reg(S.RCX), 0x66);
  // mov cl, [eax]
  assert.equal(run([0x67, 0x8a, 0x08]), GP);
  // mov cl, ss:[eax]
  assert.equal(run([0x36, 0x67, 0x8a, 0x08]), SS);
});

test('LEA: the operand size cuts, the address size wraps', () => {
  flatMode();
  setRegisters({ [S.RBX]: 0x1234_fff0, [S.RSI]: 0x0000_0020, [S.RAX]: 0xffff_ffff });
  // lea ax, [ebx+esi]
  assert.equal(run([0x66, 0x8d, 0x04, 0x33]), NONE);
  assert.equal(reg(S.RAX), 0xffff_0010);
  // lea eax, [bx+si]
  assert.equal(run([0x67, 0x8d, 0x00]), NONE);
  assert.equal(reg(S.RAX), 0x10);
});

test('XLAT, string instructions and LOOP: the address size picks BX, SI, DI and CX', () => {
  realMode();
  put(0x0105, [0x99]);
  setRegisters({ [S.RBX]: 0xabcd_0100, [S.RAX]: 5 });
  assert.equal(run([0xd7]), NONE);
  assert.equal(reg(S.RAX), 0x99);
  setRegisters({ [S.RSI]: 0xaaaa_ffff, [S.RDI]: 0xbbbb_0000 });
  cpu.eflags = 2;
  // lodsb at offset FFFF: SI wraps, the upper half of ESI stays.
  assert.equal(run([0xac]), NONE);
  assert.equal(reg(S.RSI), 0xaaaa_0000);
  cpu.eflags = 2 | S.DF;
  // stosb downwards from 0
  assert.equal(run([0xaa]), NONE);
  assert.equal(reg(S.RDI), 0xbbbb_ffff);
  cpu.eflags = 2;
  setRegisters({ [S.RCX]: 0x0001_0001 });
  // loop: CX becomes 0, not taken
  assert.equal(run([0xe2, 0x10]), NONE);
  assert.equal(cpu.rip, 0x402n);
  assert.equal(reg(S.RCX), 0x0001_0000);
  // jecxz: ECX is not zero; jcxz: CX is
  assert.equal(run([0x67, 0xe3, 0x10]), NONE);
  assert.equal(cpu.rip, 0x403n);
  assert.equal(run([0xe3, 0x10]), NONE);
  assert.equal(cpu.rip, 0x412n);
});

// ---- stack width ----

test('PUSH and POP on a 16-bit stack: SP wraps and the upper half of ESP stays', () => {
  realMode();
  setRegisters({ [S.RSP]: 0x1234_0000, [S.RAX]: 0xcafe_beef });
  assert.equal(run([0x50]), NONE);
  assert.equal(reg(S.RSP), 0x1234_fffe);
  assert.equal(cpu.readLinear16(0x2000n + 0xfffen), 0xbeef);
  assert.equal(run([0x59]), NONE);
  assert.equal(reg(S.RSP), 0x1234_0000);
  assert.equal(reg(S.RCX), 0xbeef);
});

test('PUSH on a 16-bit stack: an operand that does not fit below the limit is #SS', () => {
  realMode();
  setRegisters({ [S.RSP]: 1 });
  assert.equal(run([0x50]), SS);
  assert.equal(reg(S.RSP), 1);
});

test('PUSH in 32-bit code on a 16-bit stack: four bytes through SP', () => {
  flatMode();
  cpu.setSegment(S.SS, 0x18, 0x2000n, 0xffff, 0x93);
  cpu.updateMode(0);
  setRegisters({ [S.RSP]: 0x7777_0002 + 6, [S.RAX]: 0xcafe_beef });
  assert.equal(run([0x50]), NONE);
  assert.equal(reg(S.RSP), 0x7777_0004);
  assert.equal(cpu.readLinear32(0x2004n), 0xcafe_beef);
  // leave: ESP comes from BP through the 16-bit stack
  cpu.set64(S.gpr(S.RBP), 0x5555_0004n);
  assert.equal(run([0xc9]), NONE);
  assert.equal(reg(S.RBP), 0xcafe_beef);
  assert.equal(reg(S.RSP), 0x7777_0008);
});

test('PUSH of ESP and POP to ESP-relative memory: old value is pushed, new one addresses', () => {
  flatMode();
  setRegisters({ [S.RSP]: 0x3000 });
  assert.equal(run([0x54]), NONE);
  assert.equal(cpu.readLinear32(0x2ffcn), 0x3000);
  put(0x2ffc, [1, 2, 3, 4]);
  // pop dword [esp+8]
  assert.equal(run([0x8f, 0x44, 0x24, 0x08]), NONE);
  assert.equal(cpu.readLinear32(0x3008n), 0x0403_0201);
  assert.equal(reg(S.RSP), 0x3000);
});

test('PUSHA and POPA: eight registers, SP as it was, ESP skipped', () => {
  realMode();
  setRegisters({ 0: 1, 1: 2, 2: 3, 3: 4, 4: 0x100, 5: 6, 6: 7, 7: 8 });
  assert.equal(run([0x60]), NONE);
  assert.equal(reg(S.RSP), 0xf0);
  assert.deepEqual(
    Array.from({ length: 8 }, (_, i) => cpu.readLinear16(0x20f0n + BigInt(i * 2))),
    [8, 7, 6, 0x100, 4, 3, 2, 1],
  );
  setRegisters({ 4: 0xf0 });
  assert.equal(run([0x61]), NONE);
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 7].map(reg), [1, 2, 3, 4, 0x100, 6, 7, 8]);
});

// ---- instruction pointer ----

test('near jumps in 16-bit code: the target wraps at 64 KiB', () => {
  realMode();
  assert.equal(run([0xeb, 0x7f], 0xfff0), NONE);
  assert.equal(cpu.rip, (0xfff2n + 0x7fn) & 0xffffn);
  assert.equal(run([0xe9, 0x00, 0x80], 0x400), NONE);
  assert.equal(cpu.rip, 0x8403n);
});

test('near jumps with a 32-bit operand size: a target beyond the CS limit is #GP at the jump', () => {
  realMode();
  assert.equal(run([0x66, 0xe9, 0, 0, 1, 0]), GP);
  assert.equal(cpu.rip, 0x400n);
  flatMode();
  setRegisters({});
  // jmp rel16 in 32-bit code cuts EIP
  put(0, [0x90]);
  assert.equal(run([0x66, 0xe9, 0xfc, 0xfb]), NONE);
  assert.equal(cpu.rip, 0n);
});

test('near CALL and RET: operand size is the width of the return address', () => {
  realMode();
  setRegisters({ [S.RSP]: 0x100 });
  assert.equal(run([0xe8, 0x10, 0x00]), NONE);
  assert.equal(cpu.readLinear16(0x20fen), 0x403);
  assert.equal(run([0xc3]), NONE);
  assert.equal(cpu.rip, 0x403n);
  assert.equal(reg(S.RSP), 0x100);
  assert.equal(run([0x66, 0xe8, 0x10, 0, 0, 0]), NONE);
  assert.equal(reg(S.RSP), 0xfc);
  assert.equal(cpu.readLinear32(0x20fcn), 0x406);
  // ret imm16 drops arguments behind the return address
  assert.equal(run([0x66, 0xc2, 0x08, 0x00]), NONE);
  assert.equal(cpu.rip, 0x406n);
  assert.equal(reg(S.RSP), 0x108);
});

// ---- segments ----

test('data segments: an access that reaches beyond the limit is #GP, in the stack segment #SS', () => {
  realMode();
  setRegisters({ [S.RBX]: 0xffff, [S.RBP]: 0xffff });
  // mov al, [bx]; mov ax, [bx]; mov ax, [bp]
  assert.equal(run([0x8a, 0x07]), NONE);
  assert.equal(run([0x8b, 0x07]), GP);
  assert.equal(run([0x8b, 0x46, 0x00]), SS);
});

test('data segments in protected mode: type, presence of a selector and direction are checked', () => {
  flatMode();
  setRegisters({ [S.RBX]: 0x3000 });
  // Read-only.
  cpu.setSegment(S.DS, 0x10, 0n, 0xffff_ffff, 0xc091);
  cpu.updateMode(0);
  assert.equal(run([0x8b, 0x03]), NONE);
  cpu.setSegment(S.DS, 0x10, 0n, 0xffff_ffff, 0xc091);
  assert.equal(run([0x89, 0x03]), GP);
  // Null selector.
  cpu.setSegment(S.DS, 0, 0n, 0, S.ATTR_UNUSABLE);
  cpu.updateMode(0);
  assert.equal(run([0x8b, 0x03]), GP);
  // Expand-down: offsets above the limit only.
  cpu.setSegment(S.DS, 0x10, 0n, 0x2fff, 0x4097);
  cpu.updateMode(0);
  assert.equal(run([0x8b, 0x03]), NONE);
  cpu.set64(S.gpr(S.RBX), 0x2ffcn);
  assert.equal(run([0x8b, 0x03]), GP);
});

test('FS and GS in flat protected mode: null selectors, limits and types are checked', () => {
  flatMode();
  setRegisters({ [S.RBX]: 0x3000 });
  assert.equal(run([0x64, 0x8b, 0x03]), NONE);
  cpu.setSegment(S.FS, 0, 0n, 0, S.ATTR_UNUSABLE);
  cpu.updateMode(0);
  assert.equal(run([0x64, 0x8b, 0x03]), GP);
  cpu.setSegment(S.GS, 0x10, 0x1000n, 0x0fff, DATA);
  cpu.updateMode(0);
  assert.equal(run([0x65, 0x8b, 0x03]), GP);
  cpu.set64(S.gpr(S.RBX), 0xffcn);
  assert.equal(run([0x65, 0x8b, 0x03]), NONE);
});

test('CS as data segment in protected mode: readable, never writable', () => {
  flatMode();
  setRegisters({ [S.RBX]: 0x3000 });
  assert.equal(run([0x2e, 0x8b, 0x03]), NONE);
  assert.equal(run([0x2e, 0x89, 0x03]), GP);
});

test('segment overrides: strings take one for the source only', () => {
  realMode();
  put(0x1000 + 0x10, [0x41]);
  setRegisters({ [S.RSI]: 0x10, [S.RDI]: 0x20 });
  cpu.eflags = 2;
  // movsb es:
  assert.equal(run([0x26, 0xa4]), NONE);
  assert.equal(cpu.readLinear8(0x1020n), 0x41);
});

test('VEX encodings: exist in protected mode, are #UD in real mode', () => {
  const andn = [0xc4, 0xe2, 0x60, 0xf2, 0xc1]; // ANDN eax, ebx, ecx
  realMode();
  assert.equal(run(andn, 0x700), 6);
  flatMode();
  setRegisters({ [S.RBX]: 0x0f, [S.RCX]: 0xff });
  assert.equal(run(andn, 0x700), NONE);
  assert.equal(cpu.gpr(S.RAX), 0xf0n);
});
