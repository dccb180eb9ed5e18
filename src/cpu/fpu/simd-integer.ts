/** Integer SIMD operations that are too intricate for inline code. Operands and result as in simd-float.ts. */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { INSERTPS, MPSADBW, PHMINPOSUW } from './simd-operations.ts';

const FIRST = S.SCRATCH,
  SECOND = S.SCRATCH + 16,
  RESULT = S.SCRATCH + 32;

const differences = (cpu: Cpu, a: number, b: number, count: number): number => {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += Math.abs(cpu.get8(a + i) - cpu.get8(b + i));
  return sum;
};

/** CRC-32C, reflected polynomial 0x82f63b78, one byte. */
const crcByte = (crc: number, byte: number): number => {
  let c = crc ^ byte;
  for (let i = 0; i < 8; i++) c = (c & 1) !== 0 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c;
};
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, i) => crcByte(0, i));

/** `b` is the immediate, for CRC32 the number of bytes. Always returns 0: nothing here can fault. */
export const simdInteger = (cpu: Cpu, operation: number, b: number): number => {
  switch (operation) {
    case MPSADBW: {
      const source = SECOND + (b & 3) * 4,
        start = FIRST + ((b >> 2) & 1) * 4;
      for (let i = 0; i < 8; i++) cpu.set16(RESULT + i * 2, differences(cpu, start + i, source, 4));
      break;
    }
    case PHMINPOSUW: {
      let index = 0;
      for (let i = 1; i < 8; i++) if (cpu.get16(SECOND + i * 2) < cpu.get16(SECOND + index * 2)) index = i;
      const minimum = cpu.get16(SECOND + index * 2);
      cpu.set64(RESULT, BigInt(minimum | (index << 16)));
      cpu.set64(RESULT + 8, 0n);
      break;
    }
    case INSERTPS: {
      const value = cpu.get32(SECOND + ((b >> 6) & 3) * 4);
      for (let i = 0; i < 4; i++) {
        const kept = i === ((b >> 4) & 3) ? value : cpu.get32(FIRST + i * 4);
        cpu.set32(RESULT + i * 4, ((b >> i) & 1) !== 0 ? 0 : kept);
      }
      break;
    }
    default: {
      let crc = cpu.get32(FIRST);
      for (let i = 0; i < b; i++) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ cpu.get8(SECOND + i)) & 0xff];
      cpu.set64(RESULT, BigInt(crc >>> 0));
    }
  }
  return 0;
};
