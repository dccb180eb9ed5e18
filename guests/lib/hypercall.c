/* Finding Xen, its hypercall page, and the calls every guest makes. */
#include "runtime.h"

uint32_t xen_base;

/* Xen's leaves start at 0x40000000, or a multiple of 0x100 above when it shows another interface first. */
static uint32_t find_base(void) {
    for (uint32_t base = 0x40000000; base < 0x40010000; base += 0x100) {
        struct cpuid_regs r = cpuid(base, 0);
        if (r.ebx == 0x566e6558 && r.ecx == 0x65584d4d && r.edx == 0x4d4d566e && r.eax >= base + 2)
            return base;
    }
    return 0;
}

void hypercall_setup(void) {
    xen_base = find_base();
    if (!xen_base)
        for (;;)
            asm volatile("cli; hlt");
    wrmsr(cpuid(xen_base + 2, 0).ebx, (unsigned long)hypercall_page);
}

long hypercall(unsigned int number, unsigned long a, unsigned long b, unsigned long c, unsigned long d, unsigned long e) {
    long result;
    unsigned char *entry = hypercall_page + number * 32;
#ifdef __x86_64__
    register unsigned long r10 asm("r10") = d;
    register unsigned long r8 asm("r8") = e;
    asm volatile("call *%[entry]"
                 : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8)
                 : [entry] "0"(entry)
                 : "rcx", "r9", "r11", "memory");
#else
    asm volatile("call *%%eax" : "=a"(result), "+b"(a), "+c"(b), "+d"(c), "+S"(d), "+D"(e) : "0"(entry) : "memory");
#endif
    return result;
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

void shutdown(uint32_t reason) {
    struct sched_shutdown how = {reason};
    console_drain();
    for (;;)
        hypercall2(__HYPERVISOR_sched_op, SCHEDOP_shutdown, &how);
}
