/* A PV guest that asks its hypervisor for random changes of its page tables, page types, descriptor tables and grants, most of
 * which make sense and many of which must be refused. The answers are shown as sums, so two hypervisors that print the same have refused and
 * allowed the same; with "verbose" on the command line each one is shown, and "seed=N" makes other
 * ones. An HVM guest has nothing to ask. */
#include "../lib/paging.h"

const char guest_name[] = "pagerandom";

#ifndef GUEST_PV

void guest_main(void) {
    print("no page tables to ask about\n");
    report(SUCCESS, NULL);
}

#else

#define POOL 28
#define OPERATIONS 20000
#define BLOCK 500

static unsigned char pool[POOL][4096] __attribute__((aligned(4096)));
static entry_t *main_l1, *main_root;
static int verbose;
static uint32_t state = 0x2545f491, sum;

static uint32_t draw(uint32_t below) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % below;
}

static int chance(uint32_t percent) {
    return draw(100) < percent;
}

static void note(const char *what, long rc) {
    sum = (sum << 5 | sum >> 27) ^ (uint32_t)rc;
    if (verbose)
        print("%s: %ld\n", what, rc);
}

static void *page(void) {
    return pool[draw(POOL)];
}

/* Bits for caching are left out: which are allowed depends on the domain's devices. */
/* A table of the running address space that the operations may read, seldom. */
static void *any_page(void) {
    if (chance(94))
        return page();
    return chance(50) ? (void *)main_l1 : table(2, FREE);
}

static uint64_t bits(void) {
    uint64_t b = chance(85) ? P : 0;
    if (chance(40))
        b |= RW;
    if (chance(70))
        b |= US;
    if (chance(30))
        b |= A | D;
    if (chance(5))
        b |= G;
    if (chance(5))
        b |= GUEST_KERNEL;
    return b;
}

static entry_t value(void) {
    if (chance(12))
        return 0;
    if (chance(2))
        return entry(0xffffffffffull, P);
    return entry(to_mfn(any_page()), bits());
}

/* Not 0: a fourth-level table that is refused for what is behind the first entry of a third-level table leaves a page of Xen's 4.17 in a
 * state that it never leaves. Not 256 to 271: what a page that was a root keeps there is the hypervisor's own. */
static unsigned index_in_page(void) {
    static const uint16_t borders[] = {3, 255, 272, 427, 428, 511};
    return chance(90) ? 1 + draw(4) : borders[draw(sizeof(borders) / sizeof(borders[0]))];
}

/* Where a page may be shown: a place of the pool, or behind the image. */
static void *place(void) {
    return chance(85) ? page() : FREE + 4096 * draw(4);
}

static int is_writable(const void *at) {
    return (main_l1[slot(at)] & (P | RW)) == (P | RW);
}

static void change_entry(void) {
    switch (draw(4)) {
    case 0:
        note("main entry", update(main_l1, slot(place()), value(), chance(90) ? 0 : draw(8)));
        break;
    case 1:
        note("upper entry", update(table(2, FREE), 100 + draw(4), value(), 0));
        break;
    case 2:
        note("root entry", update(main_root, GUEST_BITS == 64 ? 300 + draw(3) : 3 + draw(2), value(), 0));
        break;
    default: {
        void *where = page();
        unsigned index = index_in_page();
        unsigned kind = chance(90) ? 0 : draw(4);
        note("entry", update(where, index, kind == 1 ? draw(1000) : value(), kind));
    }
    }
}

static void show_page(void) {
    void *at = place();
    note("by address", set_va(at, chance(50) ? entry(to_mfn(at < (void *)FREE ? at : page()), P | US | (chance(60) ? RW : 0)) : value()));
}

static void fill(void) {
    entry_t *at = place();
    if (!is_writable(at))
        return;
    if (chance(30))
        memset(at, 0, 4096);
    for (unsigned i = 1 + draw(3); i; i--)
        at[index_in_page()] = value();
}

/* A small tree in three or four pages, and a root that maps what the running one maps: pinned, used and left again. */
static void plant(void) {
    entry_t *t[4];
    for (int i = 0; i < 4; i++) {
        t[i] = page();
        for (int j = 0; j < i; j++)
            if (t[i] == t[j])
                return;
        if (!is_writable(t[i]) || (main_l1[slot(t[i])] >> 12 & 0xffffffffff) != to_mfn(t[i]))
            return;
    }
    for (int i = 0; i < 4; i++)
        memset(t[i], 0, 4096);
    t[1][1] = entry(to_mfn(t[0]), P | RW | US);
    t[2][1] = entry(to_mfn(t[1]), P | RW | US);
    for (int i = 0; i < 8; i++)
        t[0][i] = entry(to_mfn(page()), P | US);
#ifdef __x86_64__
    memcpy(t[3], main_root, 4096);
    memset(t[3] + 256, 0, 16 * 8);
    for (int i = 300; i < 303; i++)
        t[3][i] = 0;
    t[3][310] = entry(to_mfn(t[2]), P | RW | US);
#else
    t[3][0] = main_root[0] & ~(uint64_t)(RW | US | A);
    t[3][2] = entry(to_mfn(t[1]), P);
    t[3][3] = entry(to_mfn(page()), P);
#endif
    for (int i = 0; i < 4; i++)
        note("plant", set_va(t[i], entry(to_mfn(t[i]), P | US)));
    if (chance(50))
        note("pin the root", ext(LEVELS == 4 ? PIN_L4 : PIN_L3, to_mfn(t[3]), 0));
    note("use the root", ext(NEW_BASEPTR, to_mfn(t[3]), 0));
    note("leave the root", ext(NEW_BASEPTR, to_mfn(main_root), 0));
}

static void type_of_page(void) {
    static const uint8_t pins[] = {PIN_L1, PIN_L1, PIN_L2, PIN_L2, PIN_L3, PIN_L4, UNPIN, UNPIN, UNPIN, UNPIN};
    note("pin or unpin", ext(pins[draw(sizeof(pins))], to_mfn(any_page()), 0));
}

static void user_root(void) {
    note("user root", ext(NEW_USER_BASEPTR, GUEST_BITS == 64 && chance(70) ? to_mfn(page()) : 0, 0));
}

static void descriptor_tables(void) {
    static const uint64_t values[] = {0, 0x00cff3000000fffe, 0x00cf9b000000fffe, 0x00affb000000fffe, 0x00008b0000000066, 0x0000ec0000100000};
    unsigned long frames[2] = {to_mfn(any_page()), to_mfn(page())};
    switch (draw(3)) {
    case 0:
        note("GDT", hypercall2(__HYPERVISOR_set_gdt, frames, draw(3) * 512));
        break;
    case 1:
        note("LDT", ext(SET_LDT, (unsigned long)place(), draw(600)));
        break;
    default: {
        void *where = any_page();
        unsigned offset = draw(250) * 8 + (chance(3) ? 4 : 0);
        if (where == table(2, FREE) || where == main_l1)
            offset = 4; /* Whatever the type, that is refused. */
        note("descriptor", descriptor(where, offset, values[draw(sizeof(values) / sizeof(values[0]))]));
    }
    }
}

static void contents(void) {
    note("clear or copy", chance(50) ? ext(CLEAR, to_mfn(page()), 0) : ext(COPY, to_mfn(page()), to_mfn(any_page())));
}

static volatile struct grant_entry *grants;
static uint16_t self;
/* Mappings; a handle's number says nothing. */
static struct mapping {
    int used;
    uint32_t handle;
    uint64_t host, device;
} mappings[24];

static int find_self(void) {
    static unsigned char shown[4096] __attribute__((aligned(4096)));
    unsigned long frame;
    struct setup_table setup = {DOMID_SELF, 1, 99, &frame};
    if (hypercall(__HYPERVISOR_grant_table_op, 2, (unsigned long)&setup, 1, 0, 0) || setup.status)
        return 0;
    grants = map_frame(shown, frame);
    for (self = 0; grants && self < 16; self++) {
        grants[8].domid = self;
        grants[8].frame = to_mfn(pool[0]);
        grants[8].flags = 1;
        struct map_grant m = map(0, DEVICE, 8, self);
        if (m.status == 0)
            return unmap(0, m.device, m.handle) == 0;
    }
    return 0;
}

static void grant_pages(void) {
    unsigned ref = 8 + draw(6);
    struct mapping *m = &mappings[draw(24)];
    if (chance(40)) {
        grants[ref].domid = chance(95) ? self : NOBODY;
        grants[ref].frame = to_mfn(any_page());
        grants[ref].flags = chance(85) ? 1 : chance(50) ? 5 : 0;
        return;
    }
    if (!m->used) {
        static const uint8_t kinds[] = {HOST, HOST, HOST | DEVICE, DEVICE, HOST | READONLY, HOST | DEVICE | READONLY,
                                        HOST | CONTAINS_PTE, HOST | CONTAINS_PTE | READONLY, 0};
        unsigned flags = kinds[draw(sizeof(kinds))];
        uint64_t host = flags & CONTAINS_PTE ? ((uint64_t)to_mfn(page()) << 12) + 8 * index_in_page() + (chance(3) ? 2 : 0)
                                             : (unsigned long)place();
        struct map_grant g = map(host, flags, ref, chance(95) ? self : NOBODY);
        note("map grant", g.status);
        if (g.status == 0)
            *m = (struct mapping){1, g.handle, flags & HOST ? host : 0, flags & DEVICE ? g.device : 0};
        return;
    }
    uint64_t host = chance(80) ? m->host : (unsigned long)place(), device = chance(70) ? m->device : 0;
    if (chance(15)) {
        struct replace_grant r = {host, (unsigned long)place(), m->handle, 99};
        hypercall(__HYPERVISOR_grant_table_op, 7, (unsigned long)&r, 1, 0, 0);
        note("replace", r.status);
        if (r.status == 0 && host)
            m->host = 0;
    } else {
        long status = unmap(host, device, m->handle);
        note("unmap grant", status);
        if (status == 0) {
            m->host = host ? 0 : m->host;
            m->device = device ? 0 : m->device;
        }
    }
    m->used = m->host || m->device;
}

static void step(void) {
    static void (*const operations[])(void) = {change_entry, change_entry, change_entry, show_page,         show_page,
                                               fill,         fill,         plant,        type_of_page,      type_of_page,
                                               user_root,    contents,     descriptor_tables, grant_pages,
                                               grant_pages};
    operations[draw(sizeof(operations) / sizeof(operations[0]))]();
}

/* What the guest sees of the entries at which its pool is, without what the processor sets. */
static void look(void) {
    for (unsigned i = 0; i < POOL; i++) {
        entry_t e = main_l1[slot(pool[i])];
        note("look", (long)((e & 0xfff & ~(uint64_t)(A | D)) | (e >> 52 << 12 & 0xfff000)));
    }
}

void guest_main(void) {
    for (const char *text = command_line(); *text; text++) {
        verbose |= !memcmp(text, "verbose", 7);
        if (!memcmp(text, "seed=", 5))
            for (text += 5; *text >= '0' && *text <= '9'; text++)
                state = state * 10 + (*text - '0');
    }
    print("seed %08x\n", state);
    main_root = (entry_t *)start_info->pt_base;
    main_l1 = table(1, FREE);
    if (!find_self()) {
        report(ERROR, "no grant can be used");
        return;
    }
    for (unsigned i = 0; i < OPERATIONS; i++) {
        step();
        if (i % BLOCK == BLOCK - 1) {
            look();
            print("%u: %08x\n", i + 1, sum);
        }
    }
    show_page();
    report(SUCCESS, NULL);
}

#endif
