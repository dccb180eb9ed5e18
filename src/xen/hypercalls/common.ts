/** Argument checks that several hypercalls share. */
import { EPERM, ESRCH } from '../../abi/xen/errno.ts';
import { DOMID_SELF } from '../../abi/xen/xen.ts';
import type { HypercallContext } from '../hypercall.ts';

/**
 * Resolves a domain id for an operation that a guest may only use on itself: 0 for the caller, -EPERM for the control
 * domain (it exists, but is out of reach), -ESRCH for ids nobody has.
 */
export function targetSelf(context: HypercallContext, domid: number): number {
  if (domid === DOMID_SELF || domid === context.domain.id) return 0;
  return domid === 0 ? -EPERM : -ESRCH;
}

/** Of a PV guest, an array as a whole must lie in its address range before any element is touched; those of HVM guests fail where they are. */
export function rangeOkay(context: HypercallContext, address: bigint, length: bigint): boolean {
  if (context.domain.isHvm) return true;
  return address + length <= (context.width === 'native' ? 1n << 64n : 1n << 32n);
}
