/**
 * Areas registered by guest-physical address (4.18 on): the same checks for runstate and time.
 */
import { ENXIO } from '../../abi/xen/errno.ts';
import type { GuestArea } from './area.ts';
import { UNSET } from './area.ts';
import type { GuestInfo } from './guest-info.ts';

/** An address of all ones unregisters. */
const NO_ADDRESS = 0xffff_ffff_ffff_ffffn;

/** Maps `size` bytes at a guest-physical address. ENXIO: crosses a page, misaligned; EINVAL: no such frame; EACCES: not typeable. */
export function mapPhysArea(info: GuestInfo, address: bigint, size: number): GuestArea | number {
  if (address === NO_ADDRESS) return UNSET;
  const offset = Number(address & 0xfffn);
  if (offset + size > 4096 || offset % info.alignment !== 0) return -ENXIO;
  const gfn = Number(address >> 12n);
  const held = info.holds.hold(gfn);
  if (typeof held === 'number') return held;
  return { kind: 'registered', gfn, offset, frame: held.frame, view: info.holds.view(held.frame, offset, size) };
}

/** Ends the hold of a registered area. */
export function releaseArea(info: GuestInfo, area: GuestArea | undefined): void {
  if (area?.kind === 'registered') info.holds.release(area.frame);
}
