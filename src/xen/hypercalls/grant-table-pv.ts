/** Mapping grants and giving pages away, as PV guests do it: host mappings in the guest's own page tables, device mappings, and both at once (key `xen:common/grant_table.c`). */
import * as g from '../../abi/xen/grant-table.ts';
import type { ValueOf } from '../../abi/xen/struct.ts';
import { domId } from '../../base/int.ts';
import type { GrantTable } from '../grant/grant-table.ts';
import { acquire, release } from '../grant/use.ts';
import type { HypercallContext } from '../hypercall.ts';
import * as f from '../pv/mm/frame-table.ts';
import { createGrantMapping, replaceGrantMapping } from '../pv/mm/grant-map.ts';
import { enter } from '../pv/mm/hypercall-common.ts';

const KINDS = [g.GNTMAP_device_map, g.GNTMAP_host_map] as const;

/**
 * -3 neither a device nor a host mapping; -2 domain; -13 handle; then those of {@link acquire}; -1 the frame is in use as what cannot be written, or the entry for the
 * host mapping cannot be had.
 */
export function mapPv(context: HypercallContext, op: ValueOf<typeof g.gnttab_map_grant_ref>): number {
  const { grants } = context.domain;
  const kinds = KINDS.filter((kind) => (op.flags & kind) !== 0);
  if (kinds.length === 0) return g.GNTST_bad_gntref;
  const owner = grants.tableOf(op.dom);
  if (owner === undefined) return op.dom === 0 ? g.GNTST_general_error : g.GNTST_bad_domain;
  const handle = grants.takeHandle();
  if (handle === undefined) return g.GNTST_no_space;
  const status = mapAs(context, op, owner, kinds);
  if (status !== g.GNTST_okay) {
    grants.putHandle(handle);
    return status;
  }
  grants.mappings.set(handle, { domid: domId(op.dom), ref: op.ref, flags: op.flags });
  op.handle = handle;
  return g.GNTST_okay;
}

function mapAs(
  context: HypercallContext,
  op: ValueOf<typeof g.gnttab_map_grant_ref>,
  owner: GrantTable,
  kinds: readonly number[],
): number {
  const { mm, pv } = enter(context);
  const readonly = (op.flags & g.GNTMAP_readonly) !== 0;
  const active = acquire(owner, op.ref, { readonly, map: true, domid: context.domain.id });
  if (typeof active === 'number') return active;
  for (const kind of kinds.slice(1)) if (kind !== 0) active.pin(readonly);
  const slot = mm.slotOfFrame(active.frame);
  const mfn = mm.frames.mfnOf(slot);
  let taken = 0;
  let status: number = g.GNTST_okay;
  for (const kind of kinds) {
    if (!take(context, slot, readonly)) {
      status = g.GNTST_general_error;
      break;
    }
    taken++;
    if (kind === g.GNTMAP_host_map) status = createGrantMapping(mm, pv, op.host_addr, mfn, op.flags);
  }
  if (status === g.GNTST_okay) {
    op.dev_bus_addr = BigInt(mfn) << 12n;
    return status;
  }
  while (taken-- > 0) give(context, slot, readonly);
  for (const _ of kinds) release(owner, op.ref, readonly);
  return status;
}

/** The references that a mapping of one kind holds. */
function take(context: HypercallContext, slot: number, readonly: boolean): boolean {
  const { mm } = enter(context);
  if (!readonly && mm.types.getType(slot, f.TYPE_WRITABLE) !== 0) return false;
  mm.frames.refs[slot]++;
  return true;
}

function give(context: HypercallContext, slot: number, readonly: boolean): void {
  const { mm } = enter(context);
  if (readonly) mm.types.putPage(slot);
  else mm.types.putPageAndType(slot);
}

/** What unmapping is asked to end. */
interface Unmap {
  readonly handle: number;
  readonly host: bigint;
  readonly device: bigint;
  /** Address whose entry takes the place of the mapping's; 0 for none. */
  readonly replacement: bigint;
}

/**
 * -4 handle; -6 the device address is not that of the grant; -1 the entry does not hold the grant. Only what an address is given for is unmapped; the handle goes with the
 * last part.
 */
function unmap(context: HypercallContext, { handle, host, device, replacement }: Unmap): number {
  const { grants } = context.domain;
  const { mm, pv } = enter(context);
  const mapping = grants.mappings.get(handle);
  if (mapping === undefined) return g.GNTST_bad_handle;
  const owner = grants.tableOf(mapping.domid);
  if (owner === undefined) return g.GNTST_bad_domain;
  const { flags, ref } = mapping;
  const slot = mm.slotOfFrame(owner.activeEntry(ref).frame);
  const mfn = mm.frames.mfnOf(slot);
  const readonly = (flags & g.GNTMAP_readonly) !== 0;
  const ends: number[] = [];
  if (device !== 0n && (flags & g.GNTMAP_device_map) !== 0) {
    if (device !== BigInt(mfn) << 12n) return g.GNTST_bad_dev_addr;
    ends.push(g.GNTMAP_device_map);
  }
  if (host !== 0n && (flags & g.GNTMAP_host_map) !== 0) {
    const status = replaceGrantMapping(mm, pv, host, mfn, replacement, flags);
    if (status !== g.GNTST_okay) return status;
    ends.push(g.GNTMAP_host_map);
  }
  if (ends.length > 0) mm.tlbs.flushAll();
  for (const kind of ends) {
    mapping.flags &= ~kind;
    give(context, slot, readonly);
    release(owner, ref, readonly);
  }
  if ((mapping.flags & (g.GNTMAP_device_map | g.GNTMAP_host_map)) === 0) grants.putHandle(handle);
  return g.GNTST_okay;
}

export const unmapPv = (context: HypercallContext, op: ValueOf<typeof g.gnttab_unmap_grant_ref>): number =>
  unmap(context, { handle: op.handle, host: op.host_addr, device: op.dev_bus_addr, replacement: 0n });

/** As {@link unmapPv} for a host mapping; the entry of another address takes its place, and that address has none any more. */
export const unmapAndReplace = (context: HypercallContext, op: ValueOf<typeof g.gnttab_unmap_and_replace>): number =>
  unmap(context, { handle: op.handle, host: op.host_addr, device: 0n, replacement: op.new_addr });

/**
 * Gives a page to another domain, or back to the own one. -9 not the domain's, or in use; from then on the page is lost whatever happens: -2 domain; -1 the reference is none
 * that accepts a page from this domain. Accepted by the own domain: the entry tells the frame.
 */
export function transfer(context: HypercallContext, op: ValueOf<typeof g.gnttab_transfer>): number {
  const { domain } = context;
  const { mm } = enter(context);
  const mfn = Number(op.mfn);
  if (!mm.isIdle(mfn)) return g.GNTST_bad_page;
  const { grants } = domain;
  const accepted =
    op.domid === domain.id &&
    op.ref < grants.entries &&
    grants.entry(op.ref).flags === g.GTF_accept_transfer &&
    grants.entry(op.ref).domid === domain.id;
  if (!accepted) {
    mm.giveUp(mfn);
    return op.domid === domain.id || op.domid === 0 ? g.GNTST_general_error : g.GNTST_bad_domain;
  }
  mm.setM2p(mfn, 0xffff_ffff_ffff);
  mm.tlbs.flushAll();
  grants.completeTransfer(op.ref, mfn);
  return g.GNTST_okay;
}
