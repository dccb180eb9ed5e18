/* System time as Xen tells it to vCPU 0, and waiting without keeping the processor busy. */
#include "vcpu.h"

struct shared_info *shared_info;

void time_setup(void) {
    shared_info = map_shared_info();
}

uint64_t system_time(void) {
    volatile struct vcpu_time_info *time = &shared_info->vcpu_info[0].time;
    for (;;) {
        uint32_t version = time->version;
        barrier();
        uint64_t delta = rdtsc() - time->tsc_timestamp, mul = time->tsc_to_system_mul, now = time->system_time;
        int shift = time->tsc_shift;
        barrier();
        if ((version & 1) || version != time->version)
            continue;
        delta = shift < 0 ? delta >> -shift : delta << shift;
        return now + (delta >> 32) * mul + ((delta & 0xffffffff) * mul >> 32);
    }
}

void sleep_ms(unsigned milliseconds) {
    struct sched_poll poll = {.timeout = system_time() + milliseconds * 1000000ull};
    hypercall2(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll);
}

int wait_for(volatile uint32_t *flag, uint32_t value) {
    for (int i = 0; i < 300 && *flag < value; i++)
        sleep_ms(1);
    return *flag >= value;
}
