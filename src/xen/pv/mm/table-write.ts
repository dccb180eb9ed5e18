/** Writable page tables: the guest writes a last-level table that it maps read-only, and the hypervisor does it for it after the same checks (key `xen:arch/x86/pv/ro-page-fault.c`). */
import { adjustHigh, adjustLow, P } from './entries.ts';
import type { PvMemory } from './pv-memory.ts';

/** Writes (compares and exchanges) bytes of an entry of the table in `slot`. Only naturally aligned accesses. */
export function writeTableBytes(
  mm: PvMemory,
  slot: number,
  offset: number,
  size: number,
  value: bigint,
  expected: bigint | undefined,
): 'done' | 'failed' | 'refused' {
  if ((offset & (size - 1)) !== 0) return 'refused';
  const table = new DataView(mm.domain.memory.bytes.buffer, mm.frames.frame[slot] * 4096, 4096);
  const at = offset & ~7;
  const old = table.getBigUint64(at, true);
  const shift = BigInt((offset & 7) * 8);
  const mask = ((1n << BigInt(size * 8)) - 1n) << shift;
  const merge = (part: bigint): bigint => (old & ~mask) | ((part << shift) & mask);
  const wanted = merge(value);
  let low = Number(wanted & 0xffff_ffffn);
  const high = Number(wanted >> 32n);
  if ((low & P) !== 0 && mm.validator.takeData(low, high) !== 0) {
    // Somebody who writes the upper half of a PAE entry first writes the lower one next: until then it is absent.
    const halves = mm.width === 32 && size === 4 && (offset & 4) !== 0 && expected === undefined;
    if (!halves) return 'refused';
    low = (low & ~P) >>> 0;
  }
  const newLow = adjustLow(1, mm.width, low, high) >>> 0;
  const newHigh = adjustHigh(1, mm.width, low, high);
  if (expected !== undefined && old !== merge(expected)) {
    mm.validator.dropData(newLow, newHigh);
    return 'failed';
  }
  mm.modifier.put(slot, at >>> 3, newLow, newHigh);
  mm.validator.dropData(Number(old & 0xffff_ffffn), Number(old >> 32n));
  return 'done';
}
