/** Control registers (key `sdm:3A "Control Registers"`): every check of a write, and what a change drags along. */
import type { Cpu } from '../cpu.ts';
import { canonical as isCanonical } from '../mmu/access.ts';
import * as S from '../state.ts';
import { fault, GP, GuestFault, recordFault } from './fault.ts';

export const CR0_PE = 1,
  CR0_TS = 8,
  CR0_ET = 0x10,
  CR0_WP = 0x1_0000,
  CR0_NW = 0x2000_0000,
  CR0_CD = 0x4000_0000,
  CR0_PG = 0x8000_0000;
/** The bits CR0 has; others are ignored on writes, but bits 63:32 must be zero. */
const CR0_DEFINED = 0xe005_003f;
export const CR4_PSE = 0x10,
  CR4_PAE = 0x20,
  CR4_PGE = 0x80,
  CR4_UMIP = 0x800,
  CR4_FSGSBASE = 0x1_0000;
export const CR4_SMEP = 0x10_0000,
  CR4_SMAP = 0x20_0000,
  CR4_TSD = 4,
  CR4_DE = 8;
export const EFER_LME = 0x100,
  EFER_LMA = 0x400;

const protection = () => fault(GP, 0);

const has = (value: number, bit: number): boolean => (value & bit) !== 0;

const readPhysical64 = (cpu: Cpu, address: number): bigint => {
  const frame = Math.floor(address / 4096);
  const host = cpu.physical.page(frame, false);
  if (host !== 0) return cpu.u64[(host + (address % 4096)) >>> 3];
  return (BigInt(cpu.physical.mmioRead(address + 4, 4)) << 32n) | BigInt(cpu.physical.mmioRead(address, 4));
};

/** The four PAE page-directory-pointer entries behind a CR3 value; #GP(0) when a present one has reserved bits set. */
export const loadPdptes = (cpu: Cpu, cr3: bigint): bigint[] => {
  const table = Number(cr3 & 0xffff_ffe0n);
  const reserved = 0x1e6n | ~((1n << BigInt(cpu.model.physicalBits)) - 1n);
  const entries = [0, 1, 2, 3].map((n) => readPhysical64(cpu, table + n * 8));
  for (const entry of entries) if ((entry & 1n) !== 0n && (entry & reserved) !== 0n) throw protection();
  return entries;
};

const commitPdptes = (cpu: Cpu, entries: readonly bigint[]): void => {
  entries.forEach((entry, n) => {
    cpu.set64(S.PDPTE + n * 8, entry);
  });
};

/** PAE paging would be in use with these values (long mode has its own tables). */
const usesPdptes = (cr0: number, cr4: number, efer: number): boolean =>
  has(cr0, CR0_PG) && has(cr4, CR4_PAE) && !has(efer, EFER_LMA);

/** MOV CR0 and LMSW. #GP(0): upper half set, PG without PE, NW without CD, and the rules of entering and leaving long mode. */
export const writeCr0 = (cpu: Cpu, value: bigint): void => {
  if (value >> 32n !== 0n) throw protection();
  const next = ((Number(value) & CR0_DEFINED) | CR0_ET) >>> 0;
  const old = cpu.get32(S.CR0),
    changed = (old ^ next) >>> 0;
  if (has(next, CR0_PG) && !has(next, CR0_PE)) throw protection();
  if (has(next, CR0_NW) && !has(next, CR0_CD)) throw protection();
  const cr4 = cpu.get32(S.CR4);
  let efer = cpu.get32(S.EFER);
  if (has(changed, CR0_PG)) {
    if (has(next, CR0_PG)) {
      if (has(efer, EFER_LME)) {
        // 64-bit code cannot be entered by turning paging on: CS.L must be clear; nor can a 16-bit TSS be kept.
        const trType = cpu.get32(S.seg(S.TR) + S.SEG_ATTR) & 15;
        if (!has(cr4, CR4_PAE) || has(cpu.get32(S.seg(S.CS) + S.SEG_ATTR), 0x2000) || trType === 1 || trType === 3)
          throw protection();
        efer |= EFER_LMA;
      }
    } else {
      if (cpu.code64) throw protection();
      efer &= ~EFER_LMA;
    }
  }
  if (usesPdptes(next, cr4, efer) && has(changed, CR0_PG | CR0_CD | CR0_NW))
    commitPdptes(cpu, loadPdptes(cpu, cpu.get64(S.CR3)));
  cpu.set64(S.CR0, BigInt(next));
  cpu.set32(S.EFER, efer);
  if (has(changed, CR0_PG | CR0_PE | CR0_WP)) cpu.flushTlb(true);
  cpu.updateMode();
};

/** MOV CR3: address bits beyond the physical width are #GP(0); PAE paging loads its four top entries. */
export const writeCr3 = (cpu: Cpu, value: bigint): void => {
  if (value >> BigInt(cpu.model.physicalBits) !== 0n) throw protection();
  if (usesPdptes(cpu.get32(S.CR0), cpu.get32(S.CR4), cpu.get32(S.EFER))) commitPdptes(cpu, loadPdptes(cpu, value));
  cpu.set64(S.CR3, value);
  cpu.flushTlb(false);
};

/** MOV CR3 of a value in halves, at level 0; a system helper. */
export const loadCr3 = (cpu: Cpu, low: number, high: number): number => {
  const reserved = cpu.model.physicalBits > 32 ? high >>> (cpu.model.physicalBits - 32) : high;
  if (reserved !== 0 || usesPdptes(cpu.get32(S.CR0), cpu.get32(S.CR4), cpu.get32(S.EFER))) {
    try {
      writeCr3(cpu, (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0));
    } catch (e) {
      if (!(e instanceof GuestFault)) throw e;
      return recordFault(cpu, e);
    }
    return 0;
  }
  cpu.set32(S.CR3, low);
  cpu.set32(S.CR3 + 4, high);
  cpu.flushTlb(false);
  return 0;
};

/** INVLPG of an address in halves, at level 0; a system helper. Addresses that are not canonical have no translation. */
export const invalidate = (cpu: Cpu, low: number, high: number): number => {
  if (isCanonical(high >>> 0)) cpu.mem.flushPage(low >>> 0, high >>> 0);
  return 0;
};

/** MOV CR4: bits the model lacks are #GP(0), and so is clearing PAE in long mode. */
export const writeCr4 = (cpu: Cpu, value: bigint): void => {
  if ((value & ~cpu.model.cr4Mask) !== 0n) throw protection();
  const next = Number(value),
    old = cpu.get32(S.CR4),
    changed = old ^ next;
  if (cpu.longMode && !has(next, CR4_PAE)) throw protection();
  const cr0 = cpu.get32(S.CR0),
    efer = cpu.get32(S.EFER);
  const paging = CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP;
  if (usesPdptes(cr0, next, efer) && has(changed, paging)) commitPdptes(cpu, loadPdptes(cpu, cpu.get64(S.CR3)));
  cpu.set64(S.CR4, value);
  if (has(changed, paging | CR4_SMAP)) cpu.flushTlb(true);
  cpu.updateMode();
};

/** MOV CR8: the task priority, 0..15; else #GP(0). */
export const writeCr8 = (cpu: Cpu, value: bigint): void => {
  if (value > 15n) throw protection();
  cpu.traps.writeCr8(cpu, Number(value));
};

export const readControl = (cpu: Cpu, n: number): bigint => {
  switch (n) {
    case 0:
      return cpu.get64(S.CR0);
    case 2:
      return cpu.get64(S.CR2);
    case 3:
      return cpu.get64(S.CR3);
    case 4:
      return cpu.get64(S.CR4);
    default:
      return BigInt(cpu.traps.readCr8(cpu));
  }
};

export const writeControl = (cpu: Cpu, n: number, value: bigint): void => {
  switch (n) {
    case 0:
      writeCr0(cpu, value);
      break;
    case 2:
      cpu.set64(S.CR2, value);
      break;
    case 3:
      writeCr3(cpu, value);
      break;
    case 4:
      writeCr4(cpu, value);
      break;
    default:
      writeCr8(cpu, value);
  }
};
