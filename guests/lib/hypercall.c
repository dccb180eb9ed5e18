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
        hopeless();
    hypercall_page_setup();
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

void shutdown(uint32_t reason) {
    struct sched_shutdown how = {reason};
    console_drain();
    for (;;)
        hypercall2(__HYPERVISOR_sched_op, SCHEDOP_shutdown, &how);
}
