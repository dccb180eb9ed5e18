/* vCPU and event-channel operations, restated from the public headers, and for PVH the local APIC in x2APIC mode. */
#ifndef EXPERIMENT_VCPU_H
#define EXPERIMENT_VCPU_H

#include "../../lib/runtime.h"

#ifdef GUEST_PV
#define MAX_VCPUS 512
#else
#define MAX_VCPUS 128
#endif

/* xen:public/vcpu.h */
#define VCPUOP_initialise 0
#define VCPUOP_up 1
#define VCPUOP_down 2
#define VCPUOP_is_up 3
#define VCPUOP_set_singleshot_timer 8
#define VCPUOP_register_vcpu_info 10
#define VCPUOP_register_vcpu_time_memory_area 13
struct vcpu_set_singleshot_timer {
    uint64_t timeout_abs_ns;
    uint32_t flags;
};
struct vcpu_register_vcpu_info {
    uint64_t mfn;
    uint32_t offset, rsvd;
};

#ifdef GUEST_PV
/* xen:public/arch-x86/xen.h: what VCPUOP_initialise takes from a PV guest. */
#define VGCF_in_kernel 4
#define VGCF_online 32
struct cpu_user_regs {
#ifdef __x86_64__
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    uint32_t error_code, entry_vector;
    uint64_t rip;
    uint16_t cs, pad0;
    uint8_t saved_upcall_mask, pad1[3];
    uint64_t rflags, rsp;
    uint64_t ss, es, ds, fs, gs; /* selectors, padded */
#else
    uint32_t ebx, ecx, edx, esi, edi, ebp, eax;
    uint16_t error_code, entry_vector;
    uint32_t eip;
    uint16_t cs;
    uint8_t saved_upcall_mask, pad0;
    uint32_t eflags, esp;
    uint32_t ss, es, ds, fs, gs; /* selectors, padded */
#endif
};
struct vcpu_guest_context {
    uint8_t fpu_ctxt[512];
    unsigned long flags;
    struct cpu_user_regs user_regs;
    struct trap_info trap_ctxt[256];
    unsigned long ldt_base, ldt_ents, gdt_frames[16], gdt_ents;
    unsigned long kernel_ss, kernel_sp, ctrlreg[8], debugreg[8];
#ifdef __x86_64__
    unsigned long event_callback_eip, failsafe_callback_eip, syscall_callback_eip, vm_assist;
    uint64_t fs_base, gs_base_kernel, gs_base_user;
#else
    unsigned long event_callback_cs, event_callback_eip, failsafe_callback_cs, failsafe_callback_eip, vm_assist;
#endif
};
_Static_assert(sizeof(struct vcpu_guest_context) == (sizeof(long) == 8 ? 5168 : 2800), "vcpu_guest_context of both widths");
#else
/* xen:public/hvm/hvm_vcpu.h */
struct vcpu_hvm_context {
    uint32_t mode; /* 0: 32-bit state, 1: 64-bit state */
    uint32_t pad;
    union {
        struct {
            uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi, eip, eflags;
            uint32_t cr0, cr3, cr4, pad1;
            uint64_t efer;
            uint32_t cs_base, ds_base, ss_base, es_base, tr_base;
            uint32_t cs_limit, ds_limit, ss_limit, es_limit, tr_limit;
            uint16_t cs_ar, ds_ar, ss_ar, es_ar, tr_ar, pad2[3];
        } x86_32;
        struct {
            uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, rip, rflags;
            uint64_t cr0, cr3, cr4, efer;
        } x86_64;
    };
};
_Static_assert(sizeof(struct vcpu_hvm_context) == 128, "vcpu_hvm_context is 128 bytes in both widths");
#endif

/* xen:public/event_channel.h */
#define EVTCHNOP_bind_virq 1
#define EVTCHNOP_bind_ipi 7
#define EVTCHNOP_unmask 9
#define VIRQ_TIMER 0
struct evtchn_bind_virq {
    uint32_t virq, vcpu, port;
};
struct evtchn_bind_ipi {
    uint32_t vcpu, port;
};
struct evtchn_unmask {
    uint32_t port;
};

/* xen:public/sched.h */
#define SCHEDOP_poll 3
struct sched_poll {
    uint32_t *ports;
    unsigned int nr_ports;
    uint64_t timeout;
};

/* xen:public/hvm/hvm_op.h */
#define HVMOP_set_evtchn_upcall_vector 23
struct xen_hvm_evtchn_upcall_vector {
    uint32_t vcpu;
    uint8_t vector;
};

/* Registers of the local APIC as MSRs (sdm:3A "x2APIC"). */
#define APIC_BASE 0x1b
#define X2APIC_EOI 0x80b
#define X2APIC_SPIV 0x80f
#define X2APIC_ICR 0x830
#define X2APIC_LVTT 0x832
#define X2APIC_TMICT 0x838
#define X2APIC_TDCR 0x83e
#define ICR_FIXED 0x4000
#define ICR_INIT 0x4500
#define ICR_STARTUP 0x4600

#ifndef GUEST_PV
static inline uint64_t rdmsr(uint32_t index) {
    uint32_t lo, hi;
    asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index));
    return (uint64_t)hi << 32 | lo;
}

#endif

static inline long vcpu_op(unsigned op, unsigned vcpu, const void *arg) {
    return hypercall3(__HYPERVISOR_vcpu_op, op, vcpu, arg);
}
static inline int vcpu_exists(unsigned vcpu) {
    return vcpu_op(VCPUOP_is_up, vcpu, NULL) >= 0;
}

static inline unsigned apic_id(void) {
    return cpuid(1, 0).ebx >> 24;
}
#ifdef GUEST_PV
/* pv/bring-up.c: VCPUOP_register_vcpu_info with a place of the vCPU's own. */
long register_vcpu_info(unsigned vcpu);
/* The registers VCPUOP_initialise gets from initialise(); for those who change some. */
struct vcpu_guest_context *context_of(unsigned vcpu);
/* Waits for ever, and stays up while it does. */
void __attribute__((noreturn)) wait_for_ever(void);
#else
/* pvh/apic.c */
void apic_enable(void);
/* Sends to the processor of a vCPU, whose APIC id is twice its number. */
void apic_send(unsigned vcpu, uint32_t command);
#endif

/* time.c: of vCPU 0, whose clock is in shared_info. */
extern struct shared_info *shared_info;
void time_setup(void);
uint64_t system_time(void);
void sleep_ms(unsigned milliseconds);
/* Sleeps until *flag is at least `value`; 0 when that took too long. */
int wait_for(volatile uint32_t *flag, uint32_t value);

/* pvh/bring-up.c: both ways; pv/bring-up.c: the only one. What a started vCPU does is up to the guest. */
void ap_main(unsigned vcpu);
extern volatile uint32_t ap_started[MAX_VCPUS];
extern volatile uint32_t ap_apic_id[MAX_VCPUS];
/* VCPUOP_initialise with the context of `vcpu`: 64-bit in a 64-bit guest, else flat 32-bit. Leaves it down. */
long initialise(unsigned vcpu);
#ifndef GUEST_PV
/* INIT, SIPI, SIPI through the local APIC; apic_enable() comes first. */
void init_sipi_sipi(unsigned vcpu);

/* pvh/interrupts.c */
enum { VECTOR_WAKE = 0x41, VECTOR_TEST, VECTOR_APIC_TIMER, VECTOR_UPCALL, VECTOR_CALLBACK, VECTORS_END };
/* The table, once for all vCPUs, and its use by the calling one. The guest supplies interrupt(). */
void interrupts_setup(void);
void interrupts_load(void);
void interrupt(unsigned vector);
#endif

#endif
