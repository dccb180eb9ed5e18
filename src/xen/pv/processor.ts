/** The processor below a PV guest: what the hypervisor keeps in its control registers and tables, whatever the guest thinks. */
import type { Cpu } from '../../cpu/index.ts';
import * as S from '../../cpu/state.ts';
import type { CpuidPolicy } from '../cpuid-policy.ts';
import type { GuestCpu } from '../guest-cpu.ts';

/** PG, AM, WP, NE, ET, MP, PE. */
const CR0 = 0x8005_0033n;
const CR0_TS = 8n;
/** SCE, LME, LMA, NXE. */
const EFER = 0xd01n;
export const CR4_TSD = 1n << 2n,
  CR4_DE = 1n << 3n,
  CR4_PAE = 1n << 5n,
  CR4_MCE = 1n << 6n,
  CR4_PGE = 1n << 7n,
  CR4_OSFXSR = 1n << 9n,
  CR4_OSXMMEXCPT = 1n << 10n,
  CR4_FSGSBASE = 1n << 16n,
  CR4_OSXSAVE = 1n << 18n;
/** Bits the guest sees of the hypervisor's choice. */
const CR4_VISIBLE = CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
/** The GDT: 14 pages of the guest's, then one of the hypervisor's. */
const GDT_LIMIT = 0xefff;

/** CR4 as the guest sees it after writing a value: its choice of what is its own, the hypervisor's of the rest; others are dropped. */
export function guestCr4(policy: CpuidPolicy, value: bigint): bigint {
  const own =
    (policy.has('TSC') ? CR4_TSD : 0n) |
    (policy.has('DE') ? CR4_DE : 0n) |
    (policy.has('FSGSBASE') ? CR4_FSGSBASE : 0n) |
    (policy.has('XSAVE') ? CR4_OSXSAVE : 0n);
  return (value & own) | CR4_VISIBLE;
}

/**
 * CR4 of the processor for a guest's choice. OSXSAVE is the hypervisor's own. FSGSBASE exists in 64-bit code only, so the choice of 32-bit kernels
 * does not count. PGE lets translations of user pages outlive a change between the roots of a 64-bit guest. DE stays clear: I/O breakpoints are the hypervisor's, and DR4 and DR5 are emulated.
 */
const realCr4 = (policy: CpuidPolicy, guest: bigint): bigint =>
  CR4_VISIBLE | CR4_PGE | (policy.has('XSAVE') ? CR4_OSXSAVE : 0n) | (guest & (CR4_TSD | CR4_FSGSBASE));

export function loadCr4(cpu: GuestCpu, policy: CpuidPolicy, guest: bigint): void {
  cpu.set64(S.CR4, realCr4(policy, guest));
  cpu.updateMode();
}

export function loadTaskSwitched(cpu: GuestCpu, on: boolean): void {
  cpu.set64(S.CR0, on ? cpu.get64(S.CR0) | CR0_TS : cpu.get64(S.CR0) & ~CR0_TS);
  cpu.updateMode();
}

/** State before any guest code: long mode with paging, no interrupt table and no task state of the guest's. */
export function preparePvProcessor(cpu: Cpu, policy: CpuidPolicy): void {
  cpu.reset();
  cpu.set64(S.CR0, CR0);
  cpu.set64(S.EFER, EFER);
  cpu.set32(S.IDTR + 8, 0);
  cpu.setSegment(S.TR, 0, 0n, 0, S.ATTR_UNUSABLE);
  cpu.setSegment(S.LDTR, 0, 0n, 0, S.ATTR_UNUSABLE);
  loadCr4(cpu, policy, 0n);
}

/** Where the vCPU's GDT is. */
export function loadGdt(cpu: GuestCpu, base: bigint): void {
  cpu.set64(S.GDTR, base);
  cpu.set32(S.GDTR + 8, GDT_LIMIT);
}

/** The LDT window of `entries` descriptors; none makes LDTR null. */
export function loadLdt(cpu: GuestCpu, base: bigint, entries: number): void {
  if (entries === 0) cpu.setSegment(S.LDTR, 0, 0n, 0, S.ATTR_UNUSABLE);
  else cpu.setSegment(S.LDTR, 0xe050, base, entries * 8 - 1, 0x82);
}
