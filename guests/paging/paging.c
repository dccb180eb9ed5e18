/* Asks the hypervisor's memory management for what it allows and for much that it does not, and shows the answers. A PV guest owns its page
 * tables: entries of each level, pins, roots, descriptor tables, its reservation, grants to itself. An HVM guest has none of
 * this. Numbers of machine frames are not shown, so the output is the same wherever it runs. */
#include "../lib/paging.h"

const char guest_name[] = "paging";

static void show(const char *what, long rc) {
    print("%s: %ld\n", what, rc);
}

#ifndef GUEST_PV

void guest_main(void) {
    show("pin", ext(PIN_L1, 0x100, 0));
    show("pin, no such frame", ext(PIN_L1, 0xfffff, 0));
    show("unpin", ext(UNPIN, 0x100, 0));
    show("new root", ext(NEW_BASEPTR, 0x100, 0));
    show("clear", ext(CLEAR, 0x100, 0));
    report(SUCCESS, NULL);
}

#else

static unsigned char pages[16][4096] __attribute__((aligned(4096)));
static unsigned used;

/* A zeroed page that is mapped nowhere writable, so that it can become anything. */
static entry_t *fresh(void) {
    unsigned char *page = pages[used++];
    memset(page, 0, 4096);
    if (set_va(page, entry(to_mfn(page), P | US | A)))
        report(ERROR, "a page cannot be mapped read-only");
    return (entry_t *)page;
}

static void *again_writable(void *page) {
    if (set_va(page, entry(to_mfn(page), P | RW | US | A)))
        report(ERROR, "a page cannot be mapped writable");
    return page;
}

/* The kind of a request is in the low bits; only what the guest sees of an entry is shown. */
static void last_level(void) {
    entry_t *l1 = table(1, FREE);
    unsigned free = slot(FREE);
    unsigned long page = to_mfn(pages[0]);
    show("entry, request of kind 4", update(l1, free, 0, 4));
    /* Caching attributes depend on whether the domain has devices. */
    show("entry, no memory there", update(l1, free, entry(0xffffffffff, P), 0));
    show("entry, a table writable", update(l1, free, entry(to_mfn(l1), P | RW), 0));
    show("entry, a table read-only", update(l1, free, entry(to_mfn(l1), P), 0));
    show("entry, shared_info", update(l1, free, entry(start_info->shared_info >> 12, P | RW), 0));
    show("entry, absent with rubbish", update(l1, free, 0xdeadbeef00000 | RW, 0));
    static const uint64_t bits[] = {P, P | RW, P | US, P | US | G, P | G, P | US | GUEST_KERNEL, P | A | D, P | US | 0xe00};
    for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        long rc = update(l1, free, entry(page, bits[i]), 0);
        print("entry with bits %llx: %ld, installed %llx\n", (unsigned long long)bits[i], rc,
              (unsigned long long)(l1[free] ^ entry(page, 0)));
    }
    update(l1, free, entry(page, P | US | A | D), 0);
    show("entry, keep A and D", update(l1, free, entry(page, P | US), 2));
    print("  bits %llx\n", (unsigned long long)(l1[free] & (A | D)));
    show("entry, as memory", update(pages[0], 3, 0x1234567890abcdef, 0));
    print("  %llx\n", *(unsigned long long *)(pages[0] + 24));
    show("by address, no table", set_va((void *)0x60000000, 0));
    show("by address, clear", set_va(FREE, 0));
}

static void upper_levels(void) {
    entry_t *l2 = table(2, FREE);
    entry_t *l1 = fresh();
    show("second level, a writable page", update(l2, 200, entry(to_mfn(pages[15]), P), 0));
    show("second level, large page", update(l2, 200, entry(to_mfn(l1), P | PSE), 0));
    show("second level, an empty table", update(l2, 200, entry(to_mfn(l1), P | RW | US), 0));
    show("second level, the same with other bits", update(l2, 200, entry(to_mfn(l1), P | US), 0));
    show("pin a table in use", ext(PIN_L1, to_mfn(l1), 0));
    show("pin it again", ext(PIN_L1, to_mfn(l1), 0));
    show("pin it as another level", ext(PIN_L2, to_mfn(l1), 0));
    show("write it", set_va(l1, entry(to_mfn(l1), P | RW | US)));
    show("second level, nothing", update(l2, 200, 0, 0));
    show("write it while it is pinned", set_va(l1, entry(to_mfn(l1), P | RW | US)));
    show("unpin", ext(UNPIN, to_mfn(l1), 0));
    show("unpin again", ext(UNPIN, to_mfn(l1), 0));
    show("write it now", set_va(l1, entry(to_mfn(l1), P | RW | US)));
    show("pin while it is writable", ext(PIN_L1, to_mfn(l1), 0));
    show("second level, itself writable", update(l2, 200, entry(to_mfn(l2), P | RW), 0));
    show("second level, itself", update(l2, 200, entry(to_mfn(l2), P), 0));
    show("second level, nothing", update(l2, 200, 0, 0));
}

static void bad_tables(void) {
    entry_t *l1 = again_writable(fresh());
    l1[3] = entry(to_mfn(table(1, FREE)), P | RW);
    set_va(l1, entry(to_mfn(l1), P | US));
    show("pin a table that maps a table writable", ext(PIN_L1, to_mfn(l1), 0));
    entry_t *l2 = again_writable(fresh());
    l2[0] = entry(to_mfn(l1), P | US);
    set_va(l2, entry(to_mfn(l2), P | US));
    show("pin a table above it", ext(PIN_L2, to_mfn(l2), 0));
    again_writable(l1);
    l1[3] = entry(to_mfn(l1), P | RW | US);
    set_va(l1, entry(to_mfn(l1), P | US));
    show("pin a table that maps itself writable", ext(PIN_L1, to_mfn(l1), 0));
    again_writable(l1);
    l1[3] = entry(to_mfn(l1), P | US);
    set_va(l1, entry(to_mfn(l1), P | US));
    show("pin a table that maps itself", ext(PIN_L1, to_mfn(l1), 0));
    show("pin a table above it", ext(PIN_L2, to_mfn(l2), 0));
    show("unpin", ext(UNPIN, to_mfn(l2), 0));
    show("unpin", ext(UNPIN, to_mfn(l1), 0));
    used -= 2;
    again_writable(l1);
    again_writable(l2);
}

static void roots(void) {
    entry_t *old = (entry_t *)start_info->pt_base, *root = again_writable(fresh());
#ifdef __x86_64__
    memcpy(root, old, 4096);
    for (unsigned i = 256; i < 272; i++)
        root[i] = 0;
    root[300] = entry(to_mfn(root), P);
    set_va(root, entry(to_mfn(root), P | US));
    show("root, the hypervisor's entry", update(old, 256, 0, 0));
    show("root, the hypervisor's last entry", update(old, 271, 0, 0));
    show("root, the entry behind", update(old, 272, 0, 0));
    show("root, itself writable", update(old, 300, entry(to_mfn(old), P | RW), 0));
    show("root, itself", update(old, 300, entry(to_mfn(old), P), 0));
    show("new root", ext(NEW_BASEPTR, to_mfn(root), 0));
    print("  its M2P entry is %s\n", root[256] ? "set" : "clear");
    show("old root, the new one", update(old, 301, entry(to_mfn(root), P), 0));
    show("new root, the old one", update(root, 301, entry(to_mfn(old), P), 0));
    show("user root, no root", ext(NEW_USER_BASEPTR, to_mfn(table(1, FREE)), 0));
    show("user root", ext(NEW_USER_BASEPTR, to_mfn(root), 0));
    show("no user root", ext(NEW_USER_BASEPTR, 0, 0));
    show("new root, a last-level table", ext(NEW_BASEPTR, to_mfn(table(1, FREE)), 0));
    show("old root again", ext(NEW_BASEPTR, to_mfn(old), 0));
    show("old root, nothing", update(old, 301, 0, 0) | update(old, 300, 0, 0));
#else
    (void)root;
    show("root, the last entry", update(old, 3, 0, 0));
    show("root, behind the last entry", update(old, 4, 0, 0));
    show("root, itself", update(old, 0, entry(to_mfn(old), P), 0));
    show("root, writable entry", update(old, 0, old[0] | G, 0));
    show("new root, a last-level table", ext(NEW_BASEPTR, to_mfn(table(1, FREE)), 0));
    show("the same root", ext(NEW_BASEPTR, to_mfn(old), 0));
#endif
    again_writable(root);
}

static void descriptors(void) {
    entry_t *page = fresh();
    show("GDT, too many entries", hypercall2(__HYPERVISOR_set_gdt, 0, 7169));
    show("GDT, no list", hypercall2(__HYPERVISOR_set_gdt, 0xfffff000ul, 1));
    show("GDT, a table", gdt(table(1, FREE), 8));
    show("GDT, a writable page", gdt(pages[15], 8));
    show("descriptor, misaligned", descriptor(page, 12, 0));
    show("descriptor, in a table", descriptor(table(1, FREE), 8 * slot(FREE), 0));
    static const uint64_t values[] = {
        0x00cff3000000ffff, 0x00cf93000000ffff, 0x00affb000000ffff, 0x00af9b000000ffff, 0x00008b0000000067, 0x0000e20000000067,
        0x0000ec0000100000, 0x0000ec00e0080000, 0x0000eca000100000, 0x0000e80000000000, 0x00001200000000ff, 0x00cff300000067ff,
    };
    for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        long rc = descriptor(page, 8, values[i]);
        print("descriptor %016llx: %ld, installed %016llx\n", (unsigned long long)values[i], rc, (unsigned long long)page[1]);
    }
    show("GDT", gdt(page, 16));
    show("GDT, write its page", set_va(page, entry(to_mfn(page), P | RW | US)));
    show("GDT, descriptor in it", descriptor(page, 16, 0x00cff3000000ffff));
    show("GDT, its page as a table", ext(PIN_L1, to_mfn(page), 0));
    show("GDT, none", hypercall2(__HYPERVISOR_set_gdt, 0, 0));
    show("GDT, write its page now", set_va(page, entry(to_mfn(page), P | RW | US)));
    show("LDT, misaligned", ext(SET_LDT, (unsigned long)page + 8, 1));
    show("LDT, too many entries", ext(SET_LDT, (unsigned long)page, 8193));
    show("LDT", ext(SET_LDT, (unsigned long)page, 512));
    show("LDT, write a page not used yet", set_va(page, entry(to_mfn(page), P | RW | US)));
    show("LDT, none", ext(SET_LDT, 1, 0));
    used--;
}

static void data_pages(void) {
    entry_t *from = again_writable(fresh()), *to = again_writable(fresh());
    from[5] = 77;
    show("copy", ext(COPY, to_mfn(to), to_mfn(from)));
    print("  %llu\n", (unsigned long long)to[5]);
    show("copy into a table", ext(COPY, to_mfn(table(1, FREE)), to_mfn(from)));
    show("clear", ext(CLEAR, to_mfn(to), 0));
    print("  %llu\n", (unsigned long long)to[5]);
    show("clear a table", ext(CLEAR, to_mfn(table(1, FREE)), 0));
    show("unknown operation", ext(14, 0, 0));
    show("super page", ext(19, 0, 0));
    used -= 2;
}

static void reservation(void) {
    unsigned long frames[2], pfns[2] = {0x1234, 0x1235}, done;
    void *page = pages[14];
    unsigned long own = to_mfn(page);
    frames[0] = own, frames[1] = own;
    show("exchange, a mapped page", swap_frames(frames, pfns, 1, &done));
    print("  %lu exchanged\n", done);
    show("give up a mapped page", reserve(1, frames, 1, 0));
    show("give it up again", reserve(1, frames, 1, 0));
    show("unmap it", set_va(page, 0));
    show("map it again", set_va(page, entry(own, P | US)));
    show("a new page", reserve(6, pfns, 1, 0));
    print("  its M2P entry: %lx\n", to_pfn(pfns[0]));
    frames[0] = pfns[0], pfns[0] = 0x4321;
    show("exchange it", swap_frames(frames, pfns, 1, &done));
    print("  %lu exchanged, M2P entry %lx, of the old frame %s\n", done, to_pfn(pfns[0]),
          to_pfn(frames[0]) == ~0ul ? "none" : "left");
    show("map the old frame", set_va(FREE, entry(frames[0], P)));
    show("map the new frame", set_va(FREE, entry(pfns[0], P | RW | US)));
    *(volatile unsigned long *)FREE = 5;
    show("exchange it while mapped", swap_frames(pfns, frames, 1, &done));
    show("unmap it", set_va(FREE, 0));
    struct mmu_update u = {(uint64_t)pfns[0] << 12 | 1, 0x777};
    show("M2P entry", hypercall(__HYPERVISOR_mmu_update, (unsigned long)&u, 1, 0, DOMID_SELF, 0));
    print("  now %lx\n", to_pfn(pfns[0]));
    u.ptr = (uint64_t)frames[0] << 12 | 1;
    show("M2P entry of the old frame", hypercall(__HYPERVISOR_mmu_update, (unsigned long)&u, 1, 0, DOMID_SELF, 0));
    show("no such domain", hypercall(__HYPERVISOR_mmu_update, (unsigned long)&u, 1, 0, NOBODY, 0));
    show("no such domain's tables", hypercall(__HYPERVISOR_mmu_update, (unsigned long)&u, 1, 0, (NOBODY + 1u) << 16 | DOMID_SELF, 0));
}

/* The guest writes its last-level table as memory, which it maps read-only. */
static void table_writes(void) {
    volatile entry_t *at = &table(1, FREE)[slot(FREE)];
    unsigned long page = to_mfn(pages[13]);
    show("writable page tables", hypercall2(__HYPERVISOR_vm_assist, 0, 2));
#ifdef __x86_64__
    *at = entry(page, P | RW);
    print("written: %llx\n", (unsigned long long)(*at ^ entry(page, 0)));
    entry_t expected = *at ^ 1, wanted = 0;
    asm volatile("lock cmpxchgq %2, %1" : "+a"(expected), "+m"(*at) : "r"(wanted) : "memory");
    print("exchange with another value: %llx\n", (unsigned long long)(*at ^ entry(page, 0)));
    asm volatile("lock cmpxchgq %2, %1" : "+a"(expected), "+m"(*at) : "r"(wanted) : "memory");
    print("exchange with that value: %llx\n", (unsigned long long)*at);
#else
    ((volatile uint32_t *)at)[1] = page >> 20;
    ((volatile uint32_t *)at)[0] = entry(page, P | RW);
    print("written in halves: %llx\n", (unsigned long long)(*at ^ entry(page, 0)));
    ((volatile uint32_t *)at)[0] = 0;
    print("cleared: %llx\n", (unsigned long long)*at);
#endif
    *(volatile unsigned char *)at = 0;
    show("pin its page", (set_va(pages[13], entry(page, P | US)), memset(pages[12], 0, 1), ext(PIN_L1, page, 0)));
    show("unpin its page", ext(UNPIN, page, 0));
}

static volatile struct grant_entry *grants;
static uint16_t self;

static void grant(unsigned ref, const void *page) {
    grants[ref].domid = self;
    grants[ref].frame = to_mfn(page);
    grants[ref].flags = 1;
}

/* Its own number is the one under which a grant to itself can be used. */
static int find_self(void) {
    static unsigned char page[4096] __attribute__((aligned(4096)));
    unsigned long frame;
    struct setup_table setup = {DOMID_SELF, 1, 99, &frame};
    if (hypercall(__HYPERVISOR_grant_table_op, 2, (unsigned long)&setup, 1, 0, 0) || setup.status)
        return 0;
    grants = map_frame(page, frame);
    for (self = 0; grants && self < 16; self++) {
        grant(8, pages[11]);
        struct map_grant m = map(0, DEVICE, 8, self);
        if (m.status == 0)
            return unmap(0, m.device, m.handle) == 0;
    }
    return 0;
}

static void self_grants(void) {
    if (!find_self()) {
        report(ERROR, "no grant can be used");
        return;
    }
    unsigned long host = (unsigned long)FREE;
    entry_t *page = again_writable(fresh()), *other = again_writable(fresh());
    entry_t *l1 = table(1, FREE);
    show("grant, neither host nor device", map(host, READONLY, 8, NOBODY).status);
    show("grant, no such domain", map(host, HOST, 8, NOBODY).status);
    show("grant, no such reference", map(host, HOST, 0x10000, self).status);
    show("grant, not granted", map(host, HOST, 9, self).status);
    grant(9, l1);
    show("grant, a table writable", map(host, HOST, 9, self).status);
    show("grant, a table for devices", map(host, DEVICE, 9, self).status);
    grant(8, page);
    show("grant, no table at the address", map(0x60000000, HOST, 8, self).status);
    show("grant, misaligned entry", map(((uint64_t)to_mfn(l1) << 12) + 8 * slot(FREE) + 4, HOST | CONTAINS_PTE, 8, self).status);
    struct map_grant both = map(host, HOST | DEVICE, 8, self);
    show("grant, host and device", both.status);
    print("  entry bits %llx, status bits %x\n", (unsigned long long)(l1[slot(FREE)] ^ entry(to_mfn(page), 0)), grants[8].flags);
    show("end it, wrong handle", unmap(host, 0, 4000));
    show("end it, wrong device address", unmap(0, 0x1000, both.handle));
    show("end it, wrong address", unmap((unsigned long)pages[0], 0, both.handle));
    show("end it, host", unmap(host, 0, both.handle));
    set_va(page, entry(to_mfn(page), P | US));
    show("its page as a table", ext(PIN_L1, to_mfn(page), 0));
    show("end it, device", unmap(0, (uint64_t)to_mfn(page) << 12, both.handle));
    show("its page as a table now", ext(PIN_L1, to_mfn(page), 0));
    show("unpin", ext(UNPIN, to_mfn(page), 0));
    print("  status bits %x\n", grants[8].flags);
    struct map_grant pte = map(((uint64_t)to_mfn(l1) << 12) + 8 * slot(FREE), HOST | CONTAINS_PTE | READONLY | 5 << 16, 8, self);
    show("grant, into an entry", pte.status);
    print("  entry bits %llx, status bits %x\n", (unsigned long long)(l1[slot(FREE)] ^ entry(to_mfn(page), 0)), grants[8].flags);
    show("end it by address", unmap(host, 0, pte.handle));
    show("end it by entry", unmap(((uint64_t)to_mfn(l1) << 12) + 8 * slot(FREE), 0, pte.handle));
    struct map_grant over = map(host, HOST, 8, self);
    grant(9, other);
    struct replace_grant r = {host, (unsigned long)other, over.handle, 99};
    hypercall(__HYPERVISOR_grant_table_op, 7, (unsigned long)&r, 1, 0, 0);
    show("replace by the entry of another page", r.status);
    print("  entry is of %s\n", (l1[slot(FREE)] >> 12 & 0xffffffffff) == to_mfn(other) ? "that page" : "another page");
    struct map_grant lost = map((unsigned long)other, HOST, 8, self);
    show("grant, to be lost", lost.status);
    show("overwrite its entry", set_va(other, 0));
    show("end it", unmap((unsigned long)other, 0, lost.handle));
    print("  status bits %x\n", grants[8].flags);
}

void guest_main(void) {
    last_level();
    upper_levels();
    bad_tables();
    roots();
    descriptors();
    data_pages();
    reservation();
    table_writes();
    self_grants();
    report(SUCCESS, NULL);
}

#endif
