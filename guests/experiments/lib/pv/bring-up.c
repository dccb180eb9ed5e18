/* The way to start a vCPU of a PV guest: Xen loads its registers, and paging is that of the caller. */
#include "../vcpu.h"

#define STACK 2048

static unsigned char stacks[MAX_VCPUS][STACK] __attribute__((aligned(16)));
/* Places for vcpu_info: 64 to a page. */
static unsigned char infos[MAX_VCPUS][64] __attribute__((aligned(4096)));
volatile uint32_t ap_started[MAX_VCPUS];
volatile uint32_t ap_apic_id[MAX_VCPUS];

/* entry.S */
extern unsigned char ap_entry[];

void ap_c_entry(unsigned vcpu) {
    ap_apic_id[vcpu] = apic_id();
    ap_started[vcpu]++;
    ap_main(vcpu);
    vcpu_op(VCPUOP_down, vcpu, NULL);
}

/* Polling for nothing, without an end. Blocking would let events in, and there is no handler for them. */
void wait_for_ever(void) {
    struct sched_poll poll = {0};
    for (;;)
        hypercall2(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll);
}

long register_vcpu_info(unsigned vcpu) {
    struct vcpu_register_vcpu_info area = {.mfn = machine_frame(infos[vcpu]),
                                           .offset = (unsigned long)infos[vcpu] & 0xfff};
    return vcpu_op(VCPUOP_register_vcpu_info, vcpu, &area);
}

struct vcpu_guest_context *context_of(unsigned vcpu) {
    static struct vcpu_guest_context context;
    unsigned long stack = (unsigned long)stacks[vcpu] + STACK;
    memset(&context, 0, sizeof(context));
    context.flags = VGCF_in_kernel;
    context.user_regs.cs = FLAT_KERNEL_CS;
    context.user_regs.ss = FLAT_KERNEL_SS;
#ifdef __x86_64__
    context.user_regs.rip = (unsigned long)ap_entry;
    context.user_regs.rsp = stack;
    context.user_regs.rdi = vcpu;
    context.user_regs.rflags = 0x200;
    context.ctrlreg[3] = machine_frame((void *)start_info->pt_base) << 12;
#else
    context.user_regs.ds = context.user_regs.es = context.user_regs.fs = context.user_regs.gs = FLAT_KERNEL_SS;
    context.user_regs.eip = (unsigned long)ap_entry;
    context.user_regs.esp = stack;
    context.user_regs.edi = vcpu;
    context.user_regs.eflags = 0x200;
    unsigned long root = machine_frame((void *)start_info->pt_base);
    context.ctrlreg[3] = root << 12 | root >> 20;
#endif
    context.kernel_ss = FLAT_KERNEL_SS;
    context.kernel_sp = stack;
    return &context;
}

long initialise(unsigned vcpu) {
    return vcpu_op(VCPUOP_initialise, vcpu, context_of(vcpu));
}
