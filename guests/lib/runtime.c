/* The way from the entry code to guest_main() and to power off. */
#include "runtime.h"

void runtime_main(void) {
    exceptions_setup();
    hypercall_setup();
    console_setup();
    print("--- %s, " GUEST_KIND "%u-bit ---\n", guest_name, GUEST_BITS);
    guest_main();
    report_print();
    shutdown(SHUTDOWN_poweroff);
}
