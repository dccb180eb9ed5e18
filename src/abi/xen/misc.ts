/** Heads of the privileged interfaces (`xen:public/sysctl.h`, `domctl.h`, `platform.h`), `physdev.h`, console and vm_assist numbers. */
import { bytes, handle, s32, struct, u16, u32, u64, ulong } from './struct.ts';

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
export const physdev_apic = struct('physdev_apic', { apic_physbase: ulong, reg: u32, value: u32 });
export const physdev_irq = struct('physdev_irq', { irq: u32, vector: u32 });
export const physdev_set_iopl = struct('physdev_set_iopl', { iopl: u32 });
export const physdev_set_iobitmap = struct('physdev_set_iobitmap', { bitmap: handle, nr_ports: u32 });

/** `xen:public/callback.h` */
export const CALLBACKOP_register = 0;
export const CALLBACKOP_unregister = 1;
export const CALLBACKTYPE_event = 0;
export const CALLBACKTYPE_failsafe = 1;
export const CALLBACKTYPE_syscall = 2;
export const CALLBACKTYPE_nmi = 4;
export const CALLBACKTYPE_sysenter = 5;
export const CALLBACKTYPE_syscall32 = 7;
export const CALLBACKF_mask_events = 1;
/** Where a callback leads: 32-bit guests name a selector. */
const callback_address_64 = struct('xen_callback', { eip: u64 });
const callback_address_32 = struct('xen_callback', { cs: u32, eip: u32 });
export const callback_register_64 = struct('callback_register', {
  type: u16,
  flags: u16,
  address: callback_address_64,
});
export const callback_register_32 = struct('callback_register', {
  type: u16,
  flags: u16,
  address: callback_address_32,
});
export const callback_unregister = struct('callback_unregister', { type: u16, unused: u16 });

/** `xen:public/nmi.h` */
export const XENNMI_register_callback = 0;
export const XENNMI_unregister_callback = 1;
export const xennmi_callback = struct('xennmi_callback', { handler_address: ulong, pad: ulong });

/** Segment bases of 64-bit guests (`xen:public/arch-x86/xen-x86_64.h#SEGBASE_FS`). */
export const SEGBASE_FS = 0;
export const SEGBASE_GS_USER = 1;
export const SEGBASE_GS_KERNEL = 2;
export const SEGBASE_GS_USER_SEL = 3;
