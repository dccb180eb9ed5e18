/* Says hello, tells what it was given, and powers off. */
#include "../lib/runtime.h"

const char guest_name[] = "hello";

void guest_main(void) {
    long version = hypercall2(__HYPERVISOR_xen_version, XENVER_version, 0);
    print("Hello from a guest of Xen %ld.%ld!\n", version >> 16, version & 0xffff);
    if (start_info->magic != XEN_HVM_START_MAGIC_VALUE)
        return;
    if (start_info->cmdline_paddr) {
        const char *cmdline = (const char *)(unsigned long)start_info->cmdline_paddr;
        if (*cmdline)
            print("Command line: %s\n", cmdline);
    }
    if (start_info->version >= 1 && start_info->memmap_paddr) {
        const struct hvm_memmap_table_entry *map = (const void *)(unsigned long)start_info->memmap_paddr;
        uint64_t ram = 0;
        for (uint32_t i = 0; i < start_info->memmap_entries; i++)
            if (map[i].type == 1)
                ram += map[i].size;
        print("Memory: %u MiB\n", (unsigned)(ram + 0xfffff >> 20));
    }
    print("Goodbye.\n");
}
