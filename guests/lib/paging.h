/* A PV guest's memory management: its page tables, and the hypercalls that change them (xen:public/xen.h, memory.h, grant_table.h). Numbers of
 * machine frames differ from one place to the next, so nothing here shows them. */
#ifndef GUEST_PAGING_H
#define GUEST_PAGING_H

#include "runtime.h"

#define __HYPERVISOR_mmu_update 1
#define __HYPERVISOR_set_gdt 2
#define __HYPERVISOR_update_descriptor 10
#define __HYPERVISOR_grant_table_op 20
#define __HYPERVISOR_vm_assist 21
#define __HYPERVISOR_mmuext_op 26
#define NOBODY 0x7fe0

struct mmuext_op {
    uint32_t cmd;
    unsigned long arg1, arg2;
};
enum { PIN_L1, PIN_L2, PIN_L3, PIN_L4, UNPIN, NEW_BASEPTR, FLUSH_LOCAL, INVLPG_LOCAL, SET_LDT = 13, NEW_USER_BASEPTR = 15, CLEAR, COPY };

static inline long ext(uint32_t cmd, unsigned long arg1, unsigned long arg2) {
    struct mmuext_op op = {cmd, arg1, arg2};
    return hypercall(__HYPERVISOR_mmuext_op, (unsigned long)&op, 1, 0, DOMID_SELF, 0);
}

#ifdef GUEST_PV

typedef uint64_t entry_t;
#define P 1
#define RW 2
#define US 4
#define A 0x20
#define D 0x40
#define PSE 0x80
#define G 0x100
#define GUEST_KERNEL (1ull << 52)
#define LEVELS (GUEST_BITS == 64 ? 4 : 3)
/* The first table of the addresses from 0 on has room behind the image. */
#define FREE ((unsigned char *)0x1f0000)

struct mmu_update {
    uint64_t ptr, val;
};

static inline unsigned long to_mfn(const void *page) {
    return machine_frame(page);
}

/* Where the hypervisor keeps the physical number of each machine frame. */
static inline unsigned long to_pfn(unsigned long mfn) {
    return ((volatile unsigned long *)(GUEST_BITS == 64 ? 0xffff800000000000ull : 0xf5800000ull))[mfn];
}

static inline entry_t entry(uint64_t mfn, uint64_t bits) {
    return mfn << 12 | bits;
}

static inline entry_t *table_at(entry_t e) {
    return (entry_t *)(to_pfn(e >> 12 & 0xffffffffff) << 12);
}

/* Table of a level (1 is the last) that leads to an address. */
static inline entry_t *table(int level, const void *address) {
    entry_t *t = (entry_t *)start_info->pt_base;
    for (int l = LEVELS; l > level; l--)
        t = table_at(t[(unsigned long)address >> (12 + 9 * (l - 1)) & 511]);
    return t;
}

static inline unsigned slot(const void *address) {
    return (unsigned long)address >> 12 & 511;
}

static inline long set_va(const void *address, entry_t value) {
#ifdef __x86_64__
    return hypercall(__HYPERVISOR_update_va_mapping, (unsigned long)address, value, 2, 0, 0);
#else
    return hypercall(__HYPERVISOR_update_va_mapping, (unsigned long)address, value, value >> 32, 2, 0);
#endif
}

static inline long update(const void *where, unsigned index, entry_t value, unsigned kind) {
    struct mmu_update u = {(uint64_t)to_mfn(where) << 12 | index * 8 | kind, value};
    return hypercall(__HYPERVISOR_mmu_update, (unsigned long)&u, 1, 0, DOMID_SELF, 0);
}

static inline long gdt(const void *page, unsigned entries) {
    unsigned long frame = to_mfn(page);
    return hypercall2(__HYPERVISOR_set_gdt, &frame, entries);
}

static inline long descriptor(const void *page, unsigned offset, uint64_t value) {
    uint64_t ma = (uint64_t)to_mfn(page) << 12 | offset;
#ifdef __x86_64__
    return hypercall2(__HYPERVISOR_update_descriptor, ma, value);
#else
    return hypercall(__HYPERVISOR_update_descriptor, ma, ma >> 32, value, value >> 32, 0);
#endif
}

struct reservation {
    unsigned long *extents;
    unsigned long count;
    unsigned order, flags;
    uint16_t domid;
};
struct exchange {
    struct reservation in, out;
    unsigned long exchanged;
};

static inline long reserve(unsigned operation, unsigned long *extents, unsigned long count, unsigned order) {
    struct reservation r = {extents, count, order, 0, DOMID_SELF};
    return hypercall2(__HYPERVISOR_memory_op, operation, &r);
}

static inline long swap_frames(unsigned long *in, unsigned long *out, unsigned long count, unsigned long *exchanged) {
    struct exchange e = {{in, count, 0, 0, DOMID_SELF}, {out, count, 0, 0, DOMID_SELF}, 0};
    long rc = hypercall2(__HYPERVISOR_memory_op, 11, &e);
    *exchanged = e.exchanged;
    return rc;
}

struct grant_entry {
    uint16_t flags, domid;
    uint32_t frame;
};
struct setup_table {
    uint16_t dom;
    uint32_t nr_frames;
    int16_t status;
    unsigned long *list;
};
struct map_grant {
    uint64_t host;
    uint32_t flags, ref;
    uint16_t dom;
    int16_t status;
    uint32_t handle;
    uint64_t device;
};
struct unmap_grant {
    uint64_t host, device;
    uint32_t handle;
    int16_t status;
};
struct replace_grant {
    uint64_t host, replacement;
    uint32_t handle;
    int16_t status;
};
enum { DEVICE = 1, HOST = 2, READONLY = 4, CONTAINS_PTE = 16 };

static inline struct map_grant map(uint64_t host, uint32_t flags, uint32_t ref, uint16_t dom) {
    struct map_grant op = {.host = host, .flags = flags, .ref = ref, .dom = dom, .status = 99};
    hypercall(__HYPERVISOR_grant_table_op, 0, (unsigned long)&op, 1, 0, 0);
    return op;
}

static inline long unmap(uint64_t host, uint64_t device, uint32_t handle) {
    struct unmap_grant op = {host, device, handle, 99};
    hypercall(__HYPERVISOR_grant_table_op, 1, (unsigned long)&op, 1, 0, 0);
    return op.status;
}

#endif
#endif
