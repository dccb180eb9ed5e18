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

/** The end of the guest address range that arrays may lie in is checked as a whole, as Xen does before touching any element. */
export function rangeOkay(context: HypercallContext, address: bigint, length: bigint): boolean {
  return address + length <= (context.width === 'native' ? 1n << 64n : 1n << 32n);
}
