/**
 * Bits of page-table entries, and which of them a guest without hardware may use at each level. An entry is two u32 halves
 * (keys `sdm:3A "Paging"`, `xen:arch/x86/mm.c`).
 */
import { EINVAL } from '../../../abi/xen/errno.ts';

export const P = 1,
  RW = 2,
  US = 4,
  PWT = 8,
  PCD = 0x10,
  A = 0x20,
  D = 0x40,
  PSE = 0x80,
  G = 0x100;
/** In the high half. */
export const NX = 0x8000_0000,
  /** Bit 52, available to software: the hypervisor marks kernel pages of 64-bit guests with it. */
  GUEST_KERNEL = 0x10_0000;

const BASE = P | RW | US | A | D | 0xe00;

export type Level = 1 | 2 | 3 | 4;
export type Width = 32 | 64;

/** Low bits that make an entry of a level invalid: caching attributes, large pages, and global but in the last level. */
const DISALLOWED_LOW = [0, 0xfff & ~(BASE | G), 0xfff & ~BASE, 0xfff & ~BASE, 0xfff & ~BASE];
/** The third level of PAE has no rights of its own in the processor's format. */
const PAE_L3_LOW = 0x198;
const PAE_L3_HIGH = 0xfff0_0000;

/** 0, or -EINVAL for bits that the level refuses. Bits 52-62 are the guest's, and so is NX. */
export function checkBits(level: Level, width: Width, low: number, high: number): number {
  if (level === 3 && width === 32) return (low & PAE_L3_LOW) !== 0 || (high & PAE_L3_HIGH) !== 0 ? -EINVAL : 0;
  return (low & DISALLOWED_LOW[level]) !== 0 ? -EINVAL : 0;
}

/** Machine frame number of an entry. */
export function frameOf(low: number, high: number): number {
  return (low >>> 12) + (high & 0xf_ffff) * 0x10_0000;
}

/**
 * Low half as the hypervisor installs it. A 64-bit guest's kernel runs in ring 3, so all its pages become user pages; pages of its user mode become
 * global, since both roots have them. PAE third-level entries get the rights that their format implies.
 */
export function adjustLow(level: Level, width: Width, low: number, high: number): number {
  if ((low & P) === 0) return low;
  if (level === 4) return low | A | (width === 64 ? US : 0);
  if (width === 32) return level === 3 ? low | US | RW : low;
  if (level !== 1) return low | US;
  return (low & US) === 0 || (high & GUEST_KERNEL) !== 0 ? low | US : low | US | G;
}

/** High half as installed: a last-level entry without the user bit is marked as the kernel's. */
export function adjustHigh(level: Level, width: Width, low: number, high: number): number {
  return level === 1 && width === 64 && (low & (P | US)) === P ? (high | GUEST_KERNEL) >>> 0 : high;
}

/** What {@link adjustLow} added to a PAE third-level entry, taken away when the table stops being one. */
export const PAE_L3_ADDED = US | RW | A;

/** Bits a guest may change in an entry without its being validated again: in the low half; the frame's bits in the high half. */
export const UNCHECKED_LOW = US | A | D | G | 0xe00;
export const CHECKED_HIGH = 0xf_ffff;
