/** `xen:public/memory.h`: XENMEM_increase_reservation, decrease_reservation, populate_physmap and exchange. */
import { EFAULT, EINVAL, EPERM } from '../../abi/xen/errno.ts';
import * as m from '../../abi/xen/memory.ts';
import type { ValueOf } from '../../abi/xen/struct.ts';
import { ulong } from '../../abi/xen/struct.ts';
import type { Entry, HypercallContext, Result } from '../hypercall.ts';
import { full, partial } from '../hypercall.ts';
import { exchangeFrames, machineExtent } from '../pv/mm/reservation.ts';
import { rangeOkay, targetSelf } from './common.ts';

/** Largest extent a guest may ask for at once: 2^9 pages. */
const DOMU_MAX_ORDER = 9;
const MAX_EXTENTS = 0xffff_ffffn >> BigInt(m.MEMOP_EXTENT_SHIFT);
const NO_NODE = 0xff;

type Reservation = ValueOf<typeof m.xen_memory_reservation>;
type Kind = 'increase' | 'decrease' | 'populate';

/** A guest without a NUMA topology may not insist on a node, nor on addresses below one page. */
function flagsOkay(flags: number): boolean {
  const bits = m.XENMEMF_get_address_bits(flags);
  if (bits !== 0 && bits <= 12) return false;
  if ((flags & m.XENMEMF_vnode) !== 0) return true;
  return m.XENMEMF_get_node(flags) === NO_NODE || (flags & m.XENMEMF_exact_node_request) === 0;
}

/**
 * Returns the number of extents done. Every error just ends the work: unreadable structure, more extents than a continuation can
 * count, unknown or foreign domain, node or address constraints, an unreadable list, an order above 9, page limit reached, holes.
 */
export function reservation(kind: Kind): Entry {
  return full({ guests: 'all' }, (context, _arg, address) => {
    const start = context.args[0] >> BigInt(m.MEMOP_EXTENT_SHIFT);
    const r = context.copyFromGuest(m.xen_memory_reservation, address);
    if (r === undefined || r.nr_extents > MAX_EXTENTS || start >= r.nr_extents) return start;
    if (targetSelf(context, r.domid) !== 0 || !flagsOkay(r.mem_flags)) return start;
    const listed = kind !== 'increase' || r.extent_start !== 0n;
    if (listed && !rangeOkay(context, r.extent_start, r.nr_extents * BigInt(ulong.size(context.width)))) return start;
    if (r.extent_order > DOMU_MAX_ORDER) return start;
    if (kind === 'populate' && (r.mem_flags & m.XENMEMF_populate_on_demand) !== 0) return start;
    let done = start;
    while (done < r.nr_extents && extent(kind, context, r, done)) done++;
    return done;
  });
}

function extent(kind: Kind, context: HypercallContext, r: Reservation, index: bigint): boolean {
  const { p2m, pv } = context.domain;
  if (pv !== undefined) return machineExtent(kind, context, pv.mm, r.extent_start, r.extent_order, index);
  const pages = 1 << r.extent_order;
  if (kind === 'increase') {
    // A translated guest gets pages it has no way to name; they only count against its limit.
    if (p2m.totalPages + pages > p2m.maxPages) return false;
    p2m.totalPages += pages;
    return true;
  }
  const first = context.copyFromGuest(ulong, context.element(ulong, r.extent_start, index));
  if (first === undefined) return false;
  if (kind === 'populate' && (p2m.totalPages + pages > p2m.maxPages || p2m.memory.available < pages)) return false;
  for (let i = 0; i < pages; i++) {
    const ok = kind === 'populate' ? p2m.populate(Number(first) + i) : p2m.remove(Number(first) + i) === 0;
    if (!ok) return false;
  }
  return true;
}

/**
 * EINVAL: continuation index; EFAULT; EPERM: order above 9; EINVAL: counts, domains or sizes do not match; EFAULT: lists out of range; EINVAL: node;
 * ESRCH, EPERM: another domain. On an early failure nr_exchanged becomes 0. PV, for each chunk: EFAULT, EINVAL: a frame that is not
 * the domain's, or in use; ENOMEM; nr_exchanged counts the chunks before it.
 */
export const exchange: Entry = partial(
  'of translated domains, pages keep their frame numbers',
  { guests: 'all' },
  (context, _arg, address) => {
    if (context.args[0] >> BigInt(m.MEMOP_EXTENT_SHIFT) !== 0n) return -EINVAL;
    const e = context.copyFromGuest(m.xen_memory_exchange, address);
    if (e === undefined) return -EFAULT;
    const rc = check(context, e);
    if (rc < 0) return failEarly(context, e, address, rc);
    if (e.nr_exchanged === e.in.nr_extents) return 0;
    const { p2m, pv } = context.domain;
    if (pv !== undefined) return exchangeFrames(context, pv.mm, e, address);
    const pages = 1 << e.in.extent_order;
    // Such a list names a page twice.
    if ((e.in.nr_extents - e.nr_exchanged) << BigInt(e.in.extent_order) > BigInt(p2m.totalPages)) return -EINVAL;
    const frames: number[] = [];
    for (let i = e.nr_exchanged; i < e.in.nr_extents; i++) {
      const first = context.copyFromGuest(ulong, context.element(ulong, e.in.extent_start, i));
      if (first === undefined) return -EFAULT;
      for (let page = 0; page < pages; page++) {
        if (p2m.ramAt(Number(first) + page) === 0) return -EINVAL;
        frames.push(Number(first) + page);
      }
    }
    for (const frame of frames) p2m.remove(frame);
    const outPages = 1 << e.out.extent_order;
    const skip = (Number(e.nr_exchanged) * pages) / outPages;
    for (let i = skip; i < Number(e.out.nr_extents); i++) {
      const first = context.copyFromGuest(ulong, context.element(ulong, e.out.extent_start, i));
      if (first === undefined) return -EFAULT;
      for (let page = 0; page < outPages; page++) if (!p2m.populate(Number(first) + page)) return -EINVAL;
    }
    e.nr_exchanged = e.in.nr_extents;
    return context.copyToGuest(m.xen_memory_exchange, address, e) ? 0 : -EFAULT;
  },
);

type Exchange = ValueOf<typeof m.xen_memory_exchange>;

function check(context: HypercallContext, e: Exchange): number {
  if (Math.max(e.in.extent_order, e.out.extent_order) > DOMU_MAX_ORDER) return -EPERM;
  const top = (1n << 64n) - 1n;
  if (
    e.nr_exchanged > e.in.nr_extents ||
    e.in.domid !== e.out.domid ||
    top >> BigInt(e.in.extent_order) < e.in.nr_extents ||
    top >> BigInt(e.out.extent_order) < e.out.nr_extents ||
    e.in.nr_extents << BigInt(e.in.extent_order) !== e.out.nr_extents << BigInt(e.out.extent_order)
  ) {
    return -EINVAL;
  }
  if (e.nr_exchanged === e.in.nr_extents) return 0;
  const word = BigInt(ulong.size(context.width));
  if (!rangeOkay(context, e.in.extent_start, e.in.nr_extents * word)) return -EFAULT;
  if (!rangeOkay(context, e.out.extent_start, e.out.nr_extents * word)) return -EFAULT;
  if (!flagsOkay(e.out.mem_flags)) return -EINVAL;
  return targetSelf(context, e.in.domid);
}

function failEarly(context: HypercallContext, e: Exchange, address: bigint, rc: number): Result {
  e.nr_exchanged = 0n;
  const at = address + BigInt(m.xen_memory_exchange.offset('nr_exchanged', context.width));
  return context.copyToGuest(ulong, at, 0n) ? rc : -EFAULT;
}
