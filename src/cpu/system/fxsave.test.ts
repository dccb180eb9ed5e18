import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { Bench, HANDLERS } from './testing.ts';

const IMAGE = 0x5000;
const FXSAVE = [0x0f, 0xae, 0x07],
  FXRSTOR = [0x0f, 0xae, 0x0f],
  FXSAVE64 = [0x48, 0x0f, 0xae, 0x07];
const XSAVE = [0x0f, 0xae, 0x27],
  XRSTOR = [0x0f, 0xae, 0x2f],
  XSETBV = [0x0f, 0x01, 0xd1],
  XGETBV = [0x0f, 0x01, 0xd0];
const UD = 6,
  NM = 7,
  GP = 13,
  MF = 16;

/** 64-bit mode with SSE and XSAVE on, gates for the vectors the tests provoke, rdi at the image. */
const start = (): Bench => {
  const bench = new Bench().long();
  const { cpu } = bench;
  cpu.set64(S.CR4, cpu.get64(S.CR4) | 0x4_0600n);
  cpu.set64(S.CR0, cpu.get64(S.CR0) | 0x22n);
  cpu.updateMode(0);
  for (const vector of [UD, NM, GP, MF]) bench.gate(vector);
  cpu.setGpr(S.RDI, BigInt(IMAGE));
  return bench;
};

/** The vector an instruction raised, or undefined. */
const raised = (bench: Bench, bytes: readonly number[]): number | undefined => {
  const from = bench.cpu.rip;
  bench.execute(bytes);
  return bench.cpu.rip === from + BigInt(bytes.length) ? undefined : (Number(bench.cpu.rip) - HANDLERS) / 16;
};

const fill = ({ cpu }: Bench): void => {
  cpu.set16(S.FPU_CONTROL, 0x27f);
  cpu.set16(S.FPU_STATUS, 0x2800);
  cpu.set8(S.FPU_TAG, 0x60);
  cpu.set16(S.FPU_OPCODE, 0x5c1);
  cpu.set64(S.FPU_IP, 0x1_2345_6789n);
  cpu.set64(S.FPU_DP, 0x2_3456_789an);
  cpu.set16(S.FPU_CS, 8);
  cpu.set16(S.FPU_DS, 16);
  cpu.set32(S.MXCSR, 0x1fa0);
  for (let i = 0; i < 8; i++) {
    cpu.set64(S.fpr(i), 0x8000_0000_0000_0000n + BigInt(i));
    cpu.set16(S.fpr(i) + 8, 0x3fff + i);
  }
  for (let i = 0; i < 32; i++) cpu.set64(S.XMM + i * 8, BigInt(i + 1) * 0x1111_1111n);
};

const snapshot = ({ cpu }: Bench): string =>
  Buffer.from(cpu.u8.slice(cpu.base + S.XMM, cpu.base + S.fpr(8))).toString('hex');

test('FXSAVE: lays registers out in stack order with an abridged tag and 32-bit pointers', () => {
  const bench = start();
  fill(bench);
  assert.equal(raised(bench, FXSAVE), undefined);
  assert.equal(bench.read32(IMAGE), 0x2800_027f);
  assert.equal(bench.read32(IMAGE + 4), 0x05c1_0060);
  assert.deepEqual(bench.dwords(IMAGE + 8, 4), [0x2345_6789, 8, 0x3456_789a, 16]);
  assert.deepEqual(bench.dwords(IMAGE + 24, 2), [0x1fa0, 0xffff]);
  assert.equal(bench.read64(IMAGE + 32), 0x8000_0000_0000_0005n);
  assert.equal(bench.read16(IMAGE + 40), 0x4004);
  assert.equal(bench.read64(IMAGE + 160), 0x1111_1111n);
});

test('FXSAVE64 and FXRSTOR64: bring everything back', () => {
  const bench = start();
  fill(bench);
  bench.cpu.set16(S.FPU_CS, 0);
  bench.cpu.set16(S.FPU_DS, 0);
  const before = snapshot(bench);
  raised(bench, FXSAVE64);
  bench.execute([0xdb, 0xe3]);
  for (let i = 0; i < 32; i++) bench.cpu.set64(S.XMM + i * 8, 0n);
  assert.equal(raised(bench, [0x48, ...FXRSTOR]), undefined);
  assert.equal(snapshot(bench), before);
});

test('FXRSTOR: faults on a misaligned image, reserved MXCSR bits and CR0.TS', () => {
  const bench = start();
  raised(bench, FXSAVE);
  bench.write32(IMAGE + 24, 0x1_1f80);
  assert.equal(raised(bench, FXRSTOR), GP);
  const other = start();
  other.cpu.setGpr(S.RDI, BigInt(IMAGE + 8));
  assert.equal(raised(other, FXRSTOR), GP);
  const third = start();
  third.cpu.set64(S.CR0, third.cpu.get64(S.CR0) | 8n);
  third.cpu.updateMode(0);
  assert.equal(raised(third, FXSAVE), NM);
});

test('XSAVE and XRSTOR: honour the mask, and initialise what the image lacks', () => {
  const bench = start();
  fill(bench);
  const { cpu } = bench;
  cpu.setGpr(S.RAX, 3n);
  cpu.setGpr(S.RDX, 0n);
  cpu.setGpr(S.RCX, 0n);
  assert.equal(raised(bench, XSETBV), undefined);
  cpu.setGpr(S.RAX, 2n);
  assert.equal(raised(bench, XSAVE), undefined);
  assert.equal(bench.read64(IMAGE + 512), 2n);
  assert.equal(bench.read64(IMAGE), 0n, 'the x87 part was not asked for');
  cpu.setGpr(S.RAX, 3n);
  const xmm0 = cpu.get64(S.XMM);
  cpu.set64(S.XMM, 0n);
  assert.equal(raised(bench, XRSTOR), undefined);
  assert.equal(cpu.get64(S.XMM), xmm0);
  assert.equal(cpu.get16(S.FPU_CONTROL), 0x37f);
  assert.equal(cpu.get8(S.FPU_TAG), 0);
});

test('XRSTOR: a component outside XCR0 or a compacted image is #GP', () => {
  const bench = start();
  bench.write64(IMAGE + 512, 4n);
  assert.equal(raised(bench, XRSTOR), GP);
  const other = start();
  other.write64(IMAGE + 520, 1n << 63n);
  assert.equal(raised(other, XRSTOR), GP);
});

test('XSETBV: refuses XCR0 without x87, unknown components and another index; XGETBV reads it back', () => {
  const attempts: [rax: bigint, rcx: bigint, vector: number | undefined][] = [
    [2n, 0n, GP],
    [7n, 0n, GP],
    [3n, 1n, GP],
    [3n, 0n, undefined],
  ];
  for (const [rax, rcx, vector] of attempts) {
    const bench = start();
    bench.cpu.setGpr(S.RAX, rax);
    bench.cpu.setGpr(S.RCX, rcx);
    assert.equal(raised(bench, XSETBV), vector, `xcr${rcx} = ${rax}`);
    if (vector !== undefined) continue;
    bench.cpu.setGpr(S.RAX, 0n);
    raised(bench, XGETBV);
    assert.equal(bench.cpu.gpr(S.RAX), 3n);
  }
});

test('XGETBV: #UD without CR4.OSXSAVE', () => {
  const bench = start();
  bench.cpu.set64(S.CR4, bench.cpu.get64(S.CR4) & ~0x4_0000n);
  assert.equal(raised(bench, XGETBV), UD);
});

test('x87: an unmasked exception is #MF at the next waiting instruction, not at a non-waiting one', () => {
  const bench = start();
  const { cpu } = bench;
  bench.execute([0xdb, 0xe3]);
  cpu.set16(S.FPU_CONTROL, 0x37e);
  // FADDP on an empty stack: stack underflow, invalid unmasked.
  assert.equal(raised(bench, [0xde, 0xc1]), undefined);
  assert.equal(cpu.get16(S.FPU_STATUS), 0x80c1);
  assert.equal(raised(bench, [0xdf, 0xe0]), undefined);
  assert.equal(cpu.gpr(S.RAX) & 0xffffn, 0x80c1n);
  assert.equal(raised(bench, [0x9b]), MF);
});

test('x87: CR0.TS makes x87 instructions #NM, and FWAIT only together with CR0.MP', () => {
  const withCr0 = (bits: bigint): Bench => {
    const bench = start();
    bench.cpu.set64(S.CR0, (bench.cpu.get64(S.CR0) & ~0xen) | bits);
    bench.cpu.updateMode(0);
    return bench;
  };
  assert.equal(raised(withCr0(8n), [0xd9, 0xe8]), NM);
  assert.equal(raised(withCr0(4n), [0xd9, 0xe8]), NM);
  assert.equal(raised(withCr0(8n), [0x9b]), undefined);
  assert.equal(raised(withCr0(10n), [0x9b]), NM);
});

test('FNSTENV: 32-bit protected format, full tag word, all exceptions masked afterwards; FLDENV reads it back', () => {
  const bench = start();
  const { cpu } = bench;
  fill(bench);
  cpu.set16(S.FPU_CONTROL, 0x340);
  assert.equal(raised(bench, [0xd9, 0x37]), undefined);
  assert.deepEqual(
    bench.dwords(IMAGE, 7),
    [0xffff_0340, 0xffff_2800, 0xffff_c3ff, 0x2345_6789, 0x05c1_0008, 0x3456_789a, 0xffff_0010],
  );
  assert.equal(cpu.get16(S.FPU_CONTROL), 0x37f);
  cpu.set8(S.FPU_TAG, 0);
  assert.equal(raised(bench, [0xd9, 0x27]), undefined);
  assert.equal(cpu.get16(S.FPU_CONTROL), 0x340);
  assert.equal(cpu.get8(S.FPU_TAG), 0x60);
});

test('FNSTENV: 16-bit real format holds linear addresses', () => {
  const bench = new Bench().real();
  const { cpu } = bench;
  fill(bench);
  cpu.set64(S.FPU_IP, 0x5678n);
  cpu.set16(S.FPU_CS, 0x1234);
  cpu.set64(S.FPU_DP, 0x10n);
  cpu.set16(S.FPU_DS, 0xf000);
  cpu.setGpr(S.RDI, BigInt(IMAGE));
  bench.execute([0xd9, 0x35]);
  const words = Array.from({ length: 7 }, (_, i) => bench.read16(IMAGE + 2 * i));
  assert.deepEqual(words, [0x27f, 0x2800, 0xc3ff, 0x79b8, 0x15c1, 0x0010, 0xf000]);
});

test('MASKMOVDQU: stores only the chosen bytes', () => {
  const bench = start();
  const { cpu } = bench;
  cpu.set64(S.XMM, 0x0807_0605_0403_0201n);
  cpu.set64(S.XMM + 16, 0x80_0000_8000_0080n);
  cpu.set64(S.XMM + 24, 0n);
  bench.write64(IMAGE, 0n);
  assert.equal(raised(bench, [0x66, 0x0f, 0xf7, 0xc1]), undefined);
  assert.equal(bench.read64(IMAGE), 0x0007_0000_0400_0001n);
});
