/* Starts one vCPU by each of the two ways. Harmless hypercalls mark the steps, so that an observer can count what lies between:
 * marker 1 before the first step, marker 2 when the starting vCPU has done its part. The first pair encloses nothing. */
#include "../../lib/vcpu.h"

#define XENVER_pagesize 7

const char guest_name[] = "bringup";

void ap_main(unsigned vcpu) {
    (void)vcpu;
    for (;;)
        asm volatile("sti; hlt");
}

static void marker(unsigned number) {
    hypercall2(__HYPERVISOR_xen_version, XENVER_pagesize, (unsigned long)number);
}

static void report_start(const char *way, unsigned vcpu) {
    int ran = wait_for(&ap_started[vcpu], 1);
    print("%s vcpu %u ran %s", way, vcpu, ran ? "yes" : "no");
    print(ran ? " apic %u\n" : "\n", ap_apic_id[vcpu]);
}

void guest_main(void) {
    time_setup();
    marker(1);
    marker(2);
    if (vcpu_exists(1)) {
        marker(1);
        long rc = initialise(1);
        if (rc == 0)
            rc = vcpu_op(VCPUOP_up, 1, NULL);
        marker(2);
        print("hypercall vcpu 1 rc %ld\n", rc);
        report_start("hypercall", 1);
    }
    if (vcpu_exists(2)) {
        marker(1);
        apic_enable();
        init_sipi_sipi(2);
        marker(2);
        report_start("apic", 2);
    }
}
