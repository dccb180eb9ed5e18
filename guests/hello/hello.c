/* Says hello, tells what it was given, and powers off. */
#include "../lib/runtime.h"

const char guest_name[] = "hello";

void guest_main(void) {
    long version = hypercall2(__HYPERVISOR_xen_version, XENVER_version, 0);
    print("Hello from a guest of Xen %ld.%ld!\n", version >> 16, version & 0xffff);
    if (*command_line())
        print("Command line: %s\n", command_line());
    if (memory_bytes())
        print("Memory: %u MiB\n", (unsigned)(memory_bytes() + 0xfffff >> 20));
    print("Goodbye.\n");
}
