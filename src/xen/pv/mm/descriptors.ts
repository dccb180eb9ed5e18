/** Segment descriptors that a PV guest may have (key `xen:arch/x86/pv/descriptor-tables.c`). A descriptor is two u32 halves. */
import { EINVAL } from '../../../abi/xen/errno.ts';
import { HYPERVISOR_START_32 } from '../address-space.ts';
import type { Width } from './entries.ts';

const PRESENT = 1 << 15,
  CODE_OR_DATA = 1 << 12,
  DPL = 3 << 13,
  LONG = 1 << 21,
  GRANULARITY = 1 << 23,
  TYPE = 15 << 8,
  CALL_GATE = 12 << 8;
/** First GDT entry that is the hypervisor's. */
export const FIRST_RESERVED_GDT_ENTRY = 14 * 512;
const KERNEL_CS = { 32: 0xe019, 64: 0xe033 } as const;

/** Checked by {@link checkDescriptor}: what is installed. */
export const descriptor = { low: 0, high: 0 };

/** A selector in a gate must not lead to the hypervisor's own segments. */
export function gateSelectorOkay(width: Width, selector: number): boolean {
  return selector >>> 3 < FIRST_RESERVED_GDT_ENTRY || selector === KERNEL_CS[width] || (selector & 4) !== 0;
}

/**
 * True when the guest may have a descriptor; {@link descriptor} then holds it as installed. Absent ones are harmless. Code and data segments
 * get at least the privilege level of the guest's kernel, and those of a 32-bit guest are not 64-bit code; flat ones reach over the
 * machine-to-physical table. Of system descriptors only call gates are allowed; they fault when used, and keep their level in the selector.
 */
export function checkDescriptor(width: Width, low: number, high: number): boolean {
  descriptor.low = low;
  descriptor.high = high;
  if ((high & PRESENT) === 0) return true;
  const dpl = Math.max((high >>> 13) & 3, width === 64 ? 3 : 1);
  const raised = (high & ~DPL) | (dpl << 13);
  if ((high & CODE_OR_DATA) !== 0) {
    if (width === 32 && (high & LONG) !== 0) return false;
    const stretch = width === 32 && reachesXen(low, high);
    descriptor.low = stretch ? (low | 0xffff) >>> 0 : low;
    descriptor.high = (stretch ? raised | 0xf_0000 : raised) >>> 0;
    return true;
  }
  // The second half of a 64-bit call gate.
  if ((high & TYPE) === 0) return true;
  if ((high & TYPE) !== CALL_GATE || !gateSelectorOkay(width, low >>> 16)) return false;
  descriptor.low = ((low & 0xffff) | ((((low >>> 16) & ~3) | dpl) << 16)) >>> 0;
  descriptor.high = (raised & ~DPL) >>> 0;
  return (high & (width === 32 ? 0xe0 : 0xff)) === 0;
}

/** A segment from 0 whose limit lies above where the hypervisor's part of a 32-bit address space may begin. */
function reachesXen(low: number, high: number): boolean {
  const base = (high & 0xff00_0000) | ((high & 0xff) << 16) | (low >>> 16);
  const limit = (((high & 0xf_0000) | (low & 0xffff)) + 1) * ((high & GRANULARITY) !== 0 ? 4096 : 1);
  return base === 0 && limit > HYPERVISOR_START_32;
}

/** Checks and fixes up a page of descriptors at an index of u32s. 0, or -EINVAL for one that may not be. */
export function checkDescriptors(u32: Uint32Array, at: number, width: Width): number {
  for (let i = at; i < at + 1024; i += 2) {
    if (!checkDescriptor(width, u32[i], u32[i + 1])) return -EINVAL;
    u32[i] = descriptor.low;
    u32[i + 1] = descriptor.high;
  }
  return 0;
}
