/* Starts one vCPU of a PV guest. Harmless hypercalls mark the steps, so that an observer can count what lies between: marker 1
 * before the first step, marker 2 when the starting vCPU has done its part. The first pair encloses nothing. */
#include "../../lib/vcpu.h"

#define XENVER_pagesize 7

const char guest_name[] = "bringup";

void ap_main(unsigned vcpu) {
    (void)vcpu;
    wait_for_ever();
}

static void marker(unsigned number) {
    hypercall2(__HYPERVISOR_xen_version, XENVER_pagesize, (unsigned long)number);
}

void guest_main(void) {
    time_setup();
    marker(1);
    marker(2);
    if (!vcpu_exists(1))
        return;
    marker(1);
    long rc = initialise(1);
    if (rc == 0)
        rc = vcpu_op(VCPUOP_up, 1, NULL);
    marker(2);
    print("hypercall vcpu 1 rc %ld\n", rc);
    print("hypercall vcpu 1 ran %s\n", wait_for(&ap_started[1], 1) ? "yes" : "no");
}
