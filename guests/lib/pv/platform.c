/* What a PV guest has from its start information and from direct paging. */
#include "../runtime.h"

void hypercall_page_setup(void) {
    /* The builder of the domain filled it: the note says where it is. */
}

void hopeless(void) {
    for (;;)
        ;
}

void *map_frame(void *page, unsigned long mfn) {
    uint64_t entry = (uint64_t)mfn << 12 | 7; /* present, writable, user */
#ifdef __x86_64__
    long rc = hypercall(__HYPERVISOR_update_va_mapping, (unsigned long)page, entry, 2 /* INVLPG */, 0, 0);
#else
    long rc = hypercall(__HYPERVISOR_update_va_mapping, (unsigned long)page, entry, entry >> 32, 2, 0);
#endif
    return rc == 0 ? page : NULL;
}

unsigned long machine_frame(const void *address) {
    return ((unsigned long *)start_info->mfn_list)[(unsigned long)address >> 12];
}

struct console console_find(void) {
    static unsigned char page[4096] __attribute__((aligned(4096)));
    if ((start_info->flags & SIF_INITDOMAIN) || !start_info->console_mfn)
        return (struct console){NULL, 0};
    return (struct console){map_frame(page, start_info->console_mfn), start_info->console_evtchn};
}

struct shared_info *map_shared_info(void) {
    static unsigned char page[4096] __attribute__((aligned(4096)));
    return map_frame(page, start_info->shared_info >> 12);
}

const char *command_line(void) {
    return start_info->cmd_line;
}

uint64_t memory_bytes(void) {
    return (uint64_t)start_info->nr_pages << 12;
}
