/** The instruction a guest trapped on, decoded anew from its memory. */
import { type Cpu, Decoder, type Insn } from '../../../cpu/index.ts';
import * as S from '../../../cpu/state.ts';

const decoder = new Decoder({ forcedEmulation: false });
const bytes = new Uint8Array(32);

/** Bytes at RIP, as many as can be read up to 15; what is missing is filled with ones. */
function bytesAtRip(cpu: Cpu, offset = 0n): Uint8Array {
  const linear = cpu.code64 ? cpu.rip + offset : BigInt.asUintN(32, cpu.get64(S.CS_BASE) + cpu.rip + offset);
  bytes.fill(0xff);
  if (cpu.tryReadLinear(linear, bytes.subarray(0, 15))) return bytes;
  const here = Math.min(15, 4096 - Number(linear & 0xfffn));
  if (!cpu.tryReadLinear(linear, bytes.subarray(0, here))) bytes.fill(0xff);
  return bytes;
}

/** Undefined when the bytes are no instruction. */
export function decodeTrapped(cpu: Cpu): Insn | undefined {
  const decoded = decoder.decode(bytesAtRip(cpu), 0, bytes.length, cpu.codeSize, false);
  return typeof decoded === 'string' ? undefined : decoded;
}
