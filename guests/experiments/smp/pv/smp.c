/* Starts every vCPU of a PV guest; those without a place for vcpu_info get one first. Each reports the APIC id it sees. */
#include "../../lib/vcpu.h"

const char guest_name[] = "smp";

void ap_main(unsigned vcpu) {
    (void)vcpu;
}

void guest_main(void) {
    unsigned vcpus = 1;
    time_setup();
    while (vcpus < MAX_VCPUS && vcpu_exists(vcpus))
        vcpus++;
    print("vcpus %u\n", vcpus);
    for (unsigned vcpu = 1; vcpu < vcpus; vcpu++) {
        long registered = vcpu >= 32 ? register_vcpu_info(vcpu) : 0;
        long rc = registered ? registered : initialise(vcpu);
        if (rc == 0)
            rc = vcpu_op(VCPUOP_up, vcpu, NULL);
        if (rc)
            print("vcpu %u rc %ld\n", vcpu, rc);
        else if (wait_for(&ap_started[vcpu], 1))
            print("vcpu %u started\n", vcpu);
        else
            print("vcpu %u did not start\n", vcpu);
    }
}
