/* The console: console_io where Xen allows it (the first domain, verbose builds), else the shared ring. */
#include "runtime.h"

static int direct = 1;
static volatile struct xencons_interface *ring;
static uint32_t ring_port;

void console_setup(void) {
    struct console found = console_find();
    ring = found.ring;
    ring_port = found.port;
}

static void notify(void) {
    struct evtchn_send send = {ring_port};
    hypercall2(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send);
}

static void ring_write(const char *text, size_t length) {
    uint32_t prod = ring->out_prod;
    while (length) {
        uint32_t room = sizeof(ring->out) - (prod - ring->out_cons);
        if (room == 0) {
            notify();
            hypercall2(__HYPERVISOR_sched_op, SCHEDOP_yield, 0);
            continue;
        }
        for (; room && length; room--, length--)
            ring->out[prod++ & (sizeof(ring->out) - 1)] = *text++;
        barrier(); /* the characters before the index that announces them */
        ring->out_prod = prod;
    }
    notify();
}

void console_write(const char *text, size_t length) {
    if (direct && hypercall3(__HYPERVISOR_console_io, CONSOLEIO_write, length, text) >= 0)
        return;
    direct = 0;
    if (ring)
        ring_write(text, length);
}

/* Returns when the other end has read everything, so that nothing is lost at power off. */
void console_drain(void) {
    while (!direct && ring && ring->out_cons != ring->out_prod)
        hypercall2(__HYPERVISOR_sched_op, SCHEDOP_yield, 0);
}
