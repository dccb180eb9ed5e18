/* What can be done with a PV vCPU that has no place for its vcpu_info: it cannot be initialised, so it never runs, but events
 * and registers can be aimed at it. Then, with a place, what becomes of them. */
#include "../../lib/vcpu.h"

#define VCPUOP_send_nmi 11
#define VCPUOP_register_runstate_memory_area 5
#define VCPUOP_get_runstate_info 4
#define PER_WORD (8 * sizeof(long))

const char guest_name[] = "dummy";

struct runstate {
    int state;
    uint64_t entry_time, time[4];
};

void ap_main(unsigned vcpu) {
    (void)vcpu;
    wait_for_ever();
}

static int pending(uint32_t port) {
    return shared_info->evtchn_pending[port / PER_WORD] >> port % PER_WORD & 1;
}

/* rc is that of the call that came before. */
static void told(const char *when, unsigned vcpu, const char *what, long rc) {
    print("%s vcpu %u %s %ld is_up %ld\n", when, vcpu, what, rc, vcpu_op(VCPUOP_is_up, vcpu, NULL));
}

static const char *said(int yes) {
    return yes ? "yes" : "no";
}

static uint32_t bind_ipi(unsigned vcpu, long *rc) {
    struct evtchn_bind_ipi bind = {.vcpu = vcpu};
    *rc = hypercall2(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, &bind);
    return bind.port;
}

static void events(const char *when, unsigned vcpu) {
    long bound;
    uint32_t port = bind_ipi(vcpu, &bound);
    struct evtchn_send send = {port};
    struct evtchn_unmask unmask = {port};
    long sent = hypercall2(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send);
    print("%s vcpu %u bind-ipi %ld send %ld pending %s", when, vcpu, bound, sent, said(pending(port)));
    print(" unmask %ld\n", hypercall2(__HYPERVISOR_event_channel_op, EVTCHNOP_unmask, &unmask));
}

static void states(const char *when, unsigned vcpu) {
    static struct runstate area;
    struct runstate info = {0};
    void *place = &area;
    struct vcpu_set_singleshot_timer timer = {0};
    long got = vcpu_op(VCPUOP_get_runstate_info, vcpu, &info);
    print("%s vcpu %u runstate %ld state %d", when, vcpu, got, info.state);
    print(" area %ld", vcpu_op(VCPUOP_register_runstate_memory_area, vcpu, &place));
    print(" singleshot %ld\n", vcpu_op(VCPUOP_set_singleshot_timer, vcpu, &timer));
}

void guest_main(void) {
    unsigned vcpu = 33;
    time_setup();
    if (!vcpu_exists(vcpu)) {
        print("Needs at least 34 vCPUs.\n");
        return;
    }
    told("unregistered", vcpu, "initialise", initialise(vcpu));
    told("unregistered", vcpu, "up", vcpu_op(VCPUOP_up, vcpu, NULL));
    events("unregistered", vcpu);
    states("unregistered", vcpu);
    told("unregistered", vcpu, "nmi", vcpu_op(VCPUOP_send_nmi, vcpu, NULL));
    told("unregistered", vcpu, "nmi-with-argument", vcpu_op(VCPUOP_send_nmi, vcpu, &vcpu));
    told("registered", vcpu, "rc", register_vcpu_info(vcpu));
    told("registered", vcpu, "initialise", initialise(vcpu));
    events("registered", vcpu);
    states("registered", vcpu);
    told("registered", vcpu, "up", vcpu_op(VCPUOP_up, vcpu, NULL));
    print("registered vcpu %u ran %s\n", vcpu, said(wait_for(&ap_started[vcpu], 1)));
    told("registered", vcpu, "down", vcpu_op(VCPUOP_down, vcpu, NULL));
    states("down", vcpu);
}
