/* The processor side of a PV guest by what happens: which instructions trap and how, callbacks, masks, debug registers, timers. One line each,
 * and nothing in it depends on the machine. */
#include "../../lib/vcpu.h"

#define __HYPERVISOR_stack_switch 3
#define __HYPERVISOR_fpu_taskswitch 5
#define __HYPERVISOR_set_debugreg 8
#define __HYPERVISOR_get_debugreg 9
#define __HYPERVISOR_multicall 13
#define __HYPERVISOR_set_timer_op 15
#define __HYPERVISOR_vm_assist 21
#define __HYPERVISOR_set_segment_base 25
#define __HYPERVISOR_nmi_op 28
#define __HYPERVISOR_callback_op 30
#define __HYPERVISOR_physdev_op 33
#define PHYSDEVOP_set_iopl 6
#define VCPUOP_set_periodic_timer 6
#define VCPUOP_stop_periodic_timer 7
#define VCPUOP_send_nmi 11
#ifdef __x86_64__
#define XEN_ADDRESS 0xffff800000000000
#else
#define XEN_ADDRESS 0xf5800000
#endif
#define PER_WORD (8 * sizeof(long))

const char guest_name[] = "traps";

struct frame {
    unsigned long vector, error, ip, cs, flags, sp, ss;
};
extern unsigned char trap_handlers[], trap_80[], event_entry[];
/* Where a trap goes on; 0: behind the instruction, as its address says. */
volatile unsigned long resume;
static volatile struct {
    int count;
    unsigned long vector, error, cs, flags, mask;
} last;
static volatile unsigned upcalls, upcall_mask, nmis;

void ap_main(unsigned vcpu) {
    (void)vcpu;
}

void trap(struct frame *frame) {
    if (frame->vector == 0x100) {
        upcalls++;
        upcall_mask = shared_info->vcpu_info[0].evtchn_upcall_mask;
        shared_info->vcpu_info[0].evtchn_upcall_pending = 0;
        unsigned long words = __atomic_exchange_n(&shared_info->vcpu_info[0].evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
        for (unsigned word = 0; word < PER_WORD; word++)
            if (words >> word & 1)
                __atomic_exchange_n(&shared_info->evtchn_pending[word], 0, __ATOMIC_SEQ_CST);
        return;
    }
    if (frame->vector == 2) {
        nmis++;
        return;
    }
    last.count++;
    last.vector = frame->vector;
    last.error = frame->error;
    last.cs = frame->cs & 0xffff;
    last.flags = frame->flags;
    last.mask = shared_info->vcpu_info[0].evtchn_upcall_mask;
    if (resume)
        frame->ip = resume;
}

/* Runs instructions, which may use ax, cx and dx; a trap in them ends them. */
#ifdef __x86_64__
#define AX "rax"
#define TRY(name, code, ...) do { \
    last.count = 0; \
    asm volatile("movq $1f, resume\n\t" code "\n1:" : : __VA_ARGS__ : "rax", "rcx", "rdx", "memory", "cc"); \
    resume = 0; \
    outcome(name); \
} while (0)
#else
#define AX "eax"
#define TRY(name, code, ...) do { \
    last.count = 0; \
    asm volatile("movl $1f, resume\n\t" code "\n1:" : : __VA_ARGS__ : "eax", "ecx", "edx", "memory", "cc"); \
    resume = 0; \
    outcome(name); \
} while (0)
#endif

static void outcome(const char *name) {
    if (!last.count)
        print("%s: nothing\n", name);
    else
        print("%s: vector %lu error 0x%lx cs 0x%lx mask %lu\n", name, last.vector, last.error, last.cs, last.mask);
}
/* For INT n, whose error code an emulator that real Xen runs on gets wrong. */
static void vector_only(const char *name) {
    if (!last.count)
        print("%s: nothing\n", name);
    else
        print("%s: vector %lu\n", name, last.vector);
}
static void told(const char *what, long rc) {
    print("%s: %ld\n", what, rc);
}

static void set_traps(unsigned flags_of_3) {
    static struct trap_info table[34];
    for (int vector = 0; vector < 32; vector++)
        table[vector] = (struct trap_info){.vector = vector, .flags = vector == 3 ? flags_of_3 : vector == 0 ? 4 : 0,
                                           .cs = FLAT_KERNEL_CS,
                                           .address = (unsigned long)trap_handlers + vector * 16};
    table[32] = (struct trap_info){.vector = 0x80, .flags = 3, .cs = FLAT_KERNEL_CS, .address = (unsigned long)trap_80};
    table[32].address = flags_of_3 ? (unsigned long)trap_80 : 0;
    told("set_trap_table", hypercall1(__HYPERVISOR_set_trap_table, table));
}

static long set_iopl(unsigned iopl) {
    uint32_t arg = iopl;
    return hypercall2(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, &arg);
}

static void exceptions(void) {
    TRY("ud2", "ud2", "i"(0));
    TRY("divide by zero, masks events", "xor %%eax, %%eax; xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx", "i"(0));
    shared_info->vcpu_info[0].evtchn_upcall_mask = 1;
    resume = 0;
    last.count = 0;
    asm volatile("int3");
    vector_only("int3, privilege 0");
    set_traps(3);
    last.count = 0;
    asm volatile("int3");
    vector_only("int3, privilege 3");
    last.count = 0;
    asm volatile("int $0x80");
    vector_only("int 0x80");
    TRY("hlt", "hlt", "i"(0));
    TRY("read from nowhere", "mov (%0), %%ecx", "b"(0x7f000000ul));
    print("cr2 %lx\n", shared_info->vcpu_info[0].arch_cr2);
    TRY("write to nowhere", "mov %%ecx, 4(%0)", "b"(0x7f000000ul));
    print("cr2 %lx\n", shared_info->vcpu_info[0].arch_cr2);
    TRY("write to a page table", "mov %%ecx, (%0)", "b"(start_info->pt_base));
    TRY("jump to nowhere", "jmp *%0", "b"(0x7f000000ul));
#ifdef __x86_64__
    TRY("read not canonical", "mov (%0), %%ecx", "b"(0x800000000000));
#endif
}

static void privileged(void) {
    TRY("cli", "cli", "i"(0));
    TRY("sti", "sti", "i"(0));
    TRY("out", "out %%al, $0x80", "i"(0));
    told("iopl 4", set_iopl(4));
    told("iopl 1", set_iopl(1));
    TRY("cli, iopl 1", "cli", "i"(0));
    TRY("sti, iopl 1", "sti", "i"(0));
    TRY("out, iopl 1", "out %%al, $0x80", "i"(0));
    told("iopl 0", set_iopl(0));
    TRY("clts", "clts", "i"(0));
    TRY("wbinvd", "wbinvd", "i"(0));
    TRY("invd", "invd", "i"(0));
    TRY("invlpg", "invlpg (%0)", "b"(&last));
    TRY("lgdt", "lgdt (%0)", "b"(&last));
    TRY("lidt", "lidt (%0)", "b"(&last));
    TRY("ltr", "ltr %%ax", "i"(0));
    TRY("lldt", "lldt %%ax", "i"(0));
    TRY("mov from cr0", "mov %%cr0, %%" AX, "i"(0));
    TRY("mov from cr2", "mov %%cr2, %%" AX, "i"(0));
    TRY("mov from cr4", "mov %%cr4, %%" AX, "i"(0));
    TRY("mov from dr7", "mov %%dr7, %%" AX, "i"(0));
    TRY("lmsw", "lmsw %%ax", "i"(0));
    TRY("rdmsr of none", "mov %0, %%ecx; rdmsr", "i"(0x12345));
    TRY("wrmsr of none", "mov %0, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; wrmsr", "i"(0x12345));
    TRY("rdmsr EFER", "mov %0, %%ecx; rdmsr", "i"(0xc0000080));
    TRY("rdpmc", "xor %%ecx, %%ecx; rdpmc", "i"(0));
    TRY("rdtsc", "rdtsc", "i"(0));
    TRY("a null data segment", "xor %%eax, %%eax; mov %%eax, %%es", "i"(0));
    TRY("a data segment beyond the table", "mov $0x17, %%eax; mov %%eax, %%es", "i"(0));
    TRY("a data segment of Xen", "mov $0xe008, %%eax; mov %%eax, %%es", "i"(0));
    TRY("the flat data segment", "mov %0, %%eax; mov %%eax, %%es", "i"(FLAT_KERNEL_SS));
    unsigned long cr3, root = machine_frame((void *)start_info->pt_base);
    asm volatile("mov %%cr3, %0" : "=r"(cr3));
    print("cr3 %s\n", cr3 == (sizeof(long) == 8 ? root << 12 : (root << 12 | root >> 20)) ? "is the root" : "is something else");
}

static void floating_point(void) {
    told("fpu_taskswitch on", hypercall1(__HYPERVISOR_fpu_taskswitch, 1));
    TRY("fnop with TS", "fnop", "i"(0));
    told("fpu_taskswitch off", hypercall1(__HYPERVISOR_fpu_taskswitch, 0));
    TRY("fnop", "fnop", "i"(0));
}

static void segments(void) {
#ifdef __x86_64__
    told("segment base fs", hypercall2(__HYPERVISOR_set_segment_base, 0, 0x1234000));
    told("segment base fs, not canonical", hypercall2(__HYPERVISOR_set_segment_base, 0, 1ul << 63));
    told("segment base gs user", hypercall2(__HYPERVISOR_set_segment_base, 1, 0x1234000));
    told("segment base gs kernel", hypercall2(__HYPERVISOR_set_segment_base, 2, 0));
    told("segment base gs selector", hypercall2(__HYPERVISOR_set_segment_base, 3, 0));
    told("segment base gs selector, bad", hypercall2(__HYPERVISOR_set_segment_base, 3, 0xffff));
#endif
    told("segment base 4", hypercall2(__HYPERVISOR_set_segment_base, 4, 0));
    told("stack_switch", hypercall2(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, (unsigned long)&last));
    told("stack_switch, odd selector", hypercall2(__HYPERVISOR_stack_switch, 0, 0));
}

static void debug_registers(void) {
    for (unsigned i = 0; i < 9; i++)
        print("debugreg %u: set 0 %ld, set Xen's %ld, get %lx\n", i, hypercall2(__HYPERVISOR_set_debugreg, i, 0),
              hypercall2(__HYPERVISOR_set_debugreg, i, XEN_ADDRESS), hypercall1(__HYPERVISOR_get_debugreg, i));
    told("dr7 with GD", hypercall2(__HYPERVISOR_set_debugreg, 7, 0x2400));
    told("dr7 I/O", hypercall2(__HYPERVISOR_set_debugreg, 7, 0x20402));
    told("dr7 write", hypercall2(__HYPERVISOR_set_debugreg, 7, 0x10402));
    print("dr7 %lx\n", hypercall1(__HYPERVISOR_get_debugreg, 7));
    static volatile unsigned watched;
    hypercall2(__HYPERVISOR_set_debugreg, 6, 0);
    told("dr0", hypercall2(__HYPERVISOR_set_debugreg, 0, (unsigned long)&watched));
    told("dr7 write of 4", hypercall2(__HYPERVISOR_set_debugreg, 7, 0xd0402));
    resume = 0;
    last.count = 0;
    watched = 1;
    outcome("a watched write");
    print("dr6 %lx\n", hypercall1(__HYPERVISOR_get_debugreg, 6));
    told("dr7 none", hypercall2(__HYPERVISOR_set_debugreg, 7, 0x400));
}

struct callback_register {
    uint16_t type, flags;
#ifdef __x86_64__
    unsigned long address;
#else
    uint16_t cs, pad;
    unsigned long eip;
#endif
};
static long callback(unsigned type, unsigned flags, unsigned long address) {
#ifdef __x86_64__
    struct callback_register r = {type, flags, address};
#else
    struct callback_register r = {type, flags, FLAT_KERNEL_CS, 0, address};
#endif
    return hypercall2(__HYPERVISOR_callback_op, 0, &r);
}
static long uncallback(unsigned type) {
    struct {
        uint16_t type, unused;
    } r = {type, 0};
    return hypercall2(__HYPERVISOR_callback_op, 1, &r);
}

static void callbacks(void) {
    told("callback event", callback(0, 0, (unsigned long)event_entry));
    told("callback failsafe", callback(1, 1, (unsigned long)trap_80));
    told("callback unknown", callback(9, 0, (unsigned long)event_entry));
    told("callback 3", callback(3, 0, (unsigned long)event_entry));
#ifdef __x86_64__
    told("callback syscall", callback(2, 0, (unsigned long)trap_80));
    told("callback not canonical", callback(0, 0, 1ul << 63));
#endif
    told("uncallback event", uncallback(0));
    told("uncallback nmi", uncallback(4));
    told("uncallback unknown", uncallback(9));
    told("callback_op 2", hypercall2(__HYPERVISOR_callback_op, 2, &last));
    told("callback_op where Xen is", hypercall2(__HYPERVISOR_callback_op, 0, XEN_ADDRESS));
    told("nmi_op register", hypercall2(__HYPERVISOR_nmi_op, 0, &((unsigned long[2]){(unsigned long)trap_handlers + 32, 0})));
    told("send_nmi", vcpu_op(VCPUOP_send_nmi, 0, NULL));
    print("nmis %u\n", nmis);
    told("nmi_op unregister", hypercall2(__HYPERVISOR_nmi_op, 1, NULL));
    told("nmi_op unknown", hypercall2(__HYPERVISOR_nmi_op, 2, NULL));
}

static long event_op(unsigned op, const void *arg) {
    return hypercall2(__HYPERVISOR_event_channel_op, op, arg);
}

static void mask(void) {
    shared_info->vcpu_info[0].evtchn_upcall_mask = 1;
    asm volatile("" ::: "memory");
}

static void mask_port(uint32_t port) {
    shared_info->evtchn_mask[port / PER_WORD] |= 1ul << port % PER_WORD;
}

static void events(void) {
    if (!(start_info->flags & SIF_INITDOMAIN)) {
        mask_port(start_info->console_evtchn);
        mask_port(start_info->store_evtchn);
    }
    struct evtchn_bind_ipi bind = {.vcpu = 0};
    told("bind_ipi", event_op(EVTCHNOP_bind_ipi, &bind));
    struct evtchn_send send = {bind.port};
    mask();
    upcalls = 0;
    told("send, masked", event_op(EVTCHNOP_send, &send));
    print("upcalls %u pending %u\n", upcalls, shared_info->vcpu_info[0].evtchn_upcall_pending);
    shared_info->vcpu_info[0].evtchn_upcall_mask = 0;
    asm volatile("" ::: "memory");
    hypercall2(__HYPERVISOR_xen_version, XENVER_version, 0); /* upcalls come on the way back from Xen */
    print("upcalls %u mask then %u, now %u\n", upcalls, upcall_mask, shared_info->vcpu_info[0].evtchn_upcall_mask);
    told("send", event_op(EVTCHNOP_send, &send));
    print("upcalls %u\n", upcalls);
    mask_port(bind.port);
    told("send, port masked", event_op(EVTCHNOP_send, &send));
    print("upcalls %u\n", upcalls);
    told("unmask", event_op(EVTCHNOP_unmask, &send));
    print("upcalls %u\n", upcalls);
    struct evtchn_bind_virq timer = {.virq = VIRQ_TIMER, .vcpu = 0};
    told("bind timer", event_op(EVTCHNOP_bind_virq, &timer));
    told("bind timer again", event_op(EVTCHNOP_bind_virq, &timer));
    told("stop periodic", vcpu_op(VCPUOP_stop_periodic_timer, 0, NULL));
    long armed, blocked;
    upcalls = 0;
    mask();
    armed = hypercall1(__HYPERVISOR_set_timer_op, 1);
    blocked = hypercall2(__HYPERVISOR_sched_op, SCHEDOP_block, 0);
    print("set_timer_op %ld block %ld upcalls %u\n", armed, blocked, upcalls);
    mask();
    struct vcpu_set_singleshot_timer single = {.timeout_abs_ns = system_time() + 1000000};
    armed = vcpu_op(VCPUOP_set_singleshot_timer, 0, &single);
    blocked = hypercall2(__HYPERVISOR_sched_op, SCHEDOP_block, 0);
    print("singleshot %ld block %ld upcalls %u in time %u\n", armed, blocked, upcalls,
          system_time() >= single.timeout_abs_ns);
    uint64_t period = 999999;
    told("periodic, too short", vcpu_op(VCPUOP_set_periodic_timer, 0, &period));
    period = 1000000;
    upcalls = 0;
    mask();
    armed = vcpu_op(VCPUOP_set_periodic_timer, 0, &period);
    shared_info->vcpu_info[0].evtchn_upcall_mask = 0;
    for (int i = 0; i < 1000000 && upcalls < 3; i++) /* a blocked vCPU gets no ticks */
        hypercall2(__HYPERVISOR_sched_op, SCHEDOP_yield, 0);
    print("periodic %ld ticks %u\n", armed, upcalls >= 3);
    told("stop periodic", vcpu_op(VCPUOP_stop_periodic_timer, 0, NULL));
    shared_info->vcpu_info[0].evtchn_upcall_mask = 1;
}

struct multicall {
    unsigned long op, result, args[6];
};
static void calls(void) {
    static struct multicall list[4];
    list[0] = (struct multicall){.op = __HYPERVISOR_xen_version, .args = {7}};
    list[1] = (struct multicall){.op = __HYPERVISOR_multicall, .args = {(unsigned long)list, 1}};
    list[2] = (struct multicall){.op = 1000};
    list[3] = (struct multicall){.op = __HYPERVISOR_sched_op, .args = {SCHEDOP_yield}};
    told("multicall", hypercall2(__HYPERVISOR_multicall, list, 4));
    for (int i = 0; i < 4; i++)
        print("multicall %d: %ld\n", i, (long)list[i].result);
    told("multicall where Xen is", hypercall2(__HYPERVISOR_multicall, XEN_ADDRESS, 1));
    told("multicall of nothing", hypercall2(__HYPERVISOR_multicall, NULL, 0));
    for (unsigned type = 0; type < 7; type++)
        print("vm_assist %u: enable %ld disable %ld\n", type, hypercall2(__HYPERVISOR_vm_assist, 0, type),
              hypercall2(__HYPERVISOR_vm_assist, 1, type));
    told("vm_assist 32", hypercall2(__HYPERVISOR_vm_assist, 0, 32));
    told("vm_assist 33", hypercall2(__HYPERVISOR_vm_assist, 0, 33));
    told("vm_assist command 2", hypercall2(__HYPERVISOR_vm_assist, 2, 0));
    told("set_trap_table where Xen is", hypercall1(__HYPERVISOR_set_trap_table, XEN_ADDRESS));
    told("physdev_op unknown", hypercall2(__HYPERVISOR_physdev_op, 99, &last));
    told("no such hypercall", hypercall2(60, 0, 0));
}

void guest_main(void) {
    time_setup();
    set_traps(0);
    exceptions();
    privileged();
    floating_point();
    segments();
    debug_registers();
    callbacks();
    events();
    calls();
}
