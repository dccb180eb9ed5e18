/* Interrupt gates for the few vectors that these guests use. */
#include "../vcpu.h"

extern unsigned char interrupt_stubs[];

struct gate {
    uint16_t offset_low, selector, flags, offset_mid;
#ifdef __x86_64__
    uint32_t offset_high, zero;
#endif
};
static struct gate idt[VECTORS_END];

void interrupts_setup(void) {
    for (int vector = VECTOR_WAKE; vector < VECTORS_END; vector++) {
        unsigned long to = (unsigned long)interrupt_stubs + (vector - VECTOR_WAKE) * 16;
        idt[vector] = (struct gate){.offset_low = to, .selector = 0x08, .flags = 0x8e00, .offset_mid = to >> 16};
    }
}

void interrupts_load(void) {
    struct {
        uint16_t limit;
        unsigned long base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (unsigned long)idt};
    asm volatile("lidt %0" ::"m"(pointer));
}

/* For guests that take no interrupts. */
__attribute__((weak)) void interrupt(unsigned vector) {
    (void)vector;
}
