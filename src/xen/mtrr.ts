/** Memory-type range registers: kept and checked, without effect on accesses (all memory is cacheable here). `sdm:3A "MTRRs"` */
import * as M from '../abi/x86/msr.ts';
import { PHYSICAL_BITS } from './cpuid-policy.ts';

const VARIABLE = 8;
/** Eight variable ranges, fixed ranges, write combining. */
const CAP = BigInt(VARIABLE) | (1n << 8n) | (1n << 10n);
const WRITE_BACK_ENABLED = 0x806n;
const BASE_RESERVED = ~((1n << BigInt(PHYSICAL_BITS)) - 1n) | 0xf00n;
const MASK_RESERVED = ~((1n << BigInt(PHYSICAL_BITS)) - 1n) | 0x7ffn;

/** Uncacheable, write-combining, write-through, write-protected, write-back. */
const validType = (type: bigint): boolean => type === 0n || type === 1n || type === 4n || type === 5n || type === 6n;
const isFixed = (index: number): boolean =>
  index === M.IA32_MTRR_FIX64K_00000 ||
  index === M.IA32_MTRR_FIX16K_80000 ||
  index === M.IA32_MTRR_FIX16K_A0000 ||
  (index >= M.IA32_MTRR_FIX4K_C0000 && index < M.IA32_MTRR_FIX4K_C0000 + 8);

export class Mtrr {
  private readonly registers = new Map<number, bigint>();

  /** PVH guests start with everything write-back; firmware sets the ranges up for others. */
  constructor(writeBack: boolean) {
    if (writeBack) this.registers.set(M.IA32_MTRR_DEF_TYPE, WRITE_BACK_ENABLED);
  }

  private isVariable(index: number): boolean {
    return index >= M.IA32_MTRR_PHYSBASE0 && index < M.IA32_MTRR_PHYSBASE0 + 2 * VARIABLE;
  }

  /** Undefined: not an MTRR. */
  read(index: number): bigint | undefined {
    if (index === M.IA32_MTRRCAP) return CAP;
    if (index === M.IA32_MTRR_DEF_TYPE || isFixed(index) || this.isVariable(index))
      return this.registers.get(index) ?? 0n;
    return undefined;
  }

  /** Undefined: not an MTRR; false: #GP for reserved bits and types, and for the capability register. */
  write(index: number, value: bigint): boolean | undefined {
    if (index === M.IA32_MTRRCAP) return false;
    if (index === M.IA32_MTRR_DEF_TYPE) {
      if (!validType(value & 0xffn) || (value & ~0xcffn) !== 0n) return false;
    } else if (isFixed(index)) {
      for (let i = 0n; i < 64n; i += 8n) if (!validType((value >> i) & 0xffn)) return false;
    } else if (this.isVariable(index)) {
      const isMask = (index & 1) !== 0;
      if (!isMask && !validType(value & 0xffn)) return false;
      if ((value & BigInt.asUintN(64, isMask ? MASK_RESERVED : BASE_RESERVED)) !== 0n) return false;
    } else return undefined;
    this.registers.set(index, value);
    return true;
  }
}
