/* Starts vCPUs of a PV guest: first those whose vcpu_info nobody registered, then the same with one. Ids below 32 have a place
 * in shared_info from the start; VCPUOP_initialise refuses the others. One line per vCPU and step; rc are results of hypercalls. */
#include "../../lib/vcpu.h"

const char guest_name[] = "vcpuinit";

void ap_main(unsigned vcpu) {
    (void)vcpu;
    wait_for_ever();
}

static void print_line(const char *step, unsigned vcpu, uint32_t before) {
    int ran = wait_for(&ap_started[vcpu], before + 1);
    long up = vcpu_op(VCPUOP_is_up, vcpu, NULL);
    long down = vcpu_op(VCPUOP_down, vcpu, NULL);
    print("%s vcpu %u ran %s is_up %ld down %ld is_up %ld\n", step, vcpu, ran ? "yes" : "no", up, down,
          vcpu_op(VCPUOP_is_up, vcpu, NULL));
}

static void start(const char *step, unsigned vcpu) {
    uint32_t before = ap_started[vcpu];
    long early = vcpu_op(VCPUOP_up, vcpu, NULL);
    long rc = initialise(vcpu);
    long again = initialise(vcpu);
    long up = vcpu_op(VCPUOP_up, vcpu, NULL);
    print("%s vcpu %u early-up %ld initialise %ld again %ld up %ld\n", step, vcpu, early, rc, again, up);
    print_line(step, vcpu, before);
}

/* Registers, and what becomes of what was there. */
static void register_info(unsigned vcpu) {
    long rc = register_vcpu_info(vcpu);
    long again = register_vcpu_info(vcpu);
    print("registered vcpu %u rc %ld again %ld\n", vcpu, rc, again);
}

/* VGCF_online in the context: the vCPU counts as up, and needs to go down before it can be brought up. */
static void online(unsigned vcpu) {
    uint32_t before = ap_started[vcpu];
    struct vcpu_guest_context *context = context_of(vcpu);
    context->flags |= VGCF_online;
    long rc = vcpu_op(VCPUOP_initialise, vcpu, context);
    long online = vcpu_op(VCPUOP_is_up, vcpu, NULL);
    long up = vcpu_op(VCPUOP_up, vcpu, NULL);
    print("online vcpu %u initialise %ld is_up %ld up %ld\n", vcpu, rc, online, up);
    print_line("online", vcpu, before);
    print("online-again vcpu %u up %ld\n", vcpu, vcpu_op(VCPUOP_up, vcpu, NULL));
    print_line("online-again", vcpu, before);
}

void guest_main(void) {
    static const unsigned vcpus[] = {1, 31, 32, 40, 63, 127, 255};
    time_setup();
    for (unsigned i = 0; i < sizeof(vcpus) / sizeof(vcpus[0]); i++) {
        unsigned vcpu = vcpus[i];
        if (!vcpu_exists(vcpu)) {
            print("absent vcpu %u is_up %ld\n", vcpu, vcpu_op(VCPUOP_is_up, vcpu, NULL));
            continue;
        }
        start("unregistered", vcpu);
        register_info(vcpu);
        if (vcpu >= 32)
            start("registered", vcpu);
    }
    if (vcpu_exists(2))
        online(2);
}
