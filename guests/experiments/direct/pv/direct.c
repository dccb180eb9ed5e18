/* Direct paging by its errors: every operation on page tables, descriptors and frames with good and bad arguments, one line each.
 * Nothing here needs or has privileges; frames are named, not numbered, so that the output is the same on every machine. */
#include "../../lib/vcpu.h"

#define __HYPERVISOR_mmu_update 1
#define __HYPERVISOR_set_gdt 2
#define __HYPERVISOR_update_descriptor 10
#define __HYPERVISOR_vm_assist 21
#define __HYPERVISOR_mmuext_op 26
#define MMUEXT_PIN_L1_TABLE 0
#define MMUEXT_UNPIN_TABLE 4
#define MMUEXT_NEW_BASEPTR 5
#define MMUEXT_TLB_FLUSH_LOCAL 6
#define MMUEXT_INVLPG_LOCAL 7
#define MMUEXT_TLB_FLUSH_ALL 10
#define MMUEXT_INVLPG_ALL 11
#define MMUEXT_SET_LDT 13
#define MMUEXT_NEW_USER_BASEPTR 15
#define MMUEXT_CLEAR_PAGE 16
#define MMUEXT_COPY_PAGE 17
#define MMUEXT_MARK_SUPER 19
#define MMUEXT_UNMARK_SUPER 20
#define MMU_MACHPHYS_UPDATE 1
#define MMU_PT_UPDATE_PRESERVE_AD 2
#define P 1
#define RW 2
#define US 4
#define A 0x20
#define PSE 0x80
#ifdef __x86_64__
#define M2P ((unsigned long *)0xffff800000000000)
#define XEN_ADDRESS 0xffff800000000000
#define TOP 4
#else
#define M2P ((unsigned long *)0xf5800000)
#define XEN_ADDRESS 0xf5800000
#define TOP 3
#endif

const char guest_name[] = "direct";

typedef uint64_t page[512] __attribute__((aligned(4096)));
static page data, other, table, upper, descriptors, window;

void ap_main(unsigned vcpu) {
    (void)vcpu;
}

static uint64_t frame(const void *address) {
    return (uint64_t)machine_frame(address) << 12;
}

static long update_va(const void *va, uint64_t entry, unsigned long flags) {
#ifdef __x86_64__
    return hypercall(__HYPERVISOR_update_va_mapping, (unsigned long)va, entry, flags, 0, 0);
#else
    return hypercall(__HYPERVISOR_update_va_mapping, (unsigned long)va, entry, entry >> 32, flags, 0);
#endif
}

struct mmu_update {
    uint64_t ptr, val;
};
static unsigned done;
static long mmu(uint64_t ptr, uint64_t value) {
    struct mmu_update update = {ptr, value};
    done = 99;
    return hypercall(__HYPERVISOR_mmu_update, (unsigned long)&update, 1, (unsigned long)&done, DOMID_SELF, 0);
}

struct mmuext_op {
    uint32_t cmd;
    unsigned long arg1, arg2;
};
static long ext(unsigned cmd, unsigned long arg1, unsigned long arg2) {
    struct mmuext_op op = {cmd, arg1, arg2};
    done = 99;
    return hypercall(__HYPERVISOR_mmuext_op, (unsigned long)&op, 1, (unsigned long)&done, DOMID_SELF, 0);
}

static void told(const char *what, const char *which, long rc) {
    print("%s %s: %ld\n", what, which, rc);
}
static void counted(const char *what, const char *which, long rc) {
    print("%s %s: %ld done %u\n", what, which, rc, done);
}

/* The table of level `level` that maps an address, as the guest sees it. */
static uint64_t *table_of(unsigned level, const void *address) {
    unsigned long at = (unsigned long)address;
    uint64_t *entries = (uint64_t *)start_info->pt_base;
    for (unsigned l = TOP; l > level; l--) {
        uint64_t entry = entries[at >> (3 + 9 * l) & 511];
        entries = (uint64_t *)(M2P[(entry & 0xffffffffff000) >> 12] << 12);
    }
    return entries;
}
/* Machine address of the entry of level `level` for an address. */
static uint64_t entry_of(unsigned level, const void *address) {
    return frame(table_of(level, address)) + 8 * ((unsigned long)address >> (3 + 9 * level) & 511);
}

/* Our own page, which the guest may write or only read. */
static void allow(const void *va, int write) {
    if (update_va(va, frame(va) | P | A | US | (write ? RW : 0), 2))
        print("cannot remap a page\n");
}

static void mappings(void) {
    told("map", "own page writable", update_va(window, frame(data) | P | RW, 2));
    told("map", "own page read-only", update_va(window, frame(data) | P, 2));
    told("map", "page table writable", update_va(window, frame((void *)start_info->pt_base) | P | RW, 2));
    told("map", "page table read-only", update_va(window, frame((void *)start_info->pt_base) | P, 2));
    told("map", "with reserved bits", update_va(window, frame(data) | P | 1ull << 52 | 0xe00, 2));
    told("map", "no frame, not present", update_va(window, 0xffffffffff000, 2));
    told("map", "bits without present", update_va(window, PSE | 0xff8, 2));
    told("map", "nothing", update_va(window, 0, 2));
    told("map", "unknown flush", update_va(window, 0, 3));
    told("map", "flush local", update_va(window, 0, 1));
    told("map", "flush all", update_va(window, 0, 4 | 1));
    told("map", "invlpg all", update_va(window, 0, 4 | 2));
    told("map", "where Xen is", update_va((void *)XEN_ADDRESS, frame(data) | P, 2));
    told("map", "where no table is", update_va((void *)0x7f000000, frame(data) | P, 2));
    told("map", "own page again", update_va(window, frame(window) | P | RW | US | A, 2));
}

static void updates(void) {
    counted("mmu_update", "M2P of own frame", mmu(frame(data) | MMU_MACHPHYS_UPDATE, (unsigned long)data >> 12));
    counted("mmu_update", "M2P of no frame", mmu(0xffffffffff000 | MMU_MACHPHYS_UPDATE, 1));
    counted("mmu_update", "unknown command", mmu(frame(data) | 4, 0));
    counted("mmu_update", "entry of own page", mmu(entry_of(1, window), frame(window) | P | RW | US | A));
    counted("mmu_update", "the same, keeping A and D",
            mmu(entry_of(1, window) | MMU_PT_UPDATE_PRESERVE_AD, frame(window) | P | RW | US));
    counted("mmu_update", "page table writable", mmu(entry_of(1, window), frame((void *)start_info->pt_base) | P | RW));
    counted("mmu_update", "a page of data", mmu(frame(data), 0x1234));
    counted("mmu_update", "nothing's frame", mmu(0xffffffffff000, 0));
    told("mmu_update", "data written", data[0]);
    counted("mmu_update", "misaligned", mmu(frame(data) + 5 * 8 + 4, 1));
    counted("mmu_update", "L2 with a large page", mmu(entry_of(2, (void *)0x3f000000), frame(data) | P | PSE));
    counted("mmu_update", "L2 with a page of data", mmu(entry_of(2, (void *)0x3f000000), frame(window) | P | RW | US));
    counted("mmu_update", "L2 with itself", mmu(entry_of(2, (void *)0x3f000000), frame(table_of(2, window)) | P));
#ifdef __x86_64__
    counted("mmu_update", "L4 of Xen", mmu(entry_of(4, (void *)XEN_ADDRESS), frame(data) | P));
    counted("mmu_update", "L4 of Xen, none", mmu(entry_of(4, (void *)XEN_ADDRESS), 0));
    counted("mmu_update", "L4 with itself, read-only",
            mmu(entry_of(4, (void *)0x7f0000000000), frame((void *)start_info->pt_base) | P));
    counted("mmu_update", "L4 with itself, none", mmu(entry_of(4, (void *)0x7f0000000000), 0));
    counted("mmu_update", "L4 with itself, writable",
            mmu(entry_of(4, (void *)0x7f0000000000), frame((void *)start_info->pt_base) | P | RW));
    counted("mmu_update", "L3 with a page of data", mmu(entry_of(3, (void *)0x7f00000000), frame(window) | P | RW | US));
    counted("mmu_update", "L3 with a large page", mmu(entry_of(3, (void *)0x7f00000000), P | PSE));
#endif
    struct mmu_update two[2] = {{frame(data) | MMU_MACHPHYS_UPDATE, (unsigned long)data >> 12}, {0xffffffffff000, 0}};
    done = 99;
    long rc = hypercall(__HYPERVISOR_mmu_update, (unsigned long)two, 2, (unsigned long)&done, DOMID_SELF, 0);
    counted("mmu_update", "a good one and a bad one", rc);
    rc = hypercall(__HYPERVISOR_mmu_update, XEN_ADDRESS, 1, (unsigned long)&done, DOMID_SELF, 0);
    told("mmu_update", "list where Xen is", rc);
    told("mmu_update", "empty list", hypercall(__HYPERVISOR_mmu_update, 0, 0, 0, DOMID_SELF, 0));
    told("mmu_update", "no such domain", hypercall(__HYPERVISOR_mmu_update, (unsigned long)two, 1, 0, 0x7fef, 0));
}

static void pins(void) {
    unsigned long t = frame(table) >> 12, u = frame(upper) >> 12;
    memset(table, 0, sizeof(table));
    memset(upper, 0, sizeof(upper));
    counted("pin", "L1, mapped writable", ext(MMUEXT_PIN_L1_TABLE, t, 0));
    allow(table, 0);
    allow(upper, 0);
    counted("pin", "L1", ext(MMUEXT_PIN_L1_TABLE, t, 0));
    counted("pin", "L1 again", ext(MMUEXT_PIN_L1_TABLE, t, 0));
    counted("pin", "L1 as L2", ext(MMUEXT_PIN_L1_TABLE + 1, t, 0));
    told("map", "L1 writable", update_va(table, frame(table) | P | RW, 2));
    counted("mmu_update", "entry of the pinned L1", mmu(frame(table) + 8 * 7, frame(other) | P | RW | US));
    counted("mmu_update", "itself, read-only", mmu(frame(table) + 8 * 8, frame(table) | P | US));
    counted("mmu_update", "itself, writable", mmu(frame(table) + 8 * 9, frame(table) | P | RW | US));
    print("entry 7 %s, entry 8 %s, entry 9 %s\n", table[7] & P ? "set" : "clear", table[8] & P ? "set" : "clear",
          table[9] & P ? "set" : "clear");
    counted("pin", "L2", ext(MMUEXT_PIN_L1_TABLE + 1, u, 0));
    counted("mmu_update", "L1 into the L2", mmu(frame(upper) + 8 * 3, frame(table) | P | RW | US));
    counted("unpin", "L1 in use", ext(MMUEXT_UNPIN_TABLE, t, 0));
    counted("unpin", "L1 again", ext(MMUEXT_UNPIN_TABLE, t, 0));
    told("map", "L1 writable while in the L2", update_va(table, frame(table) | P | RW, 2));
    counted("mmu_update", "L1 out of the L2", mmu(frame(upper) + 8 * 3, 0));
    told("map", "L1 writable", update_va(table, frame(table) | P | RW, 2));
    counted("unpin", "L2", ext(MMUEXT_UNPIN_TABLE, u, 0));
    counted("unpin", "no frame", ext(MMUEXT_UNPIN_TABLE, 0xfffffff, 0));
    counted("pin", "no frame", ext(MMUEXT_PIN_L1_TABLE, 0xfffffff, 0));
    allow(upper, 1);
    table[0] = frame((void *)start_info->pt_base) | P | RW;
    allow(table, 0);
    counted("pin", "L1 with a writable page table", ext(MMUEXT_PIN_L1_TABLE, t, 0));
    allow(table, 1);
    table[0] = 0xffffffffff000 | P | US;
    allow(table, 0);
    counted("pin", "L1 with no frame", ext(MMUEXT_PIN_L1_TABLE, t, 0));
    allow(table, 1);
    memset(table, 0, sizeof(table));
    allow(table, 0);
    counted("pin", "empty L3", ext(MMUEXT_PIN_L1_TABLE + 2, t, 0));
    counted("unpin", "L3", ext(MMUEXT_UNPIN_TABLE, t, 0));
    counted("pin", "empty L4", ext(MMUEXT_PIN_L1_TABLE + 3, t, 0));
    counted("unpin", "L4", ext(MMUEXT_UNPIN_TABLE, t, 0));
    allow(table, 1);
}

/* Writes to a read-only mapping of an L1 table: Xen makes them when they are valid. */
static void emulated_writes(void) {
    memset(table, 0, sizeof(table));
    allow(table, 0);
    told("write", "asked for", hypercall2(__HYPERVISOR_vm_assist, 0, 2 /* writable page tables */));
    told("write", "pin", ext(MMUEXT_PIN_L1_TABLE, frame(table) >> 12, 0));
#ifdef __x86_64__
    volatile uint64_t *entry = &table[5];
    *entry = frame(other) | P | RW | US;
    print("write valid entry: %s\n", *entry & P ? "there" : "not there");
    uint64_t old = *entry;
    asm volatile("lock cmpxchgq %2, %0" : "+m"(*entry), "+a"(old) : "r"((uint64_t)0));
    print("write compare and exchange: %s\n", *entry ? "old" : "new");
#endif
    told("write", "unpin", ext(MMUEXT_UNPIN_TABLE, frame(table) >> 12, 0));
    allow(table, 1);
}

static void operations(void) {
    counted("mmuext", "new base: a page of data", ext(MMUEXT_NEW_BASEPTR, frame(data) >> 12, 0));
    counted("mmuext", "new base: the present one", ext(MMUEXT_NEW_BASEPTR, frame((void *)start_info->pt_base) >> 12, 0));
    counted("mmuext", "new user base: a page of data", ext(MMUEXT_NEW_USER_BASEPTR, frame(data) >> 12, 0));
    counted("mmuext", "new user base: none", ext(MMUEXT_NEW_USER_BASEPTR, 0, 0));
    counted("mmuext", "flush local", ext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0));
    counted("mmuext", "flush all", ext(MMUEXT_TLB_FLUSH_ALL, 0, 0));
    counted("mmuext", "invlpg local", ext(MMUEXT_INVLPG_LOCAL, (unsigned long)data, 0));
    counted("mmuext", "invlpg where Xen is", ext(MMUEXT_INVLPG_LOCAL, XEN_ADDRESS, 0));
    counted("mmuext", "invlpg all", ext(MMUEXT_INVLPG_ALL, (unsigned long)data, 0));
    memset(data, 0x5a, sizeof(data));
    counted("mmuext", "copy", ext(MMUEXT_COPY_PAGE, frame(other) >> 12, frame(data) >> 12));
    print("copy: %s\n", memcmp(data, other, sizeof(data)) ? "differs" : "same");
    counted("mmuext", "clear", ext(MMUEXT_CLEAR_PAGE, frame(other) >> 12, 0));
    print("clear: %s\n", other[17] ? "not zero" : "zero");
    counted("mmuext", "clear a page table", ext(MMUEXT_CLEAR_PAGE, frame((void *)start_info->pt_base) >> 12, 0));
    counted("mmuext", "copy onto a page table",
            ext(MMUEXT_COPY_PAGE, frame((void *)start_info->pt_base) >> 12, frame(data) >> 12));
    counted("mmuext", "copy from no frame", ext(MMUEXT_COPY_PAGE, frame(data) >> 12, 0xfffffff));
    counted("mmuext", "mark superpage", ext(MMUEXT_MARK_SUPER, 0, 0));
    counted("mmuext", "unmark superpage", ext(MMUEXT_UNMARK_SUPER, 0, 0));
    counted("mmuext", "unknown", ext(33, 0, 0));
    told("mmuext", "list where Xen is", hypercall(__HYPERVISOR_mmuext_op, XEN_ADDRESS, 1, 0, DOMID_SELF, 0));
    told("mmuext", "no such domain", hypercall(__HYPERVISOR_mmuext_op, (unsigned long)data, 1, 0, 0x7fef, 0));
}

static long set_gdt(const unsigned long *frames, unsigned entries) {
    return hypercall(__HYPERVISOR_set_gdt, (unsigned long)frames, entries, 0, 0, 0);
}

static long update_descriptor(uint64_t where, uint64_t what) {
#ifdef __x86_64__
    return hypercall(__HYPERVISOR_update_descriptor, where, what, 0, 0, 0);
#else
    return hypercall(__HYPERVISOR_update_descriptor, where, where >> 32, what, what >> 32, 0);
#endif
}

static void tables(void) {
    unsigned long frames[2] = {frame(descriptors) >> 12, 0xfffffff};
    memset(descriptors, 0, sizeof(descriptors));
    told("set_gdt", "mapped writable", set_gdt(frames, 512));
    allow(descriptors, 0);
    told("set_gdt", "zeros", set_gdt(frames, 512));
    told("set_gdt", "no frame", set_gdt(frames, 513));
    told("set_gdt", "too long", set_gdt(frames, 7169));
    told("set_gdt", "list where Xen is", set_gdt((void *)XEN_ADDRESS, 1));
    told("map", "GDT writable", update_va(descriptors, frame(descriptors) | P | RW, 2));
    told("update_descriptor", "data, ring 3", update_descriptor(frame(descriptors) + 8, 0x00cff3000000ffff));
    told("update_descriptor", "data, ring 0", update_descriptor(frame(descriptors) + 16, 0x00cf93000000ffff));
    told("update_descriptor", "64-bit code", update_descriptor(frame(descriptors) + 24, 0x00affb000000ffff));
    told("update_descriptor", "TSS", update_descriptor(frame(descriptors) + 32, 0x0000890000000067));
    told("update_descriptor", "call gate", update_descriptor(frame(descriptors) + 40, 0x0000ec0000330000));
    told("update_descriptor", "interrupt gate", update_descriptor(frame(descriptors) + 48, 0x0000ee0000330000));
    told("update_descriptor", "not present", update_descriptor(frame(descriptors) + 56, 0x1234567800000000 & ~(1ull << 47)));
    told("update_descriptor", "misaligned", update_descriptor(frame(descriptors) + 4, 0));
    told("update_descriptor", "page of data", update_descriptor(frame(data) + 8, 0x00cff3000000ffff));
    told("update_descriptor", "no frame", update_descriptor(0xffffffffff000, 0));
    told("update_descriptor", "page table", update_descriptor(frame((void *)start_info->pt_base) + 8, 0));
    for (int i = 1; i < 8; i++)
        print("descriptor %d: %08x%08x\n", i, (unsigned)(descriptors[i] >> 32), (unsigned)descriptors[i]);
    told("set_gdt", "none", set_gdt(NULL, 0));
    allow(descriptors, 1);
    descriptors[4] = 0x0000890000000067; /* a TSS */
    allow(descriptors, 0);
    told("set_gdt", "with a TSS", set_gdt(frames, 512));
    allow(descriptors, 1);
    memset(descriptors, 0, sizeof(descriptors));
    counted("set_ldt", "misaligned", ext(MMUEXT_SET_LDT, (unsigned long)descriptors + 8, 1));
    counted("set_ldt", "too long", ext(MMUEXT_SET_LDT, (unsigned long)descriptors, 8193));
    counted("set_ldt", "where Xen is", ext(MMUEXT_SET_LDT, XEN_ADDRESS, 1));
    counted("set_ldt", "one page", ext(MMUEXT_SET_LDT, (unsigned long)descriptors, 512));
    counted("set_ldt", "none", ext(MMUEXT_SET_LDT, 0, 0));
}

/* xen:public/memory.h */
#define XENMEM_increase_reservation 0
#define XENMEM_decrease_reservation 1
#define XENMEM_populate_physmap 6
#define XENMEM_machphys_mapping 12
struct reservation {
    unsigned long *frames, count;
    unsigned order, flags;
    uint16_t domid;
};

static void reservations(void) {
    unsigned long frames[3] = {frame(other) >> 12, 0xfffffff, frame(data) >> 12};
    struct reservation r = {frames, 3, 0, 0, DOMID_SELF};
    told("add_to_physmap", "shared_info", hypercall2(__HYPERVISOR_memory_op, XENMEM_add_to_physmap,
         &((struct xen_add_to_physmap){.domid = DOMID_SELF, .space = 0, .gpfn = 1})));
    update_va(other, 0, 2);
    told("decrease", "one, no frame, one", hypercall2(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &r));
    frames[0] = (unsigned long)other >> 12;
    r.count = 1;
    told("populate", "one", hypercall2(__HYPERVISOR_memory_op, XENMEM_populate_physmap, &r));
    told("M2P", "of the new frame is ours", M2P[frames[0]] == (unsigned long)other >> 12);
    told("map", "the new frame", update_va(other, (uint64_t)frames[0] << 12 | P | RW | US | A, 2));
    ((unsigned long *)start_info->mfn_list)[(unsigned long)other >> 12] = frames[0];
    told("new frame", "is zero", other[9] == 0);
    r.domid = 0x7fef;
    told("increase", "no such domain", hypercall2(__HYPERVISOR_memory_op, XENMEM_increase_reservation, &r));
    r.domid = DOMID_SELF;
    r.order = 30;
    told("increase", "absurd order", hypercall2(__HYPERVISOR_memory_op, XENMEM_increase_reservation, &r));
    struct {
        unsigned long start, end, max;
    } mapping;
    told("machphys_mapping", "", hypercall2(__HYPERVISOR_memory_op, XENMEM_machphys_mapping, &mapping));
    print("M2P is at %p\n", (void *)mapping.start);
    told("unknown memory_op", "", hypercall2(__HYPERVISOR_memory_op, 60, &mapping));
}

void guest_main(void) {
    mappings();
    updates();
    pins();
    emulated_writes();
    operations();
    tables();
    reservations();
}
