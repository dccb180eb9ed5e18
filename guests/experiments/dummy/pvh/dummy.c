/* vCPUs that have no vcpu_info: those from 32 on whose guest registered none. What reaches them, and what of the hypervisor's
 * work for them goes nowhere. The command line names the steps, in their order; without one it is "receive crowd stray".
 *
 *   run       vCPU 33 runs a few instructions and goes down
 *   hlt       … waits in HLT for an interrupt of the local APIC
 *   block     … waits in SCHEDOP_block for one
 *   send      an event is sent to vCPU 33, which is down
 *   unmask    an event that came while its port was masked is unmasked
 *   timer     vCPU 33 sets its singleshot timer, with VIRQ_TIMER bound, and goes down
 *   spiv      vCPU 33 has an upcall vector and enables its local APIC
 *   vector    a callback vector is set for the domain, and vCPU 33 runs
 *   receive   what vCPUs 1, 33 and 40 receive, and 40 again when it has registered its vcpu_info
 *   crowd     every vCPU from 42 on wakes five times
 *   stray     with a callback vector, what vCPU 41 sees that nobody sent anything
 */
#include "../../lib/vcpu.h"

#define HVM_CALLBACK_VECTOR (2ull << 56)
#define STORM 1000

const char guest_name[] = "dummy";

enum work { NOTHING, DIE, TIMER_AND_DIE, HALT, BLOCK, SINGLESHOT, APIC_TIMER, POLL, REGISTER, CROWD, STRAY };

static volatile uint32_t work[MAX_VCPUS], ready[MAX_VCPUS], done[MAX_VCPUS];
static volatile uint32_t count[VECTORS_END][MAX_VCPUS];
static volatile uint32_t events[MAX_VCPUS];
static struct vcpu_info *volatile info[MAX_VCPUS];
static volatile long result[MAX_VCPUS];
/* vCPU that a port was bound to, 0 for those of others, such as the console's. */
static uint8_t owner[256];
static uint32_t poll_port;
static uint64_t deadline;

static void bit_clear(unsigned long *word, unsigned bit) {
    asm volatile("lock btr %1, %0" : "+m"(*word) : "r"((unsigned long)bit) : "memory");
}
static void bit_set(unsigned long *word, unsigned bit) {
    asm volatile("lock bts %1, %0" : "+m"(*word) : "r"((unsigned long)bit) : "memory");
}
#define PER_WORD (sizeof(long) * 8)

/* Looks for events as the interface prescribes, which takes a vcpu_info. */
static void take_events(unsigned vcpu) {
    struct vcpu_info *mine = info[vcpu];
    if (!mine)
        return;
    *(volatile uint8_t *)&mine->evtchn_upcall_pending = 0;
    barrier();
    unsigned long selector = __atomic_exchange_n(&mine->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
    for (unsigned word = 0; word < PER_WORD; word++) {
        if (!(selector >> word & 1))
            continue;
        unsigned long bits = *(volatile unsigned long *)&shared_info->evtchn_pending[word] & ~shared_info->evtchn_mask[word];
        for (unsigned bit = 0; bit < PER_WORD; bit++)
            if (bits >> bit & 1 && owner[word * PER_WORD + bit] == vcpu) {
                bit_clear(&shared_info->evtchn_pending[word], bit);
                events[vcpu]++;
            }
    }
}

void interrupt(unsigned vector) {
    unsigned vcpu = apic_id() / 2;
    count[vector][vcpu]++;
    if (vector == VECTOR_UPCALL || vector == VECTOR_CALLBACK)
        take_events(vcpu);
    if (vector != VECTOR_CALLBACK)
        wrmsr(X2APIC_EOI, 0);
    else if (count[vector][vcpu] >= STORM)
        vcpu_op(VCPUOP_down, vcpu, NULL); /* nothing this vCPU can write would end it */
}

static void apic_timer(unsigned milliseconds) {
    wrmsr(X2APIC_TDCR, 0xb); /* undivided */
    wrmsr(X2APIC_LVTT, VECTOR_APIC_TIMER);
    wrmsr(X2APIC_TMICT, milliseconds * 100000u); /* Xen's bus has 100 MHz */
}

static long set_singleshot(unsigned vcpu) {
    struct vcpu_set_singleshot_timer timer = {.timeout_abs_ns = deadline};
    return vcpu_op(VCPUOP_set_singleshot_timer, vcpu, &timer);
}

static long register_info(unsigned vcpu) {
    static unsigned char page[4096] __attribute__((aligned(4096)));
    struct vcpu_register_vcpu_info where = {.mfn = (unsigned long)page >> 12};
    info[vcpu] = (struct vcpu_info *)page;
    return vcpu_op(VCPUOP_register_vcpu_info, vcpu, &where);
}

static long poll_for_event(void) {
    struct sched_poll poll = {.ports = &poll_port, .nr_ports = 1};
    return hypercall2(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll);
}

/* Interrupts are off while work is looked for, so that none comes between looking and HLT. */
static void perform(unsigned vcpu, uint32_t what) {
    switch (what) {
    case HALT:
        asm volatile("sti; hlt; cli");
        break;
    case BLOCK:
        asm volatile("sti");
        hypercall2(__HYPERVISOR_sched_op, SCHEDOP_block, 0);
        asm volatile("cli");
        break;
    case SINGLESHOT:
        result[vcpu] = set_singleshot(vcpu);
        break;
    case APIC_TIMER:
        apic_timer(1);
        break;
    case POLL:
        result[vcpu] = poll_for_event();
        break;
    case REGISTER:
        result[vcpu] = register_info(vcpu);
        break;
    case CROWD:
        for (uint32_t before = count[VECTOR_APIC_TIMER][vcpu], i = 1; i <= 5; i++) {
            apic_timer(1);
            while (count[VECTOR_APIC_TIMER][vcpu] < before + i)
                asm volatile("sti; hlt; cli");
        }
        break;
    case STRAY:
        asm volatile("sti; nop; nop; cli");
        break;
    }
}

void ap_main(unsigned vcpu) {
    interrupts_load();
    if (work[vcpu] != DIE && work[vcpu] != TIMER_AND_DIE)
        apic_enable();
    ready[vcpu]++;
    for (;;) {
        uint32_t what = work[vcpu];
        work[vcpu] = NOTHING;
        if (what == TIMER_AND_DIE)
            result[vcpu] = set_singleshot(vcpu);
        if (what == DIE || what == TIMER_AND_DIE)
            break;
        if (what == NOTHING)
            asm volatile("sti; hlt; cli");
        else {
            perform(vcpu, what);
            done[vcpu]++;
        }
    }
    asm volatile("cli");
    done[vcpu]++;
    vcpu_op(VCPUOP_down, vcpu, NULL);
}

static int start(unsigned vcpu, enum work first) {
    uint32_t before = ready[vcpu];
    work[vcpu] = first;
    init_sipi_sipi(vcpu);
    return wait_for(&ready[vcpu], before + 1);
}

/* Hands work to a vCPU that waits, and waits until it is done. */
static int command(unsigned vcpu, enum work what) {
    uint32_t before = done[vcpu];
    work[vcpu] = what;
    apic_send(vcpu, ICR_FIXED | VECTOR_WAKE);
    return wait_for(&done[vcpu], before + 1);
}

static uint32_t bind_ipi(unsigned vcpu) {
    struct evtchn_bind_ipi bind = {.vcpu = vcpu};
    hypercall2(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, &bind);
    owner[bind.port & 255] = vcpu;
    return bind.port;
}

static uint32_t bind_timer(unsigned vcpu) {
    struct evtchn_bind_virq bind = {.virq = VIRQ_TIMER, .vcpu = vcpu};
    hypercall2(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &bind);
    owner[bind.port & 255] = vcpu;
    return bind.port;
}

static long send(uint32_t port) {
    struct evtchn_send send = {port};
    return hypercall2(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send);
}

static long unmask(uint32_t port) {
    struct evtchn_unmask unmask = {port};
    return hypercall2(__HYPERVISOR_event_channel_op, EVTCHNOP_unmask, &unmask);
}

static long set_upcall_vector(unsigned vcpu, uint8_t vector) {
    struct xen_hvm_evtchn_upcall_vector upcall = {vcpu, vector};
    return hypercall2(__HYPERVISOR_hvm_op, HVMOP_set_evtchn_upcall_vector, &upcall);
}

static int pending(uint32_t port) {
    return ((volatile unsigned long *)shared_info->evtchn_pending)[port / PER_WORD] >> port % PER_WORD & 1;
}

/* One line: how many upcalls something caused on a vCPU, how many events it could find, and whether the port still waits. */
static void told(const char *what, unsigned vcpu, uint32_t port, uint32_t upcalls_before, uint32_t events_before) {
    wait_for(&count[VECTOR_UPCALL][vcpu], upcalls_before + 1);
    sleep_ms(2);
    print("receive vcpu %u %s upcalls %u events %u", vcpu, what, count[VECTOR_UPCALL][vcpu] - upcalls_before,
          events[vcpu] - events_before);
    print(port ? " port-pending %s\n" : "\n", pending(port) ? "yes" : "no");
}

static void send_and_tell(const char *what, unsigned vcpu, uint32_t port) {
    uint32_t upcalls = count[VECTOR_UPCALL][vcpu], found = events[vcpu];
    bit_clear(&shared_info->evtchn_pending[port / PER_WORD], port % PER_WORD);
    send(port);
    told(what, vcpu, port, upcalls, found);
}

static void receive(unsigned vcpu) {
    static struct vcpu_time_info clock[MAX_VCPUS] __attribute__((aligned(64)));
    if (!start(vcpu, NOTHING)) {
        print("receive vcpu %u did-not-start\n", vcpu);
        return;
    }
    apic_send(vcpu, ICR_FIXED | VECTOR_TEST);
    print("receive vcpu %u apic-ipi %s\n", vcpu, wait_for(&count[VECTOR_TEST][vcpu], 1) ? "yes" : "no");
    command(vcpu, APIC_TIMER);
    print("receive vcpu %u apic-timer %s\n", vcpu, wait_for(&count[VECTOR_APIC_TIMER][vcpu], 1) ? "yes" : "no");

    uint64_t address = (unsigned long)&clock[vcpu];
    long rc = vcpu_op(VCPUOP_register_vcpu_time_memory_area, vcpu, &address);
    command(vcpu, HALT); /* two stays on the processor */
    print("receive vcpu %u time-area rc %ld clock %s\n", vcpu, rc, clock[vcpu].system_time ? "yes" : "no");

    /* Masked: it is polled for, and no upcall shall come. */
    poll_port = bind_ipi(vcpu);
    bit_set(&shared_info->evtchn_mask[poll_port / PER_WORD], poll_port % PER_WORD);
    uint32_t before = done[vcpu];
    work[vcpu] = POLL;
    apic_send(vcpu, ICR_FIXED | VECTOR_WAKE);
    sleep_ms(5);
    send(poll_port);
    print("receive vcpu %u poll %s\n", vcpu, wait_for(&done[vcpu], before + 1) ? "yes" : "no");

    uint32_t upcalls = count[VECTOR_UPCALL][vcpu], found = events[vcpu];
    print("receive vcpu %u set-upcall-vector rc %ld\n", vcpu, set_upcall_vector(vcpu, VECTOR_UPCALL));
    told("upcall-vector", vcpu, 0, upcalls, found);
    uint32_t port = bind_ipi(vcpu);
    send_and_tell("event", vcpu, port);
    send_and_tell("event-again", vcpu, port);

    uint32_t timer = bind_timer(vcpu);
    upcalls = count[VECTOR_UPCALL][vcpu];
    found = events[vcpu];
    deadline = system_time() + 2000000;
    command(vcpu, SINGLESHOT);
    told("xen-timer", vcpu, timer, upcalls, found);
    print("receive vcpu %u set-singleshot-timer rc %ld\n", vcpu, result[vcpu]);
    if (vcpu != 40)
        return;
    upcalls = count[VECTOR_UPCALL][vcpu];
    found = events[vcpu];
    command(vcpu, REGISTER);
    print("receive vcpu %u register-vcpu-info rc %ld\n", vcpu, result[vcpu]);
    told("registered", vcpu, 0, upcalls, found);
    send_and_tell("registered-event", vcpu, port);
    send_and_tell("registered-event-again", vcpu, port);
}

static void receive_step(void) {
    info[1] = &shared_info->vcpu_info[1];
    receive(1);
    receive(33);
    receive(40);
}

static void stray_step(void) {
    long rc = hvm_set_param(HVM_PARAM_CALLBACK_IRQ, HVM_CALLBACK_VECTOR | VECTOR_CALLBACK);
    uint32_t port = bind_ipi(33);
    send(port);
    int ran = start(41, STRAY);
    wait_for(&count[VECTOR_CALLBACK][41], STORM);
    uint32_t upcalls = count[VECTOR_CALLBACK][41];
    print("stray vcpu 41 callback-vector rc %ld started %s upcalls %s\n", rc, ran ? "yes" : "no",
          upcalls >= STORM ? "without-end" : upcalls ? "some" : "none");
    hvm_set_param(HVM_PARAM_CALLBACK_IRQ, 0);
}

static void crowd_step(void) {
    unsigned vcpus = 0, woken = 0;
    for (unsigned vcpu = 42; vcpu < MAX_VCPUS && vcpu_exists(vcpu); vcpu++, vcpus++)
        start(vcpu, CROWD);
    for (unsigned vcpu = 42; vcpu < 42 + vcpus; vcpu++) {
        wait_for(&done[vcpu], 1);
        woken += count[VECTOR_APIC_TIMER][vcpu];
        vcpu_op(VCPUOP_down, vcpu, NULL);
    }
    print("crowd vcpus %u wakeups %u\n", vcpus, woken);
}

static const char *said(int yes) {
    return yes ? "yes" : "no";
}

static void run_step(void) {
    print("run vcpu 33 ran %s\n", said(start(33, DIE)));
}

static void wait_step(const char *name, enum work what) {
    uint32_t before = done[33];
    start(33, what);
    /* It may come before vCPU 33 waits: once more, then. */
    for (int i = 0; i < 50 && done[33] == before; i++) {
        sleep_ms(2);
        apic_send(33, ICR_FIXED | VECTOR_WAKE);
    }
    int woken = wait_for(&done[33], before + 1);
    print("%s vcpu 33 woken %s\n", name, said(woken));
    vcpu_op(VCPUOP_down, 33, NULL);
}

static void send_step(void) {
    uint32_t port = bind_ipi(33);
    long rc = send(port);
    print("send vcpu 33 rc %ld port-pending %s\n", rc, said(pending(port)));
}

static void unmask_step(void) {
    uint32_t port = bind_ipi(33);
    bit_set(&shared_info->evtchn_mask[port / PER_WORD], port % PER_WORD);
    send(port);
    long rc = unmask(port);
    print("unmask vcpu 33 rc %ld port-pending %s\n", rc, said(pending(port)));
}

static void timer_step(void) {
    uint32_t port = bind_timer(33);
    deadline = system_time() + 1000000;
    start(33, TIMER_AND_DIE);
    sleep_ms(5);
    print("timer vcpu 33 rc %ld port-pending %s\n", result[33], said(pending(port)));
}

static void spiv_step(void) {
    long rc = set_upcall_vector(33, VECTOR_UPCALL);
    print("spiv vcpu 33 rc %ld started %s\n", rc, said(start(33, NOTHING)));
    vcpu_op(VCPUOP_down, 33, NULL);
}

static void vector_step(void) {
    long rc = hvm_set_param(HVM_PARAM_CALLBACK_IRQ, HVM_CALLBACK_VECTOR | VECTOR_CALLBACK);
    print("vector vcpu 33 rc %ld started %s\n", rc, said(start(33, DIE)));
    hvm_set_param(HVM_PARAM_CALLBACK_IRQ, 0);
}

static int next_word(const char **at, char *word, unsigned size) {
    unsigned n = 0;
    while (**at == ' ')
        (*at)++;
    for (; **at && **at != ' '; (*at)++)
        if (n < size - 1)
            word[n++] = **at;
    word[n] = 0;
    return n > 0;
}

static int is(const char *word, const char *name) {
    return strlen(word) == strlen(name) && memcmp(word, name, strlen(name)) == 0;
}

static void step(const char *word) {
    if (is(word, "run"))
        run_step();
    else if (is(word, "hlt"))
        wait_step(word, HALT);
    else if (is(word, "block"))
        wait_step(word, BLOCK);
    else if (is(word, "send"))
        send_step();
    else if (is(word, "unmask"))
        unmask_step();
    else if (is(word, "timer"))
        timer_step();
    else if (is(word, "spiv"))
        spiv_step();
    else if (is(word, "vector"))
        vector_step();
    else if (is(word, "receive"))
        receive_step();
    else if (is(word, "stray"))
        stray_step();
    else if (is(word, "crowd"))
        crowd_step();
    else
        print("there is no step %s\n", word);
}

void guest_main(void) {
    const char *steps = command_line();
    char word[16];
    while (*steps == ' ')
        steps++;
    if (!*steps)
        steps = "receive crowd stray";
    if (!vcpu_exists(42)) {
        print("Needs at least 43 vCPUs.\n");
        return;
    }
    time_setup();
    interrupts_setup();
    apic_enable();
    while (next_word(&steps, word, sizeof(word)))
        step(word);
}
