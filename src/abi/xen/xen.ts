/** `xen:public/xen.h`: hypercall numbers, domain ids, virqs and the structures every guest shares. */
import type { Layout, Type } from './struct.ts';
import { array, bytes, s8, struct, u8, u32, u64, ulong } from './struct.ts';

export const __HYPERVISOR_set_trap_table = 0;
export const __HYPERVISOR_mmu_update = 1;
export const __HYPERVISOR_set_gdt = 2;
export const __HYPERVISOR_stack_switch = 3;
export const __HYPERVISOR_set_callbacks = 4;
export const __HYPERVISOR_fpu_taskswitch = 5;
export const __HYPERVISOR_sched_op_compat = 6;
export const __HYPERVISOR_platform_op = 7;
export const __HYPERVISOR_set_debugreg = 8;
export const __HYPERVISOR_get_debugreg = 9;
export const __HYPERVISOR_update_descriptor = 10;
export const __HYPERVISOR_memory_op = 12;
export const __HYPERVISOR_multicall = 13;
export const __HYPERVISOR_update_va_mapping = 14;
export const __HYPERVISOR_set_timer_op = 15;
export const __HYPERVISOR_event_channel_op_compat = 16;
export const __HYPERVISOR_xen_version = 17;
export const __HYPERVISOR_console_io = 18;
export const __HYPERVISOR_physdev_op_compat = 19;
export const __HYPERVISOR_grant_table_op = 20;
export const __HYPERVISOR_vm_assist = 21;
export const __HYPERVISOR_update_va_mapping_otherdomain = 22;
export const __HYPERVISOR_iret = 23;
export const __HYPERVISOR_vcpu_op = 24;
export const __HYPERVISOR_set_segment_base = 25;
export const __HYPERVISOR_mmuext_op = 26;
export const __HYPERVISOR_xsm_op = 27;
export const __HYPERVISOR_nmi_op = 28;
export const __HYPERVISOR_sched_op = 29;
export const __HYPERVISOR_callback_op = 30;
export const __HYPERVISOR_xenoprof_op = 31;
export const __HYPERVISOR_event_channel_op = 32;
export const __HYPERVISOR_physdev_op = 33;
export const __HYPERVISOR_hvm_op = 34;
export const __HYPERVISOR_sysctl = 35;
export const __HYPERVISOR_domctl = 36;
export const __HYPERVISOR_kexec_op = 37;
export const __HYPERVISOR_tmem_op = 38;
export const __HYPERVISOR_argo_op = 39;
export const __HYPERVISOR_xenpmu_op = 40;
export const __HYPERVISOR_dm_op = 41;
export const __HYPERVISOR_hypfs_op = 42;
export const __HYPERVISOR_mca = 48;

export const DOMID_FIRST_RESERVED = 0x7ff0;
export const DOMID_SELF = 0x7ff0;
export const DOMID_IO = 0x7ff1;
export const DOMID_XEN = 0x7ff2;
export const DOMID_COW = 0x7ff3;
export const DOMID_INVALID = 0x7ff4;

export const VIRQ_TIMER = 0;
export const VIRQ_DEBUG = 1;
export const VIRQ_CONSOLE = 2;
export const VIRQ_DOM_EXC = 3;
export const VIRQ_TBUF = 4;
export const VIRQ_DEBUGGER = 6;
export const VIRQ_XENOPROF = 7;
export const VIRQ_CON_RING = 8;
export const VIRQ_PCPU_STATE = 9;
export const VIRQ_MEM_EVENT = 10;
export const VIRQ_ARGO = 11;
export const VIRQ_ENOMEM = 12;
export const VIRQ_XENPMU = 13;
export const VIRQ_ARCH_0 = 16;
export const NR_VIRQS = 24;

/** vCPUs below this id have a slot in shared_info. */
export const XEN_LEGACY_MAX_VCPUS = 32;

export const vcpu_time_info = struct('vcpu_time_info', {
  version: u32,
  pad0: u32,
  tsc_timestamp: u64,
  system_time: u64,
  tsc_to_system_mul: u32,
  tsc_shift: s8,
  flags: u8,
  pad1: bytes(2),
});
export const XEN_PVCLOCK_TSC_STABLE_BIT = 1;
export const XEN_PVCLOCK_GUEST_STOPPED = 2;

const arch_vcpu_info = struct('arch_vcpu_info', { cr2: ulong, pad: ulong });
/** 64 bytes in both layouts: the compat form pads between arch and time. */
export const vcpu_info = struct('vcpu_info', {
  evtchn_upcall_pending: u8,
  evtchn_upcall_mask: u8,
  evtchn_pending_sel: ulong,
  arch: padTo(arch_vcpu_info, 16, 24),
  time: vcpu_time_info,
});

export const arch_shared_info = struct('arch_shared_info', {
  max_pfn: ulong,
  pfn_to_mfn_frame_list_list: ulong,
  nmi_reason: ulong,
  p2m_cr3: ulong,
  p2m_vaddr: ulong,
  p2m_generation: ulong,
  /** Compat layout only; native keeps it beside the wallclock, where this field is the tail of the structure. */
  wc_sec_hi: onlyCompat(u32),
});

export const shared_info = struct('shared_info', {
  vcpu_info: array(vcpu_info, XEN_LEGACY_MAX_VCPUS),
  evtchn_pending: ulongs(),
  evtchn_mask: ulongs(),
  wc_version: u32,
  wc_sec: u32,
  wc_nsec: u32,
  wc_sec_hi: onlyNative(u32),
  arch: arch_shared_info,
});

export const multicall_entry = struct('multicall_entry', { op: ulong, result: ulong, args: array(ulong, 6) });

/** A type with a size of its own in each layout, padded behind. */
function padTo<T>(type: Type<T>, native: number, compat: number): Type<T> {
  return { ...type, size: (layout: Layout) => (layout === 'native' ? native : compat) };
}

/** As many words as a word has bits: 64 of 8 bytes or 32 of 4. */
function ulongs(): Type<bigint[]> {
  const of = (layout: Layout): Type<bigint[]> => array(ulong, layout === 'native' ? 64 : 32);
  return {
    name: 'ulong[bits]',
    size: (layout) => of(layout).size(layout),
    align: (layout) => ulong.align(layout),
    read: (view, at, layout) => of(layout).read(view, at, layout),
    write: (view, at, value, layout) => of(layout).write(view, at, value, layout),
    print: (value) => `[${value.length} words]`,
  };
}

function onlyCompat(type: Type<number>): Type<number> {
  return only(type, 'compat');
}
function onlyNative(type: Type<number>): Type<number> {
  return only(type, 'native');
}
/** A field that exists in one layout; in the other it has no size, reads as 0 and ignores writes. */
function only(type: Type<number>, present: Layout): Type<number> {
  return {
    name: type.name,
    size: (layout) => (layout === present ? type.size(layout) : 0),
    align: (layout) => (layout === present ? type.align(layout) : 1),
    read: (view, at, layout) => (layout === present ? type.read(view, at, layout) : 0),
    write: (view, at, value, layout) => {
      if (layout === present) type.write(view, at, value, layout);
    },
    print: (value) => type.print(value),
  };
}
