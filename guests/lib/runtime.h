/* What every guest gets: entry in a flat address space with memory mapped one to one up to 4 GiB (PV: what the builder mapped,
 * pseudo-physical addresses one to one), a console, hypercalls, and a report of unexpected exceptions. A guest supplies guest_main() and its
 * name. It is built four times: PVH and, with GUEST_PV, PV, each for 32 and 64 bits. */
#ifndef GUEST_RUNTIME_H
#define GUEST_RUNTIME_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include "xen.h"

/* Supplied by the guest. */
extern const char guest_name[];
void guest_main(void);

/* start.S, pv/start.S */
#ifdef GUEST_PV
#define GUEST_KIND "PV, "
extern struct start_info *start_info;
#else
#define GUEST_KIND ""
extern struct hvm_start_info *start_info;
#endif
extern unsigned char hypercall_page[4096];

#ifdef __x86_64__
#define GUEST_BITS 64
#else
#define GUEST_BITS 32
#endif

/* cpu.h-like primitives */
struct cpuid_regs {
    uint32_t eax, ebx, ecx, edx;
};
static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf) {
    struct cpuid_regs r;
#ifdef GUEST_PV
    asm volatile(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e" "\n\t" "cpuid" /* Xen answers, not the processor */
#else
    asm volatile("cpuid"
#endif
                 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}
static inline void wrmsr(uint32_t index, uint64_t value) {
    asm volatile("wrmsr" ::"c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}
static inline uint64_t rdtsc(void) {
    uint32_t lo, hi;
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}
static inline void barrier(void) {
    asm volatile("mfence" ::: "memory");
}

/* hypercall.c */
long hypercall(unsigned int number, unsigned long a, unsigned long b, unsigned long c, unsigned long d, unsigned long e);
#define hypercall1(n, a) hypercall(n, (unsigned long)(a), 0, 0, 0, 0)
#define hypercall2(n, a, b) hypercall(n, (unsigned long)(a), (unsigned long)(b), 0, 0, 0)
#define hypercall3(n, a, b, c) hypercall(n, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c), 0, 0)
/* First CPUID leaf of Xen, or 0 when this is not Xen. */
extern uint32_t xen_base;
void hypercall_setup(void);
/* pvh/platform.c, pv/platform.c: what differs between the kinds of guests. */
void hypercall_page_setup(void);
void __attribute__((noreturn)) hopeless(void);
struct console {
    struct xencons_interface *ring; /* NULL: there is none */
    uint32_t port;
};
struct console console_find(void);
/* Command line and bytes of memory, as told at entry. */
const char *command_line(void);
uint64_t memory_bytes(void);
#ifdef GUEST_PV
/* Maps a machine frame over a page of the image, or NULL. */
void *map_frame(void *page, unsigned long mfn);
/* Machine frame of an address in the image. */
unsigned long machine_frame(const void *address);
#endif
/* HVM only: 0, or a negative errno. */
long hvm_get_param(uint32_t index, uint64_t *value);
long hvm_set_param(uint32_t index, uint64_t value);
/* Maps shared_info over a page of the image. */
struct shared_info *map_shared_info(void);
void __attribute__((noreturn)) shutdown(uint32_t reason);

/* console.c */
void console_setup(void);
void console_write(const char *text, size_t length);
void console_drain(void);

/* print.c: %c %s %d %u %x %p, width with 0 padding, l and ll. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* report.c: the verdict, in the words of the Xen Test Framework; the worst one reported is printed at the end. */
enum verdict { SUCCESS, SKIP, ERROR, FAILURE };
void report(enum verdict verdict, const char *why, ...) __attribute__((format(printf, 2, 3)));
/* Prints "Test result: …" when anything was reported. */
void report_print(void);

/* runtime.c, pv/exception.c */
struct exception_frame {
    unsigned long vector, error, ip, cs, flags;
};
void exceptions_setup(void);

void *memset(void *to, int value, size_t length);
void *memcpy(void *to, const void *from, size_t length);
int memcmp(const void *a, const void *b, size_t length);
size_t strlen(const char *text);

#endif
