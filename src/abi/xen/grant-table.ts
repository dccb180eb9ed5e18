/** `xen:public/grant_table.h`: operations, entries, statuses. */
import { handle, s16, struct, u16, u32, u64, ulong, union } from './struct.ts';

export const GNTTABOP_map_grant_ref = 0;
export const GNTTABOP_unmap_grant_ref = 1;
export const GNTTABOP_setup_table = 2;
export const GNTTABOP_dump_table = 3;
export const GNTTABOP_transfer = 4;
export const GNTTABOP_copy = 5;
export const GNTTABOP_query_size = 6;
export const GNTTABOP_unmap_and_replace = 7;
export const GNTTABOP_set_version = 8;
export const GNTTABOP_get_status_frames = 9;
export const GNTTABOP_get_version = 10;
export const GNTTABOP_swap_grant_ref = 11;
export const GNTTABOP_cache_flush = 12;
/** Command in the low bits, resume index above. */
export const GNTTABOP_CONTINUATION_ARG_SHIFT = 12;
export const GNTTABOP_CMD_MASK = (1 << GNTTABOP_CONTINUATION_ARG_SHIFT) - 1;

export const GTF_invalid = 0;
export const GTF_permit_access = 1;
export const GTF_accept_transfer = 2;
export const GTF_transitive = 3;
export const GTF_type_mask = 3;
export const GTF_readonly = 1 << 2;
export const GTF_reading = 1 << 3;
export const GTF_writing = 1 << 4;
export const GTF_transfer_committed = 1 << 2;
export const GTF_transfer_completed = 1 << 3;
export const GTF_sub_page = 1 << 8;

export const GNTMAP_device_map = 1;
export const GNTMAP_host_map = 2;
export const GNTMAP_readonly = 4;
export const GNTMAP_application_map = 8;
export const GNTMAP_contains_pte = 16;

export const GNTCOPY_source_gref = 1;
export const GNTCOPY_dest_gref = 2;

export const GNTST_okay = 0;
export const GNTST_general_error = -1;
export const GNTST_bad_domain = -2;
export const GNTST_bad_gntref = -3;
export const GNTST_bad_handle = -4;
export const GNTST_bad_virt_addr = -5;
export const GNTST_bad_dev_addr = -6;
export const GNTST_no_device_space = -7;
export const GNTST_permission_denied = -8;
export const GNTST_bad_page = -9;
export const GNTST_bad_copy_arg = -10;
export const GNTST_address_too_big = -11;
export const GNTST_eagain = -12;
export const GNTST_no_space = -13;

/** References the tool stack fills before the guest runs; they survive a change of version. */
export const GNTTAB_NR_RESERVED_ENTRIES = 8;
export const GNTTAB_RESERVED_CONSOLE = 0;
export const GNTTAB_RESERVED_XENSTORE = 1;

export const grant_entry_v1 = struct('grant_entry_v1', { flags: u16, domid: u16, frame: u32 });
/** Version 2: 16 bytes whose meaning the flags choose. A status word per reference lives in a separate array. */
export const grant_entry_v2 = struct('grant_entry_v2', { flags: u16, domid: u16, pad0: u32, frame: u64 });
export const grant_sub_page = struct('grant_sub_page', {
  flags: u16,
  domid: u16,
  page_off: u16,
  length: u16,
  frame: u64,
});
export const grant_transitive = struct('grant_transitive', {
  flags: u16,
  domid: u16,
  trans_domid: u16,
  pad0: u16,
  gref: u32,
});

export const gnttab_map_grant_ref = struct('gnttab_map_grant_ref', {
  host_addr: u64,
  flags: u32,
  ref: u32,
  dom: u16,
  status: s16,
  handle: u32,
  dev_bus_addr: u64,
});
export const gnttab_unmap_grant_ref = struct('gnttab_unmap_grant_ref', {
  host_addr: u64,
  dev_bus_addr: u64,
  handle: u32,
  status: s16,
});
export const gnttab_setup_table = struct('gnttab_setup_table', {
  dom: u16,
  nr_frames: u32,
  status: s16,
  frame_list: handle,
});
export const gnttab_query_size = struct('gnttab_query_size', {
  dom: u16,
  nr_frames: u32,
  max_nr_frames: u32,
  status: s16,
});
const copy_ptr = struct('gnttab_copy_ptr', {
  u: union('gnttab_copy_ptr_u', { ref: u32, gmfn: ulong }),
  domid: u16,
  offset: u16,
});
export const gnttab_copy = struct('gnttab_copy', {
  source: copy_ptr,
  dest: copy_ptr,
  len: u16,
  flags: u16,
  status: s16,
});
export const gnttab_transfer = struct('gnttab_transfer', { mfn: ulong, domid: u16, ref: u32, status: s16 });
export const gnttab_unmap_and_replace = struct('gnttab_unmap_and_replace', {
  host_addr: u64,
  new_addr: u64,
  handle: u32,
  status: s16,
});
export const gnttab_set_version = struct('gnttab_set_version', { version: u32 });
export const gnttab_get_status_frames = struct('gnttab_get_status_frames', {
  nr_frames: u32,
  dom: u16,
  status: s16,
  frame_list: handle,
});
export const gnttab_get_version = struct('gnttab_get_version', { dom: u16, pad: u16, version: u32 });
export const gnttab_swap_grant_ref = struct('gnttab_swap_grant_ref', { ref_a: u32, ref_b: u32, status: s16 });
