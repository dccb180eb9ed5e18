/* What a PVH guest has from its processor and from its start information. */
#include "../runtime.h"

void hypercall_page_setup(void) {
    wrmsr(cpuid(xen_base + 2, 0).ebx, (unsigned long)hypercall_page);
}

void hopeless(void) {
    for (;;)
        asm volatile("cli; hlt");
}

struct console console_find(void) {
    uint64_t pfn = 0, port = 0;
    if (hvm_get_param(HVM_PARAM_CONSOLE_PFN, &pfn) || hvm_get_param(HVM_PARAM_CONSOLE_EVTCHN, &port) || !pfn)
        return (struct console){NULL, 0};
    return (struct console){(struct xencons_interface *)(unsigned long)(pfn << 12), port};
}

long hvm_get_param(uint32_t index, uint64_t *value) {
    struct xen_hvm_param param = {.domid = DOMID_SELF, .index = index};
    long rc = hypercall2(__HYPERVISOR_hvm_op, HVMOP_get_param, &param);
    *value = param.value;
    return rc;
}

long hvm_set_param(uint32_t index, uint64_t value) {
    struct xen_hvm_param param = {.domid = DOMID_SELF, .index = index, .value = value};
    return hypercall2(__HYPERVISOR_hvm_op, HVMOP_set_param, &param);
}

struct shared_info *map_shared_info(void) {
    static unsigned char page[4096] __attribute__((aligned(4096)));
    struct xen_add_to_physmap map = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_shared_info, .gpfn = (unsigned long)page >> 12};
    return hypercall2(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &map) == 0 ? (struct shared_info *)page : NULL;
}

const char *command_line(void) {
    if (start_info->magic != XEN_HVM_START_MAGIC_VALUE || !start_info->cmdline_paddr)
        return "";
    return (const char *)(unsigned long)start_info->cmdline_paddr;
}

uint64_t memory_bytes(void) {
    uint64_t ram = 0;
    if (start_info->magic != XEN_HVM_START_MAGIC_VALUE || start_info->version < 1 || !start_info->memmap_paddr)
        return 0;
    const struct hvm_memmap_table_entry *map = (const void *)(unsigned long)start_info->memmap_paddr;
    for (uint32_t i = 0; i < start_info->memmap_entries; i++)
        if (map[i].type == 1)
            ram += map[i].size;
    return ram;
}
