/**
 * Grant mappings in a PV guest's page tables (key `xen:arch/x86/pv/grant_table.c`). The guest names the last-level entry by the address it maps, or, with
 * GNTMAP_contains_pte, by its machine address. Results are GNTST_* statuses.
 */
import {
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_readonly,
  GNTST_general_error,
  GNTST_okay,
} from '../../../abi/xen/grant-table.ts';
import { A, adjustHigh, adjustLow, D, frameOf, NX, P, RW, US } from './entries.ts';
import * as f from './frame-table.ts';
import { l1Index } from './linear.ts';
import type { MmuVcpu, PvMemory } from './pv-memory.ts';

/** Where the software-defined bits of the entry come from in the flags. */
const GUEST_AVAIL_SHIFT = 16;

/** An entry of a last-level table. */
interface Place {
  readonly slot: number;
  readonly index: number;
}

function bitsOf(flags: number): number {
  const rights = ((flags & GNTMAP_application_map) !== 0 ? US : 0) | ((flags & GNTMAP_readonly) !== 0 ? 0 : RW);
  return P | A | D | rights | (((flags >>> GUEST_AVAIL_SHIFT) & 7) << 9);
}

/** Undefined: misaligned, not the domain's, no address of a 32-bit guest, or not in a last-level table. */
function find(mm: PvMemory, pv: MmuVcpu, address: bigint, flags: number): Place | undefined {
  let slot: number;
  let index: number;
  if ((flags & GNTMAP_contains_pte) !== 0) {
    if ((address & 7n) !== 0n) return undefined;
    slot = mm.frames.slotOf(Number(address >> 12n));
    index = l1Index(address << 9n);
  } else {
    if (mm.width === 32 && address >> 32n !== 0n) return undefined;
    slot = mm.linear.tableOf(mm.roots.current(pv), address);
    index = l1Index(address);
  }
  if (slot === f.NO_SLOT || mm.frames.type[slot] !== f.TYPE_L1 || mm.frames.typeCount[slot] === 0) return undefined;
  return (mm.frames.flags[slot] & f.VALIDATED) === 0 ? undefined : { slot, index };
}

/**
 * Puts a granted frame, to which the caller has taken the references that the entry needs, into an entry; what was there is given up. -1: no such
 * entry.
 */
export function createGrantMapping(mm: PvMemory, pv: MmuVcpu, address: bigint, mfn: number, flags: number): number {
  const place = find(mm, pv, address, flags);
  if (place === undefined) return GNTST_general_error;
  const low = ((mfn << 12) | bitsOf(flags)) >>> 0;
  const high = (NX | Math.floor(mfn / 0x10_0000)) >>> 0;
  const [oldLow, oldHigh] = read(mm, place);
  mm.modifier.put(place.slot, place.index, adjustLow(1, mm.width, low, high) >>> 0, adjustHigh(1, mm.width, low, high));
  mm.validator.dropData(oldLow, oldHigh);
  return GNTST_okay;
}

/**
 * Takes a granted frame out of its entry; `replacement`, unless 0, is an address whose entry moves there. The references of the grant's entry are the caller's to give
 * up. -1: no such entries, or the entry does not map the frame with the rights of the grant.
 */
export function replaceGrantMapping(
  mm: PvMemory,
  pv: MmuVcpu,
  address: bigint,
  mfn: number,
  replacement: bigint,
  flags: number,
): number {
  let moved: readonly [number, number] = [0, 0];
  if (replacement !== 0n) {
    const from = (flags & GNTMAP_contains_pte) !== 0 ? undefined : find(mm, pv, replacement, 0);
    if (from === undefined) return GNTST_general_error;
    moved = read(mm, from);
    mm.modifier.put(from.slot, from.index, 0, 0);
  }
  const place = find(mm, pv, address, flags);
  const [low, high] = place === undefined ? [0, 0] : read(mm, place);
  if (place === undefined || frameOf(low, high) !== mfn || ((low ^ bitsOf(flags)) & (P | RW)) !== 0) {
    mm.validator.dropData(moved[0], moved[1]);
    return GNTST_general_error;
  }
  mm.modifier.put(place.slot, place.index, moved[0], moved[1]);
  return GNTST_okay;
}

function read(mm: PvMemory, { slot, index }: Place): readonly [number, number] {
  return mm.entryAt(slot, index);
}
