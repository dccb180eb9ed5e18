/** `xen:public/memory.h`: operations of memory_op, map spaces and their structures. */
import { handle, s32, struct, u8, u16, u32, u64, ulong } from './struct.ts';

export const XENMEM_increase_reservation = 0;
export const XENMEM_decrease_reservation = 1;
export const XENMEM_maximum_ram_page = 2;
export const XENMEM_current_reservation = 3;
export const XENMEM_maximum_reservation = 4;
export const XENMEM_machphys_mfn_list = 5;
export const XENMEM_populate_physmap = 6;
export const XENMEM_add_to_physmap = 7;
export const XENMEM_memory_map = 9;
export const XENMEM_machine_memory_map = 10;
export const XENMEM_exchange = 11;
export const XENMEM_machphys_mapping = 12;
export const XENMEM_set_memory_map = 13;
export const XENMEM_maximum_gpfn = 14;
export const XENMEM_remove_from_physmap = 15;
export const XENMEM_set_pod_target = 16;
export const XENMEM_get_pod_target = 17;
export const XENMEM_get_sharing_freed_pages = 18;
export const XENMEM_get_sharing_shared_pages = 19;
export const XENMEM_paging_op = 20;
export const XENMEM_access_op = 21;
export const XENMEM_sharing_op = 22;
export const XENMEM_add_to_physmap_batch = 23;
export const XENMEM_claim_pages = 24;
export const XENMEM_machphys_compat_mfn_list = 25;
export const XENMEM_get_vnumainfo = 26;
export const XENMEM_reserved_device_memory_map = 27;
export const XENMEM_acquire_resource = 28;
export const XENMEM_get_mem_type = 29;
/** The operation is in the low bits; a continuation keeps the number of extents done above. */
export const MEMOP_EXTENT_SHIFT = 6;
export const MEMOP_CMD_MASK = 63;

/** Fields of `mem_flags`. */
export const XENMEMF_populate_on_demand = 1 << 16;
export const XENMEMF_exact_node_request = 1 << 17;
export const XENMEMF_vnode = 1 << 18;
export const XENMEMF_get_address_bits = (flags: number): number => flags & 0xff;
/** Node number, 0xff for none (stored biased by one). */
export const XENMEMF_get_node = (flags: number): number => (((flags >>> 8) & 0xff) - 1) & 0xff;

export const XENMAPSPACE_shared_info = 0;
export const XENMAPSPACE_grant_table = 1;
export const XENMAPSPACE_gmfn = 2;
export const XENMAPSPACE_gmfn_range = 3;
export const XENMAPSPACE_gmfn_foreign = 4;
export const XENMAPSPACE_dev_mmio = 5;
/** Index bit of XENMAPSPACE_grant_table: status frames. */
export const XENMAPIDX_grant_table_status = 0x8000_0000n;

export const xen_memory_reservation = struct('xen_memory_reservation', {
  extent_start: handle,
  nr_extents: ulong,
  extent_order: u32,
  mem_flags: u32,
  domid: u16,
});
export const xen_memory_exchange = struct('xen_memory_exchange', {
  in: xen_memory_reservation,
  out: xen_memory_reservation,
  nr_exchanged: ulong,
});
export const xen_memory_domain = struct('xen_memory_domain', { domid: u16 });
export const xen_add_to_physmap = struct('xen_add_to_physmap', {
  domid: u16,
  size: u16,
  space: u32,
  idx: ulong,
  gpfn: ulong,
});
export const xen_add_to_physmap_batch = struct('xen_add_to_physmap_batch', {
  domid: u16,
  space: u16,
  size: u16,
  /** Foreign domain, or reserved (0) for dev_mmio. */
  extra: u16,
  idxs: handle,
  gpfns: handle,
  errs: handle,
});
export const xen_remove_from_physmap = struct('xen_remove_from_physmap', { domid: u16, gpfn: ulong });
export const xen_memory_map = struct('xen_memory_map', { nr_entries: u32, buffer: handle });
export const xen_foreign_memory_map = struct('xen_foreign_memory_map', { domid: u16, map: xen_memory_map });
export const xen_machphys_mfn_list = struct('xen_machphys_mfn_list', {
  max_extents: u32,
  extent_start: handle,
  nr_extents: u32,
});
export const xen_machphys_mapping = struct('xen_machphys_mapping', { v_start: ulong, v_end: ulong, max_mfn: ulong });
export const xen_pod_target = struct('xen_pod_target', {
  target_pages: u64,
  tot_pages: u64,
  pod_cache_pages: u64,
  pod_entries: u64,
  domid: u16,
});
export const xen_vnuma_topology_info = struct('xen_vnuma_topology_info', {
  domid: u16,
  pad: u16,
  nr_vnodes: u32,
  nr_vcpus: u32,
  nr_vmemranges: u32,
  vdistance: u64,
  vcpu_to_vnode: u64,
  vmemrange: u64,
});
export const xen_mem_acquire_resource = struct('xen_mem_acquire_resource', {
  domid: u16,
  type: u16,
  id: u32,
  nr_frames: u32,
  pad: u32,
  frame: u64,
  frame_list: handle,
});
export const xen_mem_access_op = struct('xen_mem_access_op', {
  op: u8,
  access: u8,
  domid: u16,
  nr: u32,
  pfn: u64,
  pfn_list: handle,
  access_list: handle,
});
export const XENMEM_RDM_ALL = 1;
export const xen_reserved_device_memory_map = struct('xen_reserved_device_memory_map', {
  flags: u32,
  nr_entries: u32,
  buffer: handle,
  seg: u16,
  bus: u8,
  devfn: u8,
});
/** One entry of that map: first frame, pages. */
export const xen_reserved_device_memory = struct('xen_reserved_device_memory', { start_pfn: ulong, nr_pages: ulong });
/** Packed: 20 bytes in both layouts. */
export const E820_ENTRY_SIZE = 20;
export const E820_RAM = 1;
export const E820_RESERVED = 2;
export const E820_ACPI = 3;
export const E820_NVS = 4;
/** Most entries a memory map may have. */
export const E820MAX = 1024;
export { s32 as xen_batch_error };
