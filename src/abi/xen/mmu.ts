/** MMU hypercalls of PV guests (`xen:public/xen.h`). */
import { struct, u32, u64, ulong } from './struct.ts';

/** Low bits of `ptr` of a request. */
export const MMU_NORMAL_PT_UPDATE = 0,
  MMU_MACHPHYS_UPDATE = 1,
  MMU_PT_UPDATE_PRESERVE_AD = 2,
  MMU_PT_UPDATE_NO_TRANSLATE = 3;
export const mmu_update = struct('mmu_update', { ptr: u64, val: u64 });

export const MMUEXT_PIN_L1_TABLE = 0,
  MMUEXT_PIN_L2_TABLE = 1,
  MMUEXT_PIN_L3_TABLE = 2,
  MMUEXT_PIN_L4_TABLE = 3,
  MMUEXT_UNPIN_TABLE = 4,
  MMUEXT_NEW_BASEPTR = 5,
  MMUEXT_TLB_FLUSH_LOCAL = 6,
  MMUEXT_INVLPG_LOCAL = 7,
  MMUEXT_TLB_FLUSH_MULTI = 8,
  MMUEXT_INVLPG_MULTI = 9,
  MMUEXT_TLB_FLUSH_ALL = 10,
  MMUEXT_INVLPG_ALL = 11,
  MMUEXT_FLUSH_CACHE = 12,
  MMUEXT_SET_LDT = 13,
  MMUEXT_NEW_USER_BASEPTR = 15,
  MMUEXT_CLEAR_PAGE = 16,
  MMUEXT_COPY_PAGE = 17,
  MMUEXT_FLUSH_CACHE_GLOBAL = 18,
  MMUEXT_MARK_SUPER = 19,
  MMUEXT_UNMARK_SUPER = 20;
export const mmuext_op = struct('mmuext_op', { cmd: u32, arg1: ulong, arg2: ulong });
/** A batch that was interrupted carries this bit in its count. */
export const MMU_UPDATE_PREEMPTED = 0x8000_0000;

/** Flags of update_va_mapping: what to flush, and where. */
export const UVMF_TLB_FLUSH = 1,
  UVMF_INVLPG = 2,
  UVMF_FLUSHTYPE_MASK = 3n,
  UVMF_LOCAL = 0n,
  UVMF_ALL = 4n;
