/** What a PV guest is told at entry (`xen:public/xen.h#start_info`). */
import { bytes, struct, u32, ulong } from './struct.ts';

export const MAX_GUEST_CMDLINE = 1024;

/** `flags`: the guest may use privileged hypercalls, is the control domain, has a list of modules, or `mod_start` is a frame number. */
export const SIF_PRIVILEGED = 1 << 0,
  SIF_INITDOMAIN = 1 << 1,
  SIF_MULTIBOOT_MOD = 1 << 2,
  SIF_MOD_START_PFN = 1 << 3;

export const start_info = struct('start_info', {
  magic: bytes(32),
  nr_pages: ulong,
  /** Machine address in bytes. */
  shared_info: ulong,
  flags: u32,
  store_mfn: ulong,
  store_evtchn: u32,
  console_mfn: ulong,
  console_evtchn: u32,
  pt_base: ulong,
  nr_pt_frames: ulong,
  mfn_list: ulong,
  mod_start: ulong,
  mod_len: ulong,
  cmd_line: bytes(MAX_GUEST_CMDLINE),
  first_p2m_pfn: ulong,
  nr_p2m_frames: ulong,
});
