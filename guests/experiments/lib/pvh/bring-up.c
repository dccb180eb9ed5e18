/* Two ways to start a vCPU: Xen's own, which loads its registers, and the hardware's, which starts it in real mode. */
#include "../vcpu.h"

#define STACK 2048
#define TRAMPOLINE 0x8000

static unsigned char stacks[MAX_VCPUS][STACK] __attribute__((aligned(16)));
volatile uint32_t ap_started[MAX_VCPUS];
volatile uint32_t ap_apic_id[MAX_VCPUS];

/* entry.S */
extern unsigned char ap_entry[], trampoline[], trampoline_end[], trampoline_gdt[], gdt_pointer[];
/* What the start-up code finds: one vCPU is started at a time. */
unsigned long ap_stack;
uint32_t ap_id, ap_cr3;

static unsigned long stack_of(unsigned vcpu) {
    return (unsigned long)stacks[vcpu] + STACK;
}

void ap_c_entry(unsigned vcpu) {
    ap_apic_id[vcpu] = apic_id();
    ap_started[vcpu]++;
    ap_main(vcpu);
    for (;;)
        asm volatile("cli; hlt");
}

static unsigned long read_cr3(void) {
    unsigned long value;
    asm volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}

long initialise(unsigned vcpu) {
    struct vcpu_hvm_context context;
    memset(&context, 0, sizeof(context));
#ifdef __x86_64__
    context.mode = 1;
    context.x86_64.rdi = vcpu;
    context.x86_64.rsp = stack_of(vcpu);
    context.x86_64.rip = (unsigned long)ap_entry;
    context.x86_64.cr0 = 0x80000011; /* PG, ET, PE */
    context.x86_64.cr3 = read_cr3();
    context.x86_64.cr4 = 0x20;   /* PAE */
    context.x86_64.efer = 0x500; /* LME, LMA */
#else
    context.x86_32.edi = vcpu;
    context.x86_32.esp = stack_of(vcpu);
    context.x86_32.eip = (unsigned long)ap_entry;
    context.x86_32.cr0 = 0x11;
    context.x86_32.cs_limit = context.x86_32.ds_limit = context.x86_32.ss_limit = context.x86_32.es_limit = ~0u;
    context.x86_32.tr_limit = 0x67;
    context.x86_32.cs_ar = 0xc9b;
    context.x86_32.ds_ar = context.x86_32.ss_ar = context.x86_32.es_ar = 0xc93;
    context.x86_32.tr_ar = 0x8b;
#endif
    return vcpu_op(VCPUOP_initialise, vcpu, &context);
}

void init_sipi_sipi(unsigned vcpu) {
    unsigned char *to = (unsigned char *)TRAMPOLINE;
    memcpy(to, trampoline, trampoline_end - trampoline);
    memcpy(to + (trampoline_gdt - trampoline), gdt_pointer, 6);
    ap_stack = stack_of(vcpu);
    ap_id = vcpu;
    ap_cr3 = read_cr3();
    apic_send(vcpu, ICR_INIT);
    apic_send(vcpu, ICR_STARTUP | TRAMPOLINE >> 12);
    apic_send(vcpu, ICR_STARTUP | TRAMPOLINE >> 12);
}
