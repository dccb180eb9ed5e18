/** Floating-point state from outside the guest: reset, or a 512-byte image as FXSAVE writes it with 64-bit pointers. */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { initialize, summarize } from './x87-state.ts';

const MXCSR_RESET = 0x1f80;

/** As FNINIT leaves x87, and SSE as after reset. */
export const resetFpu = (cpu: Cpu): void => {
  initialize(cpu);
  cpu.set32(S.MXCSR, MXCSR_RESET);
  cpu.u8.fill(0, cpu.base + S.XMM, cpu.base + S.XMM + 256);
};

/** Reserved bits of the image do not count. */
export const loadFpuImage = (cpu: Cpu, image: Uint8Array): void => {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  cpu.set16(S.FPU_CONTROL, (view.getUint16(0, true) & 0x1f7f) | 0x40);
  cpu.set16(S.FPU_STATUS, view.getUint16(2, true));
  cpu.set8(S.FPU_TAG, view.getUint8(4));
  cpu.set16(S.FPU_OPCODE, view.getUint16(6, true) & 0x7ff);
  cpu.set64(S.FPU_IP, view.getBigUint64(8, true));
  cpu.set64(S.FPU_DP, view.getBigUint64(16, true));
  cpu.set16(S.FPU_CS, 0);
  cpu.set16(S.FPU_DS, 0);
  cpu.set32(S.MXCSR, view.getUint32(24, true) & S.MXCSR_MASK);
  const top = (view.getUint16(2, true) >> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const n = S.fpr((top + i) & 7);
    cpu.set64(n, view.getBigUint64(32 + i * 16, true));
    cpu.set16(n + 8, view.getUint16(40 + i * 16, true));
  }
  for (let i = 0; i < 32; i++) cpu.set64(S.XMM + i * 8, view.getBigUint64(160 + i * 8, true));
  summarize(cpu);
};
