/** memory_op of PV guests on their reservation: they name machine frames, and tell which physical frame each becomes (key `xen:common/memory.c`). */
import { EFAULT, EINVAL, ENOMEM } from '../../../abi/xen/errno.ts';
import * as m from '../../../abi/xen/memory.ts';
import type { ValueOf } from '../../../abi/xen/struct.ts';
import { ulong } from '../../../abi/xen/struct.ts';
import type { HypercallContext, Result } from '../../hypercall.ts';
import { again } from '../../hypercall.ts';
import * as f from './frame-table.ts';
import type { PvMemory } from './pv-memory.ts';

/** Chunks exchanged before the rest continues as a new call. */
const CHUNKS_AT_ONCE = 64;

/**
 * One extent of increase_reservation, decrease_reservation or populate_physmap. False ends the work there: an unreadable list, no memory, a frame that is not the
 * domain's. A frame that is still mapped, pinned or granted is given up, and goes when that ends.
 */
export function machineExtent(
  kind: 'increase' | 'decrease' | 'populate',
  context: HypercallContext,
  mm: PvMemory,
  list: bigint,
  order: number,
  index: bigint,
): boolean {
  const pages = 1 << order;
  const at = context.element(ulong, list, index);
  if (kind === 'increase') {
    const mfn = mm.allocateRun(pages);
    if (mfn === undefined) return false;
    return list === 0n || context.copyToGuest(ulong, at, BigInt(mfn));
  }
  const given = context.copyFromGuest(ulong, at);
  if (given === undefined) return false;
  const first = Number(given);
  if (kind === 'decrease') {
    for (let page = 0; page < pages; page++) if (!mm.giveUp(first + page)) return false;
    return true;
  }
  const mfn = mm.allocateRun(pages);
  if (mfn === undefined) return false;
  for (let page = 0; page < pages; page++) mm.setM2p(mfn + page, first + page);
  return context.copyToGuest(ulong, at, BigInt(mfn));
}

type Exchange = ValueOf<typeof m.xen_memory_exchange>;

/**
 * Exchanges frames chunk by chunk: a chunk is one extent of the larger order. An error ends the work at a chunk, which is undone; nr_exchanged tells how many extents
 * went before. EFAULT: the lists, or nr_exchanged; EINVAL: a frame that is not the domain's, or that is mapped, a table or the hypervisor's; ENOMEM: no
 * consecutive frames.
 */
export function exchangeFrames(context: HypercallContext, mm: PvMemory, e: Exchange, address: bigint): Result {
  const inChunk = Math.max(0, e.out.extent_order - e.in.extent_order);
  const outChunk = Math.max(0, e.in.extent_order - e.out.extent_order);
  const field = address + BigInt(m.xen_memory_exchange.offset('nr_exchanged', context.width));
  const chunks = e.in.nr_extents >> BigInt(inChunk);
  const start = e.nr_exchanged >> BigInt(inChunk);
  for (let chunk = start; chunk < chunks; chunk++) {
    const interrupted = chunk - start === BigInt(CHUNKS_AT_ONCE);
    const result = interrupted ? 0 : exchangeChunk(context, mm, e, chunk, inChunk, outChunk);
    if (!interrupted && result === 0) continue;
    if (!context.copyToGuest(ulong, field, chunk << BigInt(inChunk))) return -EFAULT;
    return interrupted ? again() : result;
  }
  return context.copyToGuest(ulong, field, e.in.nr_extents) ? 0 : -EFAULT;
}

function exchangeChunk(
  context: HypercallContext,
  mm: PvMemory,
  e: Exchange,
  chunk: bigint,
  inChunk: number,
  outChunk: number,
): number {
  const stolen: number[] = [];
  let result = steal(context, mm, e, chunk, inChunk, stolen);
  const runs: number[] = [];
  const length = 1 << e.out.extent_order;
  for (let j = 0; result === 0 && j < 1 << outChunk; j++) {
    const run = mm.frames.findFree(length);
    if (run === f.NO_SLOT) result = -ENOMEM;
    else {
      runs.push(run);
      mm.frames.reserve(run, length, true);
    }
  }
  for (const run of runs) mm.frames.reserve(run, length, false);
  if (result !== 0) {
    for (const slot of stolen) mm.giveBack(slot);
    return result;
  }
  stolen.forEach((slot, n) => {
    mm.renumber(slot, runs[n >>> e.out.extent_order] + (n & (length - 1)));
  });
  for (const [j, run] of runs.entries()) {
    const at = context.element(ulong, e.out.extent_start, (chunk << BigInt(outChunk)) + BigInt(j));
    const pfn = context.copyFromGuest(ulong, at);
    if (pfn === undefined) {
      result = -EFAULT;
      continue;
    }
    const mfn = mm.frames.mfnOf(run);
    for (let page = 0; page < length; page++) mm.setM2p(mfn + page, Number(pfn) + page);
    if (!context.copyToGuest(ulong, at, BigInt(mfn))) result = -EFAULT;
  }
  return result;
}

/** Takes the frames of a chunk from the domain, so that one named twice is refused. */
function steal(
  context: HypercallContext,
  mm: PvMemory,
  e: Exchange,
  chunk: bigint,
  inChunk: number,
  stolen: number[],
): number {
  for (let j = 0; j < 1 << inChunk; j++) {
    const at = context.element(ulong, e.in.extent_start, (chunk << BigInt(inChunk)) + BigInt(j));
    const given = context.copyFromGuest(ulong, at);
    if (given === undefined) return -EFAULT;
    for (let page = 0; page < 1 << e.in.extent_order; page++) {
      const mfn = Number(given) + page;
      if (!mm.isIdle(mfn)) return -EINVAL;
      const slot = mfn - mm.frames.base;
      mm.steal(slot);
      stolen.push(slot);
    }
  }
  return 0;
}
