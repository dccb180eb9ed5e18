/**
 * What a domain builder produces: a value that says everything about a guest before its first instruction. Applying
 * it is a matter of copying bytes and setting registers, so builders can be tested without a machine.
 */
import type { Gfn } from '../../base/int.ts';

/** E820 and hvm_memmap_table_entry types (`xen:public/arch-x86/hvm/start_info.h`). */
export const E820_RAM = 1,
  E820_RESERVED = 2,
  E820_ACPI = 3,
  E820_NVS = 4,
  E820_UNUSABLE = 5;

/** Physical addresses and sizes in bytes. */
export interface MemoryRegion {
  readonly start: number;
  readonly size: number;
  readonly type: number;
}

export interface PhysicalRange {
  readonly start: number;
  readonly size: number;
}

export interface MemoryWrite {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

/** Attributes are laid out as in vcpu_hvm_context: type 0-3, S 4, DPL 5-6, P 7, AVL 8, L 9, D/B 10, G 11. */
export interface SegmentRegister {
  readonly base: number;
  readonly limit: number;
  readonly attributes: number;
}

/** State of vCPU 0 at entry; registers not named are zero (`xen:public/hvm/hvm_vcpu.h`, mode 32-bit). */
export interface EntryContext {
  readonly eip: number;
  readonly ebx: number;
  readonly eflags: number;
  readonly cr0: number;
  readonly cs: SegmentRegister;
  readonly ds: SegmentRegister;
  readonly es: SegmentRegister;
  readonly ss: SegmentRegister;
  readonly tr: SegmentRegister;
}

export interface DomainImage {
  readonly type: 'pvh' | 'hvm';
  /** vCPUs that exist, and those of them a guest should find online. */
  readonly maxVcpus: number;
  readonly vcpus: number;
  /** Page-aligned ranges to populate before anything is written. */
  readonly populate: readonly PhysicalRange[];
  readonly writes: readonly MemoryWrite[];
  readonly entry: EntryContext;
  /** What XENMEM_memory_map answers. */
  readonly memoryMap: readonly MemoryRegion[];
  /** HVM_PARAM_* known before the guest's rings have event channels. */
  readonly hvmParams: readonly (readonly [index: number, value: bigint])[];
  readonly storeGfn: Gfn;
  readonly consoleGfn: Gfn;
}

const FLAT_CODE: SegmentRegister = { base: 0, limit: 0xffff_ffff, attributes: 0xc9b };
const FLAT_DATA: SegmentRegister = { base: 0, limit: 0xffff_ffff, attributes: 0xc93 };
const BUSY_TSS: SegmentRegister = { base: 0, limit: 0x67, attributes: 0x8b };

/** Flat 32-bit protected mode with paging off, as PVH and HVM firmware are entered (`xen:misc/pvh.pandoc`). */
export const flatEntry = (eip: number, startInfo: number): EntryContext => ({
  eip,
  ebx: startInfo,
  eflags: 2,
  cr0: 0x11,
  cs: FLAT_CODE,
  ds: FLAT_DATA,
  es: FLAT_DATA,
  ss: FLAT_DATA,
  tr: BUSY_TSS,
});
