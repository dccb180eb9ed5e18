/** Heads of the privileged interfaces (`xen:public/sysctl.h`, `domctl.h`, `platform.h`), `physdev.h`, console and vm_assist numbers. */
import { bytes, handle, s32, struct, u16, u32, u64 } from './struct.ts';

export const CONSOLEIO_write = 0;
export const CONSOLEIO_read = 1;

export const VMASST_CMD_enable = 0;
export const VMASST_CMD_disable = 1;
export const VMASST_TYPE_4gb_segments = 0;
export const VMASST_TYPE_4gb_segments_notify = 1;
export const VMASST_TYPE_writable_pagetables = 2;
export const VMASST_TYPE_pae_extended_cr3 = 3;
export const VMASST_TYPE_architectural_iopl = 4;
export const VMASST_TYPE_runstate_update_flag = 5;
export const VMASST_TYPE_m2p_strict = 32;

export const XEN_SYSCTL_INTERFACE_VERSION = 0x16;
export const XEN_DOMCTL_INTERFACE_VERSION = 0x18;
export const XENPF_INTERFACE_VERSION = 0x0300_0001;
export const xen_sysctl = struct('xen_sysctl', { cmd: u32, interface_version: u32, u: bytes(128) });
export const xen_domctl = struct('xen_domctl', {
  cmd: u32,
  interface_version: u32,
  domain: u16,
  pad: bytes(6),
  u: bytes(128),
});
export const xen_platform_op = struct('xen_platform_op', { cmd: u32, interface_version: u32, u: bytes(128) });
export const XEN_DOMCTL_createdomain = 1;

export const PHYSDEVOP_irq_status_query = 5;
export const PHYSDEVOP_set_iopl = 6;
export const PHYSDEVOP_set_iobitmap = 7;
export const PHYSDEVOP_apic_read = 8;
export const PHYSDEVOP_apic_write = 9;
export const PHYSDEVOP_alloc_irq_vector = 10;
export const PHYSDEVOP_eoi = 12;
export const PHYSDEVOP_map_pirq = 13;
export const PHYSDEVOP_unmap_pirq = 14;
export const PHYSDEVOP_get_free_pirq = 23;
export const MAP_PIRQ_TYPE_GSI = 1;
export const MAP_PIRQ_TYPE_MULTI_MSI = 4;
export const physdev_eoi = struct('physdev_eoi', { irq: u32 });
export const physdev_irq_status_query = struct('physdev_irq_status_query', { irq: u32, flags: u32 });
export const physdev_map_pirq = struct('physdev_map_pirq', {
  domid: u16,
  type: s32,
  index: s32,
  pirq: s32,
  bus: s32,
  devfn: s32,
  entry_nr: s32,
  table_base: u64,
});
export const physdev_unmap_pirq = struct('physdev_unmap_pirq', { domid: u16, pirq: s32 });
export const physdev_get_free_pirq = struct('physdev_get_free_pirq', { type: s32, pirq: u32 });
export const physdev_set_iopl = struct('physdev_set_iopl', { iopl: u32 });
export const physdev_set_iobitmap = struct('physdev_set_iobitmap', { bitmap: handle, nr_ports: u32 });
