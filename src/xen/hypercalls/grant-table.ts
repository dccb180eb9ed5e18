/**
 * grant_table_op: commands on arrays. Before any entry: EINVAL for a negative count or bits above the command; EFAULT for an array that cannot be
 * addressed; ENOSYS for what HVM guests may not use. The call returns 0 and each entry has a status of its own. `xen:public/grant_table.h`
 */
import { EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import * as g from '../../abi/xen/grant-table.ts';
import type { Type, ValueOf } from '../../abi/xen/struct.ts';
import { ulong } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_grant_table_op, DOMID_SELF } from '../../abi/xen/xen.ts';
import { gfn as asGfn, domId } from '../../base/int.ts';
import { acquire, release } from '../grant/use.ts';
import type { Entry, HypercallContext, Result } from '../hypercall.ts';
import { absent, again, full, hypercall, partial } from '../hypercall.ts';
import { rangeOkay, targetSelf } from './common.ts';
import { mapPv, transfer, unmapAndReplace, unmapPv } from './grant-table-pv.ts';

const PAGE = 4096n;
/** Entries of an array performed before the rest continues as a new call. */
const ENTRIES_AT_ONCE = 256;

const count = ({ args }: HypercallContext): number => Number(BigInt.asIntN(32, args[2]));

/** An operation on an array: EFAULT for the array, then entry by entry; a status is stored into each. */
function each<T extends { status: number }>(
  type: Type<T>,
  perform: (context: HypercallContext, op: T) => number,
): Entry['handler'] {
  return (context, _arg, address) => {
    const n = count(context);
    if (!rangeOkay(context, address, BigInt(type.size(context.width)) * BigInt(n))) return -EFAULT;
    for (let i = 0; i < n; i++) {
      const at = context.element(type, address, i);
      if (i === ENTRIES_AT_ONCE) return again(undefined, at, BigInt(n - i));
      const op = context.copyFromGuest(type, at);
      if (op === undefined) return -EFAULT;
      op.status = perform(context, op);
      if (!context.copyToGuest(type, at, op)) return -EFAULT;
    }
    return 0;
  };
}

/** -2 or -8 for domains that cannot be named, 0 for the caller. */
function domainStatus(context: HypercallContext, dom: number): number {
  const denied = targetSelf(context, dom);
  return denied === 0 ? g.GNTST_okay : denied === -ESRCH ? g.GNTST_bad_domain : g.GNTST_permission_denied;
}

/** -3 no map flag; -1 device, application or PTE mapping by HVM; -2 domain; -13 handle; then those of {@link acquire}; -1 address. */
function map(context: HypercallContext, op: ValueOf<typeof g.gnttab_map_grant_ref>): number {
  const { grants, p2m, isHvm } = context.domain;
  if (!isHvm) return mapPv(context, op);
  if ((op.flags & (g.GNTMAP_device_map | g.GNTMAP_host_map)) === 0) return g.GNTST_bad_gntref;
  if ((op.flags & (g.GNTMAP_device_map | g.GNTMAP_application_map | g.GNTMAP_contains_pte)) !== 0)
    return g.GNTST_general_error;
  const owner = grants.tableOf(op.dom);
  if (owner === undefined) return g.GNTST_bad_domain;
  const handle = grants.takeHandle();
  if (handle === undefined) return g.GNTST_no_space;
  const readonly = (op.flags & g.GNTMAP_readonly) !== 0;
  const active = acquire(owner, op.ref, { readonly, map: true, domid: context.domain.id });
  if (typeof active === 'number') {
    grants.putHandle(handle);
    return active;
  }
  const target = Number(op.host_addr >> 12n);
  const { frame } = active;
  if (op.host_addr % PAGE !== 0n || op.host_addr >> 39n !== 0n) {
    release(owner, op.ref, readonly);
    grants.putHandle(handle);
    return g.GNTST_general_error;
  }
  p2m.mapForeign(asGfn(target), frame, !readonly);
  grants.mappings.set(handle, { domid: domId(op.dom), ref: op.ref, flags: op.flags });
  op.dev_bus_addr = BigInt(frame) * PAGE;
  op.handle = handle;
  return g.GNTST_okay;
}

/** -4 handle; -1 the address is not where the grant is mapped. Without an address nothing is unmapped. */
function unmap(context: HypercallContext, op: ValueOf<typeof g.gnttab_unmap_grant_ref>): number {
  const { grants, p2m, isHvm } = context.domain;
  if (!isHvm) return unmapPv(context, op);
  const mapping = grants.mappings.get(op.handle);
  if (mapping === undefined) return g.GNTST_bad_handle;
  const owner = grants.tableOf(mapping.domid);
  if (owner === undefined) return g.GNTST_bad_domain;
  if (op.host_addr === 0n) return g.GNTST_okay;
  const at = asGfn(Number(op.host_addr >> 12n));
  if (!p2m.isForeign(at) || p2m.frameAt(at) !== owner.activeEntry(mapping.ref).frame) return g.GNTST_general_error;
  p2m.unmapForeign(at);
  release(owner, mapping.ref, (mapping.flags & g.GNTMAP_readonly) !== 0);
  grants.putHandle(op.handle);
  return g.GNTST_okay;
}

/** EINVAL: count is not 1; EFAULT: argument, list. Status -2, -8 domain; -1 too many frames; -5 list entry not writable. */
function setupTable(context: HypercallContext, _arg: unknown, address: bigint): Result {
  if (count(context) !== 1) return -EINVAL;
  const op = context.copyFromGuest(g.gnttab_setup_table, address);
  if (op === undefined) return -EFAULT;
  const length = BigInt(ulong.size(context.width)) * BigInt(op.nr_frames);
  if (!context.domain.isHvm && !rangeOkay(context, op.frame_list, length)) return -EFAULT;
  const { grants, p2m, isHvm } = context.domain;
  op.status = domainStatus(context, op.dom);
  if (op.status === g.GNTST_okay && !(op.nr_frames <= grants.maxFrames && grants.grow(op.nr_frames)))
    op.status = g.GNTST_general_error;
  for (let i = 0; op.status === g.GNTST_okay && i < op.nr_frames; i++) {
    const frame = grants.sharedFrame(i) ?? 0;
    const at = isHvm ? p2m.gfnOfSpecial(frame) : p2m.machine?.share(frame);
    const none = context.width === 'native' ? (1n << 64n) - 1n : 0xffff_ffffn;
    if (!context.copyToGuest(ulong, context.element(ulong, op.frame_list, i), at === undefined ? none : BigInt(at))) {
      op.status = g.GNTST_bad_virt_addr;
    }
  }
  return context.copyToGuest(g.gnttab_setup_table, address, op) ? 0 : -EFAULT;
}

/** EINVAL: count is not 1; EFAULT. Status -2, -8. */
function querySize(context: HypercallContext, _arg: unknown, address: bigint): Result {
  if (count(context) !== 1) return -EINVAL;
  const op = context.copyFromGuest(g.gnttab_query_size, address);
  if (op === undefined) return -EFAULT;
  op.status = domainStatus(context, op.dom);
  if (op.status === g.GNTST_okay) {
    op.nr_frames = context.domain.grants.frames;
    op.max_nr_frames = context.domain.grants.maxFrames;
  }
  return context.copyToGuest(g.gnttab_query_size, address, op) ? 0 : -EFAULT;
}

/** EFAULT; then the errors of `GrantTable.setVersion`. The version in force is written back in every case. */
function setVersion(context: HypercallContext, _arg: unknown, address: bigint): Result {
  const op = context.copyFromGuest(g.gnttab_set_version, address);
  if (op === undefined) return -EFAULT;
  const { grants } = context.domain;
  const result = grants.setVersion(op.version);
  return context.copyToGuest(g.gnttab_set_version, address, { version: grants.version }) ? result : -EFAULT;
}

/** EFAULT; ESRCH; EPERM. */
function getVersion(context: HypercallContext, _arg: unknown, address: bigint): Result {
  const op = context.copyFromGuest(g.gnttab_get_version, address);
  if (op === undefined) return -EFAULT;
  const denied = targetSelf(context, op.dom);
  if (denied !== 0) return denied === -ESRCH ? -ESRCH : -EPERM;
  return context.copyToGuest(g.gnttab_get_version, address, { ...op, version: context.domain.grants.version })
    ? 0
    : -EFAULT;
}

/** EINVAL: count is not 1; EFAULT: argument. Status -2, -8; -1 too many frames; -5. */
function getStatusFrames(context: HypercallContext, _arg: unknown, address: bigint): Result {
  if (count(context) !== 1) return -EINVAL;
  const op = context.copyFromGuest(g.gnttab_get_status_frames, address);
  if (op === undefined) return -EFAULT;
  const { grants, p2m } = context.domain;
  op.status = domainStatus(context, op.dom);
  if (op.status === g.GNTST_okay && (grants.version === 1 || op.nr_frames > grants.statusFrames))
    op.status = g.GNTST_general_error;
  for (let i = 0; op.status === g.GNTST_okay && i < op.nr_frames; i++) {
    const frame = new Uint8Array(8);
    new DataView(frame.buffer).setBigUint64(0, BigInt(p2m.machine?.share(grants.statusFrame(i) ?? 0) ?? 0), true);
    if (!context.writeBytes(context.cut(op.frame_list + BigInt(i * 8)), frame)) op.status = g.GNTST_bad_virt_addr;
  }
  return context.copyToGuest(g.gnttab_get_status_frames, address, op) ? 0 : -EFAULT;
}

/** One side of a copy: bytes of a frame, and which part of it may be used. */
interface CopySide {
  readonly frame: number;
  readonly start: number;
  readonly end: number;
  readonly done: () => void;
}

/** -8 a frame of another domain; -2 domain; then those of {@link acquire}, or -9 for a frame of one's own that is not RAM. */
function copySide(
  context: HypercallContext,
  ptr: ValueOf<typeof g.gnttab_copy>['source'],
  byRef: boolean,
  readonly: boolean,
): CopySide | number {
  const { domain } = context;
  const self = targetSelf(context, ptr.domid) === 0;
  if (!byRef) {
    const gfn = Number(ptr.u.gmfn ?? 0n);
    const frame = domain.p2m.ramAt(gfn);
    return frame === 0 ? g.GNTST_bad_page : { frame, start: 0, end: 4096, done: () => {} };
  }
  const owner = self ? domain.grants : domain.grants.tableOf(ptr.domid);
  const ref = ptr.u.ref ?? 0;
  if (owner === undefined) return g.GNTST_bad_domain;
  const active = acquire(owner, ref, { readonly, map: false, domid: domain.id });
  if (typeof active === 'number') return active;
  return {
    frame: active.frame,
    start: active.start,
    end: active.start + active.length,
    done: () => release(owner, ref, readonly),
  };
}

/** 0 for no bytes (from 4.19 on); -8, -2 for either domain; source, then destination; -10 beyond a page; -1 outside the granted part. */
function copy(context: HypercallContext, op: ValueOf<typeof g.gnttab_copy>): number {
  if (op.len === 0 && context.domain.rules.has('grant-copy-of-nothing')) return g.GNTST_okay;
  const sides = [
    { ptr: op.source, byRef: (op.flags & g.GNTCOPY_source_gref) !== 0 },
    { ptr: op.dest, byRef: (op.flags & g.GNTCOPY_dest_gref) !== 0 },
  ];
  for (const { ptr, byRef } of sides) {
    if (!byRef && ptr.domid !== DOMID_SELF) return g.GNTST_permission_denied;
    if (targetSelf(context, ptr.domid) !== 0 && context.domain.grants.tableOf(ptr.domid) === undefined)
      return g.GNTST_bad_domain;
  }
  const source = copySide(context, op.source, sides[0].byRef, true);
  if (typeof source === 'number') return source;
  const dest = copySide(context, op.dest, sides[1].byRef, false);
  if (typeof dest === 'number') {
    source.done();
    return dest;
  }
  const { machine } = context.domain.p2m;
  const writable = machine === undefined || machine.holdWritable(dest.frame);
  const status = writable ? copyBytes(context, op, source, dest) : g.GNTST_general_error;
  if (writable) machine?.releaseWritable(dest.frame);
  dest.done();
  source.done();
  return status;
}

function copyBytes(
  context: HypercallContext,
  op: ValueOf<typeof g.gnttab_copy>,
  source: CopySide,
  dest: CopySide,
): number {
  const from = op.source.offset,
    to = op.dest.offset;
  if (from + op.len > 4096 || to + op.len > 4096) return g.GNTST_bad_copy_arg;
  if (from < source.start || from + op.len > source.end) return g.GNTST_general_error;
  if (to < dest.start || to + op.len > dest.end) return g.GNTST_general_error;
  const { bytes } = context.domain.memory;
  bytes.copyWithin(dest.frame * 4096 + to, source.frame * 4096 + from, source.frame * 4096 + from + op.len);
  context.domain.pv?.mm.wroteFrame(dest.frame, to, op.len);
  return g.GNTST_okay;
}

/** -3 either reference; 0 for the same one; -12 in use. */
function swap({ domain: { grants } }: HypercallContext, op: ValueOf<typeof g.gnttab_swap_grant_ref>): number {
  if (op.ref_a >= grants.entries || op.ref_b >= grants.entries) return g.GNTST_bad_gntref;
  if (op.ref_a === op.ref_b) return g.GNTST_okay;
  const busy = [op.ref_a, op.ref_b].some((ref) => grants.activeEntry(ref).pinned);
  grants.settle(op.ref_a);
  grants.settle(op.ref_b);
  if (busy) return g.GNTST_eagain;
  grants.swap(op.ref_a, op.ref_b);
  return g.GNTST_okay;
}

const guests = 'all';

/** What HVM guests may call; anything else is turned away before its arguments are looked at. */
const HVM_COMMANDS: ReadonlySet<number> = new Set([
  g.GNTTABOP_map_grant_ref,
  g.GNTTABOP_unmap_grant_ref,
  g.GNTTABOP_setup_table,
  g.GNTTABOP_copy,
  g.GNTTABOP_query_size,
  g.GNTTABOP_set_version,
  g.GNTTABOP_get_version,
  g.GNTTABOP_swap_grant_ref,
]);

export const grantTableOp = hypercall(
  __HYPERVISOR_grant_table_op,
  'xen:public/grant_table.h',
  {
    [g.GNTTABOP_map_grant_ref]: full({ guests }, each(g.gnttab_map_grant_ref, map)),
    [g.GNTTABOP_unmap_grant_ref]: full({ guests }, each(g.gnttab_unmap_grant_ref, unmap)),
    [g.GNTTABOP_setup_table]: full({ guests }, setupTable),
    [g.GNTTABOP_dump_table]: absent('was for debugging'),
    [g.GNTTABOP_transfer]: full({ guests: 'pv' }, each(g.gnttab_transfer, transfer)),
    [g.GNTTABOP_copy]: partial('transitive grants are refused', { guests }, each(g.gnttab_copy, copy)),
    [g.GNTTABOP_query_size]: full({ guests }, querySize),
    [g.GNTTABOP_unmap_and_replace]: full({ guests: 'pv' }, each(g.gnttab_unmap_and_replace, unmapAndReplace)),
    [g.GNTTABOP_set_version]: full({ guests }, setVersion),
    [g.GNTTABOP_get_status_frames]: full({ guests: 'pv' }, getStatusFrames),
    [g.GNTTABOP_get_version]: full({ guests }, getVersion),
    [g.GNTTABOP_swap_grant_ref]: full({ guests }, each(g.gnttab_swap_grant_ref, swap)),
    [g.GNTTABOP_cache_flush]: absent('Arm only'),
  },
  {
    command: (args) => Number(args[0] & BigInt(g.GNTTABOP_CMD_MASK)),
    before: (context) => {
      const command = Number(BigInt.asUintN(32, context.args[0]));
      if (context.domain.isHvm && !HVM_COMMANDS.has(command))
        return command > g.GNTTABOP_CMD_MASK ? -ENOSYS : undefined;
      const refused =
        count(context) < 0 ||
        (command > g.GNTTABOP_CMD_MASK && (command & g.GNTTABOP_CMD_MASK) !== g.GNTTABOP_cache_flush);
      return refused ? -EINVAL : undefined;
    },
  },
);
