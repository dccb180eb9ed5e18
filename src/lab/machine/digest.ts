/** One number for everything a guest could see of its machine: memory and registers. */
import { Sha256 } from '../../base/sha256.ts';
import type { Cpu } from '../../cpu/index.ts';
import * as S from '../../cpu/state.ts';
import type { XenMachine } from '../../xen/index.ts';

/** Ranges of the state block that hold registers; flags, which are kept lazily, are added as EFLAGS. */
const REGISTERS: readonly (readonly [from: number, to: number])[] = [
  [S.GPR, S.RIP + 8],
  [S.SEG, S.TSC_ADJUST + 8],
  [S.PDPTE, S.PDPTE + 32],
  [S.XMM, S.FPU_REGISTERS + 8 * 16],
];

function addRegisters(hash: Sha256, cpu: Cpu): void {
  for (const [from, to] of REGISTERS) hash.update(cpu.u8.subarray(cpu.base + from, cpu.base + to));
  hash.update(numbers(cpu.eflags, cpu.cpl, cpu.get32(S.NMI_BLOCKED), cpu.get32(S.SHADOW)));
}

const numbers = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

/** SHA-256 over the registers of every vCPU, where guest memory is mapped, and every frame that is not all zeros, with its number. */
export function machineDigest({ cpus, memory, domain }: XenMachine): string {
  const hash = new Sha256();
  for (const cpu of cpus) addRegisters(hash, cpu);
  for (let gfn = 0; gfn <= domain.p2m.maxMappedGfn; gfn++) {
    const frame = domain.p2m.frameAt(gfn);
    if (frame !== 0) hash.update(numbers(gfn, frame));
  }
  const { first, end } = memory.touched;
  for (let frame = first; frame < end; frame++) {
    const bytes = memory.frameBytes(frame);
    if (!isZero(bytes)) hash.update(numbers(frame)).update(bytes);
  }
  return hash.digest();
}

const isZero = (bytes: Uint8Array<ArrayBuffer>): boolean =>
  new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8).every((word) => word === 0n);
