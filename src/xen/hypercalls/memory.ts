/** `xen:public/memory.h`: memory_op. Reservation operations live in memory-reservation.ts, map spaces in memory-physmap.ts. */
import { EACCES, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import * as m from '../../abi/xen/memory.ts';
import { u32, u64 } from '../../abi/xen/struct.ts';
import { __HYPERVISOR_memory_op, DOMID_SELF, shared_info } from '../../abi/xen/xen.ts';
import type { Domain } from '../domain.ts';
import type { Entry, HypercallContext, Result } from '../hypercall.ts';
import { absent, full, hypercall, partial } from '../hypercall.ts';
import { rangeOkay, targetSelf } from './common.ts';
import { machphysMapping, machphysMfnList } from './memory-machphys.ts';
import { addToPhysmap, addToPhysmapBatch, removeFromPhysmap } from './memory-physmap.ts';
import { exchange, reservation } from './memory-reservation.ts';

/** Machine frames of the modelled host, as XENMEM_maximum_ram_page reports them. */
const HOST_MAX_PAGE = 0x100_0000;

/** Extents done before this continuation; most operations refuse any (EINVAL). */
export const startExtent = (context: HypercallContext): bigint => context.args[0] >> BigInt(m.MEMOP_EXTENT_SHIFT);

/** EINVAL: a continuation index where none can be; EFAULT; ESRCH; EPERM. */
function domainQuery(answer: (context: HypercallContext) => number): Entry {
  return full({ guests: 'all' }, (context, _arg, address) => {
    if (startExtent(context) !== 0n) return -EINVAL;
    const query = context.copyFromGuest(m.xen_memory_domain, address);
    if (query === undefined) return -EFAULT;
    return targetSelf(context, query.domid) || answer(context);
  });
}

/** A PV guest tells itself how many frames it has, in shared_info; without that its highest is 0. */
function maximumGpfn({ isHvm, p2m, info, sharedInfo, layout }: Domain): number {
  if (isHvm) return p2m.maxMappedGfn;
  const view = info.holds.view(sharedInfo);
  const { max_pfn } = shared_info.get(view, 0, 'arch', layout);
  return Math.max(Number(max_pfn), 1) - 1;
}

/** ENOSYS when the toolstack installed no map; EFAULT. Gives as many of the packed entries as fit. */
function memoryMap(context: HypercallContext, map: { nr_entries: number; buffer: bigint }, address: bigint): Result {
  const entries = context.domain.memoryMap;
  if (entries.length === 0) return -ENOSYS;
  const count = Math.min(map.nr_entries, entries.length);
  const out = new Uint8Array(count * m.E820_ENTRY_SIZE);
  const view = new DataView(out.buffer);
  for (let i = 0; i < count; i++) {
    u64.write(view, i * m.E820_ENTRY_SIZE, entries[i].addr, 'native');
    u64.write(view, i * m.E820_ENTRY_SIZE + 8, entries[i].size, 'native');
    u32.write(view, i * m.E820_ENTRY_SIZE + 16, entries[i].type, 'native');
  }
  map.nr_entries = count;
  return context.writeBytes(map.buffer, out) && context.copyToGuest(m.xen_memory_map, address, map) ? 0 : -EFAULT;
}

/** EFAULT; EINVAL: more entries than a map may have; ESRCH, EPERM: another domain; EFAULT reading the entries. */
function setMemoryMap(
  context: HypercallContext,
  fmap: { domid: number; map: { nr_entries: number; buffer: bigint } },
): Result {
  const { nr_entries, buffer } = fmap.map;
  if (nr_entries > m.E820MAX) return -EINVAL;
  const target = targetSelf(context, fmap.domid);
  if (target !== 0) return target;
  const raw = context.readBytes(buffer, nr_entries * m.E820_ENTRY_SIZE);
  if (raw === undefined) return -EFAULT;
  const view = new DataView(raw.buffer);
  context.domain.memoryMap = Array.from({ length: nr_entries }, (_, i) => {
    const at = i * m.E820_ENTRY_SIZE;
    return {
      addr: view.getBigUint64(at, true),
      size: view.getBigUint64(at + 8, true),
      type: view.getUint32(at + 16, true),
    };
  });
  return 0;
}

/** EINVAL: continuation; EFAULT; EINVAL: padding; ESRCH, EPERM; EOPNOTSUPP: the domain has no virtual NUMA topology. */
const vnumaInfo: Entry = full({ guests: 'all' }, (context, _arg, address) => {
  if (startExtent(context) !== 0n) return -EINVAL;
  const topology = context.copyFromGuest(m.xen_vnuma_topology_info, address);
  if (topology === undefined) return -EFAULT;
  if (topology.pad !== 0) return -EINVAL;
  return targetSelf(context, topology.domid) || -EOPNOTSUPP;
});

/** EACCES: translated domains may not map resources; EFAULT; EINVAL: padding, then ranges beyond 32 bits; EPERM: self or the control domain; ESRCH. */
const acquireResource: Entry = full({ guests: 'all' }, (context, _arg, address) => {
  if (context.domain.isHvm) return -EACCES;
  const resource = context.copyFromGuest(m.xen_mem_acquire_resource, address);
  if (resource === undefined) return -EFAULT;
  if (resource.pad !== 0) return -EINVAL;
  if (resource.frame >> 32n !== 0n || (resource.frame + BigInt(resource.nr_frames)) >> 32n !== 0n) return -EINVAL;
  return targetSelf(context, resource.domid) === -ESRCH ? -ESRCH : -EPERM;
});

/** EFAULT; ESRCH: unknown, or DOMID_SELF; EPERM: self; EINVAL: the control domain, which has no translated memory. */
const accessOp: Entry = full({ guests: 'all', arg: m.xen_mem_access_op }, (context, { domid }) => {
  if (domid === context.domain.id) return -EPERM;
  return domid === 0 ? -EINVAL : -ESRCH;
});

/** EFAULT; ESRCH; EINVAL: the control domain, or PV; EPERM. */
const podTarget: Entry = full({ guests: 'all', arg: m.xen_pod_target }, (context, { domid }) => {
  const target = targetSelf(context, domid);
  if (target === -ESRCH) return target;
  return target === 0 && context.domain.isHvm ? -EPERM : -EINVAL;
});

/** EINVAL: continuation; EFAULT: structure, list; EINVAL: flags. No device is passed through: there are no entries. */
const reservedDeviceMemory: Entry = full({ guests: 'all' }, (context, _arg, address) => {
  if (startExtent(context) !== 0n) return -EINVAL;
  const map = context.copyFromGuest(m.xen_reserved_device_memory_map, address);
  if (map === undefined) return -EFAULT;
  const size = BigInt(m.xen_reserved_device_memory.size(context.width));
  if (!rangeOkay(context, map.buffer, BigInt(map.nr_entries) * size)) return -EFAULT;
  if ((map.flags & ~m.XENMEM_RDM_ALL) !== 0) return -EINVAL;
  map.nr_entries = 0;
  return context.copyToGuest(m.xen_reserved_device_memory_map, address, map) ? 0 : -EFAULT;
});

/** EINVAL: continuation; EFAULT; EINVAL: an extent list, order or flags; EINVAL: DOMID_SELF or unknown domain; EPERM. */
const claimPages: Entry = full({ guests: 'all' }, (context, _arg, address) => {
  if (startExtent(context) !== 0n) return -EINVAL;
  const claim = context.copyFromGuest(m.xen_memory_reservation, address);
  if (claim === undefined) return -EFAULT;
  if (claim.extent_start !== 0n || claim.extent_order !== 0 || claim.mem_flags !== 0) return -EINVAL;
  return claim.domid === DOMID_SELF || targetSelf(context, claim.domid) === -ESRCH ? -EINVAL : -EPERM;
});

export const memoryOp = hypercall(
  __HYPERVISOR_memory_op,
  'xen:public/memory.h',
  {
    [m.XENMEM_increase_reservation]: reservation('increase'),
    [m.XENMEM_decrease_reservation]: reservation('decrease'),
    [m.XENMEM_populate_physmap]: reservation('populate'),
    [m.XENMEM_exchange]: exchange,
    [m.XENMEM_maximum_ram_page]: full({ guests: 'all' }, (context) =>
      startExtent(context) !== 0n ? -EINVAL : HOST_MAX_PAGE,
    ),
    [m.XENMEM_current_reservation]: domainQuery(({ domain }) => domain.p2m.totalPages),
    [m.XENMEM_maximum_reservation]: domainQuery(({ domain }) => domain.p2m.maxPages),
    [m.XENMEM_maximum_gpfn]: domainQuery(({ domain }) => maximumGpfn(domain)),
    [m.XENMEM_add_to_physmap]: addToPhysmap,
    [m.XENMEM_add_to_physmap_batch]: addToPhysmapBatch,
    [m.XENMEM_remove_from_physmap]: removeFromPhysmap,
    [m.XENMEM_memory_map]: full({ guests: 'all', arg: m.xen_memory_map }, memoryMap),
    [m.XENMEM_set_memory_map]: full({ guests: 'all', arg: m.xen_foreign_memory_map }, setMemoryMap),
    /** ENOSYS: HVM before 4.19; EPERM. */
    [m.XENMEM_machine_memory_map]: full({ guests: 'all' }, ({ domain }) =>
      domain.isHvm && !domain.rules.has('hvm-machine-memory-map') ? -ENOSYS : -EPERM,
    ),
    [m.XENMEM_machphys_mapping]: machphysMapping,
    [m.XENMEM_machphys_mfn_list]: machphysMfnList,
    [m.XENMEM_machphys_compat_mfn_list]: partial(
      '64-bit guests are told of their own table: a domain has the table of one width',
      { guests: 'pv' },
      machphysMfnList.handler as never,
    ),
    [m.XENMEM_set_pod_target]: podTarget,
    [m.XENMEM_get_pod_target]: podTarget,
    [m.XENMEM_get_sharing_freed_pages]: full({ guests: 'all' }, () => 0),
    [m.XENMEM_get_sharing_shared_pages]: full({ guests: 'all' }, () => 0),
    [m.XENMEM_paging_op]: absent('memory paging is not built by default'),
    [m.XENMEM_access_op]: accessOp,
    [m.XENMEM_sharing_op]: absent('memory sharing is not built by default'),
    [m.XENMEM_claim_pages]: claimPages,
    [m.XENMEM_get_vnumainfo]: vnumaInfo,
    [m.XENMEM_reserved_device_memory_map]: reservedDeviceMemory,
    [m.XENMEM_acquire_resource]: acquireResource,
  },
  { command: (args) => Number(args[0] & BigInt(m.MEMOP_CMD_MASK)) },
);
