/* Starts every vCPU by each of the two ways; each reports its APIC id. Those that VCPUOP_initialise refuses are told. */
#include "../../lib/vcpu.h"

const char guest_name[] = "smp";

/* Goes down for good, so that the other way can start it again. */
void ap_main(unsigned vcpu) {
    (void)vcpu;
}

static void report_start(const char *way, unsigned vcpu, uint32_t before) {
    if (wait_for(&ap_started[vcpu], before + 1))
        print("%s vcpu %u apic %u\n", way, vcpu, ap_apic_id[vcpu]);
    else
        print("%s vcpu %u silent\n", way, vcpu);
}

void guest_main(void) {
    unsigned count = 1;
    while (vcpu_exists(count))
        count++;
    print("vcpus %u\n", count);
    time_setup();
    for (unsigned vcpu = 1; vcpu < count; vcpu++) {
        long rc = initialise(vcpu);
        if (rc == 0)
            rc = vcpu_op(VCPUOP_up, vcpu, NULL);
        if (rc)
            print("hypercall vcpu %u rc %ld\n", vcpu, rc);
        else
            report_start("hypercall", vcpu, 0);
    }
    apic_enable();
    for (unsigned vcpu = 1; vcpu < count; vcpu++) {
        uint32_t before = ap_started[vcpu];
        init_sipi_sipi(vcpu);
        report_start("apic", vcpu, before);
    }
}
