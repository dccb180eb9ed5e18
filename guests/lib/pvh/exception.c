/* Reports of unexpected exceptions. */
#include "../runtime.h"

extern unsigned char exception_stubs[];

#ifdef __x86_64__
struct gate {
    uint16_t offset_low, selector, flags, offset_mid;
    uint32_t offset_high, zero;
};
#else
struct gate {
    uint16_t offset_low, selector, flags, offset_mid;
};
#endif

static struct gate idt[32];

void exceptions_setup(void) {
    struct {
        uint16_t limit;
        unsigned long base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (unsigned long)idt};
    for (int vector = 0; vector < 32; vector++) {
        unsigned long to = (unsigned long)exception_stubs + vector * 16;
        idt[vector] = (struct gate){.offset_low = to, .selector = 0x08, .flags = 0x8e00, .offset_mid = to >> 16};
    }
    asm volatile("lidt %0" ::"m"(pointer));
}

void exception_report(struct exception_frame *frame) {
    unsigned long cr2;
    asm volatile("mov %%cr2, %0" : "=r"(cr2));
    print("Unexpected exception: vector %lu error 0x%lx at %p, cr2 %p\n", frame->vector, frame->error, (void *)frame->ip,
          (void *)cr2);
    shutdown(SHUTDOWN_crash);
}
