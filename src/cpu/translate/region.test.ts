import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { Bench, CODE, STACK0 } from '../system/testing.ts';

/** 32-bit code at CODE, translated where it arrives twice; interpreted when `threshold` is 0. */
const machine = (threshold: number, code: readonly number[]): Bench => {
  const bench = new Bench({}, undefined, { hotThreshold: threshold }).protect();
  bench.bytes(CODE, [...code, 0xeb, 0xfe]);
  bench.cpu.setGpr(S.RSP, BigInt(STACK0));
  return bench;
};

const outcome = ({ cpu }: Bench): Record<string, bigint | number> => ({
  rip: cpu.rip,
  eflags: cpu.eflags,
  ...Object.fromEntries(Array.from({ length: 8 }, (_, n) => [`r${n}`, cpu.gpr(n)])),
});

/** Runs both engines in slices of these lengths; after each slice they agree. */
const agree = (code: readonly number[], slices: readonly number[], begin: (b: Bench) => void = () => {}): Bench => {
  const both = [machine(0, code), machine(2, code)];
  for (const b of both) begin(b);
  for (const slice of slices) {
    const counts = both.map((b) => b.cpu.run(slice));
    assert.equal(counts[1], counts[0]);
    assert.deepEqual(outcome(both[1]!), outcome(both[0]!));
  }
  return both[1]!;
};

const many = (n: number, length: number): number[] => new Array<number>(n).fill(length);

test('region: a slice ends at exactly the instruction asked for, wherever it is in a loop', () => {
  // add eax, ecx; adc edx, 0; xor eax, edx; dec ecx; jnz
  agree([0x01, 0xc8, 0x83, 0xd2, 0x00, 0x31, 0xd0, 0x49, 0x75, 0xf6], [...many(40, 7), 1, 1, 2, 3, 500], ({ cpu }) => {
    cpu.setGpr(S.RAX, 0xffff_0000n);
    cpu.setGpr(S.RCX, 400n);
  });
});

test('region: INC and DEC leave the carry of whatever set it, also around a loop', () => {
  // stc; again: inc eax; setc bl; dec ecx; jnz again; adc edx, 0
  const carried = agree([0xf9, 0x40, 0x0f, 0x92, 0xc3, 0x49, 0x75, 0xf9, 0x83, 0xd2, 0x00], many(30, 11), ({ cpu }) => {
    cpu.setGpr(S.RCX, 60n);
  });
  assert.equal(carried.cpu.gpr(S.RDX), 1n);
  // again: cmp eax, 0x20; inc eax; jb again: the carry is that of the comparison.
  const compared = agree([0x83, 0xf8, 0x20, 0x40, 0x72, 0xfa], many(20, 7));
  assert.equal(compared.cpu.gpr(S.RAX), 0x21n);
});

test('region: flags that are set on two ways are those of the way taken', () => {
  // again: test cl, 1; jz even; cmp eax, ecx; jmp join; even: add eax, 3; join: lahf; add edx, eax; dec ecx; jnz again
  const code = [
    ...[0xf6, 0xc1, 0x01, 0x74, 0x04, 0x39, 0xc8, 0xeb, 0x03, 0x83, 0xc0, 0x03],
    ...[0x9f, 0x01, 0xc2, 0x49, 0x75, 0xee],
  ];
  agree(code, many(60, 5), ({ cpu }) => cpu.setGpr(S.RCX, 50n));
});

test('region: parts of registers are written without the rest', () => {
  // again: mov al, cl; mov ah, al; add bx, ax; xchg bl, bh; shl edx, 1; mov dl, bh; dec ecx; jnz again
  const code = [
    ...[0x88, 0xc8, 0x88, 0xc4, 0x66, 0x01, 0xc3, 0x86, 0xfb, 0xd1, 0xe2, 0x88, 0xfa],
    ...[0x49, 0x75, 0xf0],
  ];
  agree(code, many(50, 9), ({ cpu }) => {
    cpu.setGpr(S.RAX, 0xdead_beefn);
    cpu.setGpr(S.RCX, 50n);
  });
});

test('region: calls and returns inside a page stay in it, and a loop that a slice ended in is entered again', () => {
  // again: call sub; dec ecx; jnz again; jmp $; sub: push ebx; inc ebx; xor eax, ebx; pop ebx; inc ebx; ret
  const code = [...[0xe8, 0x05, 0, 0, 0, 0x49, 0x75, 0xf8, 0xeb, 0xfe], ...[0x53, 0x43, 0x31, 0xd8, 0x5b, 0x43, 0xc3]];
  const bench = agree(code, [...many(60, 13), 20_000], ({ cpu }) => cpu.setGpr(S.RCX, 1000n));
  assert.equal(bench.cpu.gpr(S.RCX), 0n);
  assert.ok(bench.cpu.code.counts.regions > 0);
});

test('region: an access that faults in the middle of a block leaves the registers and flags of the instruction before', () => {
  // again: add eax, 0x7000_0000; mov edx, [esi]; add esi, 0x8_0000; jmp again: esi soon points beyond the segment.
  const code = [0x05, 0, 0, 0, 0x70, 0x8b, 0x16, 0x81, 0xc6, 0, 0, 8, 0, 0xeb, 0xf1];
  const begin = (b: Bench): void => {
    b.cpu.setSegment(S.DS, 0x10, 0n, 0x1f_ffff, 0xc093);
    b.cpu.updateMode(0);
    b.gate(13);
  };
  agree(code, many(20, 1), begin);
});

test('region: INC behind a return leaves the carry of the function', () => {
  // jmp main; f: cmp eax, ecx; ret; main: call f; inc eax; adc edx, 0; dec ecx; jnz main
  const code = [
    ...[0xeb, 0x03, 0x39, 0xc8, 0xc3],
    ...[0xe8, 0xf8, 0xff, 0xff, 0xff, 0x40, 0x83, 0xd2, 0x00, 0x49, 0x75, 0xf4],
  ];
  const { cpu } = agree(code, many(60, 7), (b) => b.cpu.setGpr(S.RCX, 50n));
  assert.equal(cpu.gpr(S.RDX), 25n);
});

test('region: DEC behind a return, and nothing else in a loop that sets flags, leaves the carry', () => {
  // jmp main; f: ret; main: stc; again: call f; mov ebx, [esp]; dec ecx; jnz again; adc edx, 0
  const code = [
    ...[0xeb, 0x01, 0xc3, 0xf9],
    ...[0xe8, 0xf9, 0xff, 0xff, 0xff, 0x8b, 0x1c, 0x24, 0x49, 0x75, 0xf5, 0x83, 0xd2, 0x00],
  ];
  const { cpu } = agree(code, many(60, 5), (b) => b.cpu.setGpr(S.RCX, 30n));
  assert.equal(cpu.gpr(S.RDX), 1n);
});

test('region: calls through a register reach each of many functions of the page', () => {
  // again: mov eax, ecx; and eax, 7; lea eax, [eax*4 + functions]; call eax; dec ecx; jnz again; jmp end; 8 of add edx, i; ret; end:
  const functions = CODE + 19;
  const code = [
    ...[0x89, 0xc8, 0x83, 0xe0, 0x07, 0x8d, 0x04, 0x85, functions & 0xff, functions >> 8, 0, 0],
    ...[0xff, 0xd0, 0x49, 0x75, 0xef, 0xeb, 0x20],
    ...Array.from({ length: 8 }, (_, i) => [0x83, 0xc2, 1 + i, 0xc3]).flat(),
  ];
  const { cpu } = agree(code, many(160, 11), (b) => b.cpu.setGpr(S.RCX, 160n));
  assert.equal(cpu.gpr(S.RDX), 20n * 36n);
});

test('region: the stack may cross pages, at once and by and by', () => {
  // again: push ecx; mov eax, [esp-2]; add edx, eax; add [esp], edx; pop eax; sub esp, 5; dec ecx; jnz again
  const code = [
    ...[0x51, 0x8b, 0x44, 0x24, 0xfe, 0x01, 0xc2, 0x01, 0x14, 0x24, 0x58],
    ...[0x83, 0xec, 0x05, 0x49, 0x75, 0xef],
  ];
  agree(code, many(500, 17), (b) => b.cpu.setGpr(S.RCX, 1000n));
});

test('region: pointers of nested loops walk over pages, alone and side by side', () => {
  // outer: mov ebx, 3; inner: mov eax, [esi]; add [edi+2], eax; mov edx, [esi+ecx]; add eax, edx; mov [esi], eax; add esi, 1021;
  // sub edi, 509; dec ebx; jnz inner; sub esi, 3000; dec ecx; jnz outer
  const code = [
    ...[0xbb, 3, 0, 0, 0, 0x8b, 0x06, 0x01, 0x47, 0x02, 0x8b, 0x14, 0x0e, 0x01, 0xd0, 0x89, 0x06],
    ...[0x81, 0xc6, 0xfd, 0x03, 0, 0, 0x81, 0xef, 0xfd, 0x01, 0, 0, 0x4b, 0x75, 0xe5],
    ...[0x81, 0xee, 0xb8, 0x0b, 0, 0, 0x49, 0x75, 0xd7],
  ];
  const { cpu } = agree(code, many(100, 13), (b) => {
    b.cpu.setGpr(S.RCX, 40n);
    b.cpu.setGpr(S.RSI, 0x2_0000n);
    b.cpu.setGpr(S.RDI, 0x4_0000n);
    for (let i = 0; i < 0x8000; i += 4) b.write32(0x2_0000 + i, Math.imul(i, 0x9e37_79b1));
  });
  assert.equal(cpu.gpr(S.RCX), 0n);
});

test('region: a translation that lost its place in the TLB to another page is walked anew, as by the interpreter', () => {
  // again: add dword [esi], 0; mov eax, [esi]; mov ebx, [edi]; mov [ebp], ecx; mov edx, [esi]; xor ecx, 7000h; dec dword [16004h];
  // jnz again
  const code = [
    ...[0x83, 0x06, 0x00, 0x8b, 0x06, 0x8b, 0x1f, 0x89, 0x4d, 0x00, 0x8b, 0x16],
    ...[0x81, 0xf1, 0x00, 0x70, 0, 0, 0xff, 0x0d, 0x04, 0x60, 0x01, 0, 0x75, 0xe6],
  ];
  const page = 0x40_0000;
  // A page that has the same place in the TLB.
  const rival = page + S.TLB_ENTRIES * 4096;
  for (const other of [rival, rival + 4096]) {
    const { cpu } = agree(code, many(40, 43), (b) => {
      b.write32(0x1_0000, 0x83);
      b.write32(0x1_0000 + (page >>> 22) * 4, 0x1_1003);
      b.write32(0x1_0000 + (other >>> 22) * 4, 0x1_2003);
      b.write32(0x1_1000, 0x1_3003);
      for (const at of [0x1_2000, 0x1_2004]) b.write32(at, 0x1_5003);
      b.write32(0x1_3000, 1);
      b.write32(0x1_4000, 1000);
      b.write32(0x1_6004, 199);
      b.cpu.setGpr(S.RSI, BigInt(page));
      b.cpu.setGpr(S.RDI, BigInt(other));
      b.cpu.setGpr(S.RBP, 0x1_1000n);
      b.cpu.setGpr(S.RCX, 0x1_4003n);
      b.cpu.set64(S.CR4, 0x10n);
      b.cpu.set64(S.CR3, 0x1_0000n);
      b.cpu.set64(S.CR0, 0x8000_0011n);
      b.cpu.updateMode(0);
      b.cpu.flushTlb(true);
    });
    assert.equal(cpu.get32(S.FAULT_VECTOR), 0);
    // The table was changed without INVLPG: who still has the translation goes on with it.
    assert.equal(cpu.gpr(S.RDX), other === rival ? 1000n : 1n);
  }
});
