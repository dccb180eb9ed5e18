/** The prefix of PV guests (`ud2` and "xen") before CPUID, which asks the hypervisor for its view. `xen:public/arch-x86/xen.h#XEN_CPUID` */
import type { Cpu } from '../../../cpu/index.ts';
import * as S from '../../../cpu/state.ts';
import { GP, inject, injectPageFault } from '../inject.ts';
import type { PvDomain } from '../pv-domain.ts';
import type { PvVcpu } from '../pv-vcpu.ts';
import { instructionDone } from './done.ts';

const PREFIX = [0x0f, 0x0b, 0x78, 0x65, 0x6e];
const CPUID = [0x0f, 0xa2];

const leaves = new Uint32Array(4);

/** Bytes at RIP; the page fault of what is missing is injected. The offset is the address: CS does not count. */
function read(domain: PvDomain, pv: PvVcpu, cpu: Cpu, offset: number, length: number): Uint8Array | undefined {
  const into = new Uint8Array(length);
  const at = cpu.rip + BigInt(offset);
  if (cpu.tryReadLinear(at, into)) return into;
  const first = cpu.tryReadLinear(at, into.subarray(0, 1));
  injectPageFault(domain, pv, cpu, first ? (at + BigInt(length)) & ~0xfffn : at, 0);
  return undefined;
}

const equal = (a: Uint8Array, b: readonly number[]): boolean => b.every((byte, n) => a[n] === byte);

/** True when the #UD was this prefix and is dealt with. User mode gets #GP instead while CPUID faults there. */
export function emulateInvalid(domain: PvDomain, pv: PvVcpu, cpu: Cpu): boolean {
  const prefix = read(domain, pv, cpu, 0, PREFIX.length);
  if (prefix === undefined) return true;
  if (!equal(prefix, PREFIX)) return false;
  const instruction = read(domain, pv, cpu, PREFIX.length, CPUID.length);
  if (instruction === undefined) return true;
  if (!equal(instruction, CPUID)) return false;
  const behind = cpu.rip + BigInt(PREFIX.length);
  if (pv.cpuidFaulting && !pv.kernelMode) {
    inject(domain, pv, cpu, GP, 0, behind);
    return true;
  }
  domain.cpuid(pv, cpu.get32(S.gpr(S.RAX)), cpu.get32(S.gpr(S.RCX)), leaves, true);
  [S.RAX, S.RBX, S.RCX, S.RDX].forEach((register, n) => {
    cpu.setGpr(register, BigInt(leaves[n]));
  });
  instructionDone(domain, pv, cpu, behind + BigInt(CPUID.length));
  return true;
}
