/* The part of Xen's guest interface that these guests use, restated from the public headers.
 * `long` has the width of the guest, as in Xen's own layouts. */
#ifndef GUEST_XEN_H
#define GUEST_XEN_H

#include <stdint.h>

/* xen:public/xen.h: hypercall numbers. */
#define __HYPERVISOR_set_trap_table 0
#define __HYPERVISOR_memory_op 12
#define __HYPERVISOR_update_va_mapping 14
#define __HYPERVISOR_xen_version 17
#define __HYPERVISOR_console_io 18
#define __HYPERVISOR_vcpu_op 24
#define __HYPERVISOR_sched_op 29
#define __HYPERVISOR_event_channel_op 32
#define __HYPERVISOR_hvm_op 34

#define DOMID_SELF 0x7ff0

/* xen:public/errno.h, returned negated. */
#define XEN_EPERM 1
#define XEN_ENOENT 2
#define XEN_EFAULT 14
#define XEN_EBUSY 16
#define XEN_EEXIST 17
#define XEN_EINVAL 22
#define XEN_ENOSYS 38

#define CONSOLEIO_write 0

/* xen:public/version.h */
#define XENVER_version 0
#define XENVER_extraversion 1
#define XENVER_capabilities 3
#define XENVER_get_features 6
struct xen_feature_info {
    uint32_t submap_idx; /* in */
    uint32_t submap;     /* out */
};

/* xen:public/sched.h */
#define SCHEDOP_yield 0
#define SCHEDOP_block 1
#define SCHEDOP_shutdown 2
#define SHUTDOWN_poweroff 0
#define SHUTDOWN_reboot 1
#define SHUTDOWN_crash 3
struct sched_shutdown {
    uint32_t reason;
};

/* xen:public/event_channel.h */
#define EVTCHNOP_send 4
struct evtchn_send {
    uint32_t port;
};

/* xen:public/memory.h */
#define XENMEM_add_to_physmap 7
#define XENMAPSPACE_shared_info 0
struct xen_add_to_physmap {
    uint16_t domid;
    uint16_t size;
    uint32_t space;
    unsigned long idx;
    unsigned long gpfn;
};

/* xen:public/hvm/hvm_op.h and params.h */
#define HVMOP_set_param 0
#define HVMOP_get_param 1
#define HVM_PARAM_CALLBACK_IRQ 0
#define HVM_PARAM_CONSOLE_PFN 17
#define HVM_PARAM_CONSOLE_EVTCHN 18
struct xen_hvm_param {
    uint16_t domid;
    uint16_t pad;
    uint32_t index;
    uint64_t value;
};

/* xen:public/io/console.h */
struct xencons_interface {
    char in[1024];
    char out[2048];
    uint32_t in_cons, in_prod;
    uint32_t out_cons, out_prod;
};

/* xen:public/xen.h: vcpu_info and shared_info as far as needed. */
struct vcpu_time_info {
    uint32_t version;
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad1[2];
};

struct vcpu_info {
    uint8_t evtchn_upcall_pending;
    uint8_t evtchn_upcall_mask;
    unsigned long evtchn_pending_sel;
    unsigned long arch_cr2;
#ifdef __x86_64__
    uint64_t pad;
#else
    uint32_t pad[5];
#endif
    struct vcpu_time_info time;
};

struct shared_info {
    struct vcpu_info vcpu_info[32];
    unsigned long evtchn_pending[sizeof(long) * 8];
    unsigned long evtchn_mask[sizeof(long) * 8];
    uint32_t wc_version, wc_sec, wc_nsec, wc_sec_hi;
};

/* xen:public/xen.h: what a PV guest is told. The console of the first domain has no ring. */
#define SIF_INITDOMAIN 2
struct start_info {
    char magic[32];
    unsigned long nr_pages;
    unsigned long shared_info;
    uint32_t flags;
    unsigned long store_mfn;
    uint32_t store_evtchn;
    unsigned long console_mfn;
    uint32_t console_evtchn;
    unsigned long pt_base;
    unsigned long nr_pt_frames;
    unsigned long mfn_list;
    unsigned long mod_start;
    unsigned long mod_len;
    char cmd_line[1024];
    unsigned long first_p2m_pfn;
    unsigned long nr_p2m_frames;
};

/* xen:public/arch-x86/xen.h; selectors from xen-x86_64.h and xen-x86_32.h. */
struct trap_info {
    uint8_t vector, flags;
    uint16_t cs;
    unsigned long address;
};
#ifdef __x86_64__
#define FLAT_KERNEL_CS 0xe033
#define FLAT_KERNEL_SS 0xe02b
#else
#define FLAT_KERNEL_CS 0xe019
#define FLAT_KERNEL_SS 0xe021
#endif

/* xen:public/arch-x86/hvm/start_info.h */
#define XEN_HVM_START_MAGIC_VALUE 0x336ec578
struct hvm_start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
    uint32_t memmap_entries, reserved;
};
struct hvm_memmap_table_entry {
    uint64_t addr, size;
    uint32_t type, reserved;
};

_Static_assert(sizeof(struct start_info) == (sizeof(long) == 8 ? 1168 : 1112), "start_info of both widths");
_Static_assert(sizeof(struct vcpu_time_info) == 32, "vcpu_time_info is 32 bytes");
_Static_assert(sizeof(struct vcpu_info) == 64, "vcpu_info is 64 bytes in both widths");
_Static_assert(__builtin_offsetof(struct xencons_interface, out_prod) == 3084, "console ring layout");

#endif
