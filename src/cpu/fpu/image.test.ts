import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { Bench } from '../system/testing.ts';
import { loadFpuImage, resetFpu } from './image.ts';

const AT = 0xb000;

test('loadFpuImage: what FXSAVE wrote comes back, registers by the stack top included', () => {
  const b = new Bench().protect();
  b.cpu.set64(S.CR4, 0x200n);
  b.cpu.updateMode();
  b.cpu.setGpr(S.RBX, BigInt(AT));
  // fld1; fldpi; fxsave (%ebx)
  b.execute([0xd9, 0xe8], 1);
  b.execute([0xd9, 0xeb], 1);
  b.cpu.set64(S.xmm(3), 0x1122_3344n);
  b.cpu.set32(S.MXCSR, 0x1fa0);
  b.execute([0x0f, 0xae, 0x03], 1);
  const image = new Uint8Array(512);
  assert.ok(b.cpu.tryReadLinear(BigInt(AT), image));
  // The pointers of this image are 32 bits wide with selectors; the loaded form has none.
  image.fill(0, 8, 24);
  const state = (): unknown[] => [
    ...[S.FPU_CONTROL, S.FPU_STATUS].map((at) => b.cpu.get16(at)),
    b.cpu.get8(S.FPU_TAG),
    ...[6, 7].map((n) => b.cpu.get64(S.fpr(n))),
    b.cpu.get64(S.xmm(3)),
    b.cpu.get32(S.MXCSR),
  ];
  const before = state();
  resetFpu(b.cpu);
  assert.equal(b.cpu.get16(S.FPU_CONTROL), 0x37f);
  assert.deepEqual([b.cpu.get64(S.xmm(3)), b.cpu.get32(S.MXCSR), b.cpu.get8(S.FPU_TAG)], [0n, 0x1f80, 0]);
  loadFpuImage(b.cpu, image);
  assert.deepEqual(state(), before);
});
