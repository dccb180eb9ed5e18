/** `xen:public/memory.h`: XENMEM_add_to_physmap, its batch form, and remove_from_physmap. */
import {
  EACCES,
  EDOM,
  EFAULT,
  EILSEQ,
  EINVAL,
  ENOENT,
  ENOSYS,
  EOPNOTSUPP,
  EOVERFLOW,
  EPERM,
  ESRCH,
} from '../../abi/xen/errno.ts';
import * as m from '../../abi/xen/memory.ts';
import { s32, ulong } from '../../abi/xen/struct.ts';
import { gfn as asGfn } from '../../base/int.ts';
import type { Domain } from '../domain.ts';
import type { Entry, HypercallContext } from '../hypercall.ts';
import { full } from '../hypercall.ts';
import { MAX_GFN } from '../memory/p2m.ts';
import { rangeOkay, targetSelf } from './common.ts';

/** INVALID_GFN. A 32-bit caller cannot name it: its frame numbers are zero-extended. */
const INVALID_GFN = (1n << 64n) - 1n;

/** ESRCH; EACCES: not a translated domain (the control domain is not), or device memory. */
function permission(context: HypercallContext, domid: number, space?: number): number {
  const target = targetSelf(context, domid);
  if (target === -ESRCH) return target;
  return target !== 0 || !context.domain.isHvm || space === m.XENMAPSPACE_dev_mmio ? -EACCES : 0;
}

/**
 * Maps one page of a space at a guest frame. Grant table errors; EACCES: a gmfn that is not RAM (special pages are); EINVAL: nothing there,
 * unknown space, frame number beyond the address width. A special page moves; RAM at the target is freed.
 */
function addOne(domain: Domain, space: number, idx: bigint, gpfn: bigint): number {
  const { p2m } = domain;
  const target = gpfn > BigInt(MAX_GFN) ? undefined : asGfn(Number(gpfn));
  switch (space) {
    case m.XENMAPSPACE_shared_info:
      if (idx !== 0n || target === undefined) return -EINVAL;
      p2m.placeSpecial(domain.sharedInfo, target);
      return 0;
    case m.XENMAPSPACE_grant_table: {
      const status = (idx & m.XENMAPIDX_grant_table_status) !== 0n;
      const frame = domain.grants.frame(Number(BigInt.asUintN(31, idx)), status);
      if (frame < 0) return frame;
      if (target === undefined) return -EINVAL;
      p2m.placeSpecial(frame, target);
      return 0;
    }
    case m.XENMAPSPACE_gmfn: {
      const from = idx > BigInt(MAX_GFN) ? 0 : p2m.frameAt(Number(idx));
      if (from === 0 || p2m.isForeign(asGfn(Number(idx)))) return -EACCES;
      if (target === undefined) return -EINVAL;
      if (p2m.isSpecial(from)) p2m.placeSpecial(from, target);
      else p2m.move(asGfn(Number(idx)), target);
      return 0;
    }
    case m.XENMAPSPACE_gmfn_foreign:
      return -EPERM;
    default:
      return -EINVAL;
  }
}

/**
 * EDOM: continuation index beyond 16 bits; EFAULT; ENOSYS: foreign frames; ESRCH; EACCES: PV, device memory; EINVAL: frame number all ones;
 * then the errors of one page. Ranges: EILSEQ: size below the continuation index; EOVERFLOW: wraps; processed backwards when they overlap upwards.
 */
export const addToPhysmap: Entry = full({ guests: 'all' }, (context, _arg, address) => {
  const start = context.args[0] >> BigInt(m.MEMOP_EXTENT_SHIFT);
  if (start > 0xffffn) return -EDOM;
  const x = context.copyFromGuest(m.xen_add_to_physmap, address);
  if (x === undefined) return -EFAULT;
  if (x.space === m.XENMAPSPACE_gmfn_foreign) return -ENOSYS;
  const denied = permission(context, x.domid, x.space);
  if (denied !== 0) return denied;
  if (x.gpfn === INVALID_GFN) return -EINVAL;
  const { domain } = context;
  if (x.space !== m.XENMAPSPACE_gmfn_range) return addOne(domain, x.space, x.idx, x.gpfn);
  const size = BigInt(x.size);
  if (size < start) return -EILSEQ;
  if (x.gpfn + size >= 1n << 64n || x.idx + size >= 1n << 64n) return -EOVERFLOW;
  const backwards = x.gpfn > x.idx && x.gpfn < x.idx + size;
  for (let n = start; n < size; n++) {
    const at = backwards ? size - 1n - n : n;
    const rc = addOne(domain, m.XENMAPSPACE_gmfn, x.idx + at, x.gpfn + at);
    if (rc < 0) return rc;
  }
  return 0;
});

/**
 * EDOM; EFAULT; EOPNOTSUPP: range space; ESRCH; EACCES: PV, device memory; EILSEQ: size below the continuation index; EFAULT: lists; EINVAL: frame number all
 * ones. The result of each page goes to the error list.
 */
export const addToPhysmapBatch: Entry = full({ guests: 'all' }, (context, _arg, address) => {
  const start = context.args[0] >> BigInt(m.MEMOP_EXTENT_SHIFT);
  if (start > 0xffffn) return -EDOM;
  const x = context.copyFromGuest(m.xen_add_to_physmap_batch, address);
  if (x === undefined) return -EFAULT;
  if (x.space === m.XENMAPSPACE_gmfn_range) return -EOPNOTSUPP;
  const denied = permission(context, x.domid, x.space);
  if (denied !== 0) return denied;
  const size = BigInt(x.size);
  if (size < start) return -EILSEQ;
  if (size === start) return start !== 0n ? -EILSEQ : 0;
  const word = BigInt(ulong.size(context.width));
  if (
    !rangeOkay(context, x.idxs, size * word) ||
    !rangeOkay(context, x.gpfns, size * word) ||
    !rangeOkay(context, x.errs, size * 4n)
  ) {
    return -EFAULT;
  }
  for (let n = start; n < size; n++) {
    const idx = context.copyFromGuest(ulong, context.element(ulong, x.idxs, n));
    const gpfn = context.copyFromGuest(ulong, context.element(ulong, x.gpfns, n));
    if (idx === undefined || gpfn === undefined) return -EFAULT;
    if (gpfn === INVALID_GFN) return -EINVAL;
    const rc = addOne(context.domain, x.space, idx, gpfn);
    if (!context.copyToGuest(s32, context.element(s32, x.errs, n), rc)) return -EFAULT;
  }
  return 0;
});

/** EINVAL: continuation; EFAULT; ESRCH; EACCES: PV; ENOENT: nothing mapped there. The page itself stays the domain's. */
export const removeFromPhysmap: Entry = full({ guests: 'all' }, (context, _arg, address) => {
  if (context.args[0] >> BigInt(m.MEMOP_EXTENT_SHIFT) !== 0n) return -EINVAL;
  const x = context.copyFromGuest(m.xen_remove_from_physmap, address);
  if (x === undefined) return -EFAULT;
  const denied = permission(context, x.domid);
  if (denied !== 0) return denied;
  return x.gpfn > BigInt(MAX_GFN) ? -ENOENT : context.domain.p2m.unhook(Number(x.gpfn));
});
