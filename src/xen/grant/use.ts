/** Using a grant: the checks of an entry, shared by mapping and copying. Results are GNTST_* statuses. */
import {
  GNTST_bad_gntref,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_type_mask,
  GTF_writing,
  grant_sub_page,
} from '../../abi/xen/grant-table.ts';
import { gfn as asGfn } from '../../base/int.ts';
import type { ActiveEntry } from './active-entry.ts';
import type { GrantTable } from './grant-table.ts';

export interface Use {
  readonly readonly: boolean;
  /** Mapping refuses sub-page grants; copying honours them. */
  readonly map: boolean;
  /** Who uses it. */
  readonly domid: number;
}

/**
 * Pins a reference of `owner`. In order: reference out of range (-3); pinned by another domain, too often, or mapping a sub-page one (-1); entry of
 * another type or for another domain, writing through a read-only one (-1); transitive (-1); frame not the owner's RAM (-9).
 */
export function acquire(owner: GrantTable, ref: number, use: Use): ActiveEntry | number {
  if (ref >= owner.entries) return GNTST_bad_gntref;
  const active = owner.activeEntry(ref);
  if (active.pinned && (active.domid !== use.domid || !active.canPin(use.readonly) || (use.map && active.subPage))) {
    return GNTST_general_error;
  }
  if (!active.pinned || (!use.readonly && active.writers === 0)) {
    const status = claim(owner, ref, active, use);
    if (status !== GNTST_okay) {
      owner.settle(ref);
      return status;
    }
  }
  active.pin(use.readonly);
  return active;
}

/** Ends one use of a reference; status bits are cleared when the last of their kind goes. */
export function release(owner: GrantTable, ref: number, readonly: boolean): void {
  const active = owner.activeEntry(ref);
  active.unpin(readonly);
  reduceStatus(owner, ref, active, readonly);
  if (!active.pinned) owner.domain.p2m.unhold(active.frame);
  owner.settle(ref);
}

function claim(owner: GrantTable, ref: number, active: ActiveEntry, use: Use): number {
  const entry = owner.entry(ref);
  const type = entry.flags & (use.map ? GTF_type_mask | GTF_sub_page : GTF_type_mask);
  const transitive = owner.version === 2 && !use.map && type === GTF_transitive;
  if (!active.pinned && ((type !== GTF_permit_access && !transitive) || entry.domid !== use.domid))
    return GNTST_general_error;
  if (!use.readonly && (entry.flags & GTF_readonly) !== 0) return GNTST_general_error;
  if (transitive) return GNTST_general_error;
  owner.setStatus(ref, use.readonly ? GTF_reading : GTF_reading | GTF_writing);
  if (active.pinned) return GNTST_okay;
  const { p2m, memory } = owner.domain;
  let { frame: gfn } = entry;
  active.start = 0;
  active.length = 4096;
  active.subPage = owner.version === 2 && (entry.flags & GTF_sub_page) !== 0;
  if (active.subPage) {
    const { view, at } = owner.locate(ref);
    const part = grant_sub_page.read(view, at, 'native');
    gfn = Number(part.frame);
    active.start = part.page_off;
    active.length = part.length;
  }
  const frame = p2m.ramAt(gfn);
  if (frame === 0 || (!use.readonly && !memory.isWritable(asGfn(gfn)))) {
    reduceStatus(owner, ref, active, use.readonly);
    return GNTST_bad_page;
  }
  active.frame = frame;
  active.gfn = gfn;
  active.domid = use.domid;
  p2m.hold(frame);
  return GNTST_okay;
}

function reduceStatus(owner: GrantTable, ref: number, active: ActiveEntry, readonly: boolean): void {
  let bits = active.pinned ? 0 : GTF_reading;
  if (!readonly && active.writers === 0) bits |= GTF_writing;
  if (bits !== 0) owner.clearStatus(ref, bits);
}
