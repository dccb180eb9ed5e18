/* Reports of unexpected exceptions, which come to the guest through its trap table. */
#include "../runtime.h"

extern unsigned char exception_stubs[];

void exceptions_setup(void) {
    static struct trap_info table[33]; /* ends with an address of 0 */
    for (int vector = 0; vector < 32; vector++)
        table[vector] = (struct trap_info){
            .vector = vector, .cs = FLAT_KERNEL_CS, .address = (unsigned long)exception_stubs + vector * 16};
    hypercall1(__HYPERVISOR_set_trap_table, table);
}

void exception_report(struct exception_frame *frame) {
    print("Unexpected exception: vector %lu error 0x%lx at %p\n", frame->vector, frame->error, (void *)frame->ip);
    shutdown(SHUTDOWN_crash);
}
