/* Starts vCPUs whose vcpu_info nobody registered: by VCPUOP_initialise and VCPUOP_up, then, taken down again, by the local
 * APIC. Ids below 32 have a place in shared_info from the start; for the others it depends on the release whether
 * VCPUOP_initialise takes them. One line per vCPU and way; rc are results of hypercalls. */
#include "../../lib/vcpu.h"

const char guest_name[] = "vcpuinit";

/* Waits for ever, and stays up while it does. */
void ap_main(unsigned vcpu) {
    (void)vcpu;
    for (;;)
        asm volatile("sti; hlt");
}

static void print_line(const char *way, unsigned vcpu, uint32_t before) {
    int ran = wait_for(&ap_started[vcpu], before + 1);
    print("%s vcpu %u ran %s", way, vcpu, ran ? "yes" : "no");
    if (ran)
        print(" apic %u", ap_apic_id[vcpu]);
    print(" is_up %ld", vcpu_op(VCPUOP_is_up, vcpu, NULL));
    long down = vcpu_op(VCPUOP_down, vcpu, NULL);
    print(" down %ld is_up %ld\n", down, vcpu_op(VCPUOP_is_up, vcpu, NULL));
}

void guest_main(void) {
    static const unsigned vcpus[] = {1, 31, 32, 40, 63, 127};
    time_setup();
    apic_enable();
    for (unsigned i = 0; i < sizeof(vcpus) / sizeof(vcpus[0]); i++) {
        unsigned vcpu = vcpus[i];
        if (!vcpu_exists(vcpu)) {
            print("absent vcpu %u is_up %ld\n", vcpu, vcpu_op(VCPUOP_is_up, vcpu, NULL));
            continue;
        }
        uint32_t before = ap_started[vcpu];
        long rc = initialise(vcpu);
        long again = initialise(vcpu);
        long up = vcpu_op(VCPUOP_up, vcpu, NULL);
        print("hypercall vcpu %u initialise %ld again %ld up %ld\n", vcpu, rc, again, up);
        print_line("hypercall", vcpu, before);
        before = ap_started[vcpu];
        init_sipi_sipi(vcpu);
        print_line("apic", vcpu, before);
    }
}
