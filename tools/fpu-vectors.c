/*
 * Runs single x87, MMX and SSE instructions on the host processor and prints what they did.
 *
 * Each input line: instruction bytes, a 512-byte FXSAVE image, rax, rcx, rdx, flags, 32 bytes of memory that rdi points at; all in
 * hexadecimal. Each output line has the same fields after execution, then 1 if a SIMD exception was raised; or "fault".
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct io {
  uint8_t image[512];
  uint64_t rax, rcx, rdx, flags;
  uint8_t memory[32];
} __attribute__((aligned(64)));

__asm__(
  "template_begin:\n"
  "  push %rbx\n"
  "  mov %rdi, %rbx\n"
  "  fxrstor64 (%rbx)\n"
  "  mov 512(%rbx), %rax\n"
  "  mov 520(%rbx), %rcx\n"
  "  mov 528(%rbx), %rdx\n"
  "  lea 544(%rbx), %rdi\n"
  "  push 536(%rbx)\n"
  "  popfq\n"
  "template_hole:\n"
  "  .fill 15, 1, 0x90\n"
  "  mov %rax, 512(%rbx)\n"
  "  mov %rcx, 520(%rbx)\n"
  "  mov %rdx, 528(%rbx)\n"
  "  pushfq\n"
  "  pop 536(%rbx)\n"
  "  fxsave64 (%rbx)\n"
  "  fninit\n"
  "  cld\n"
  "  pop %rbx\n"
  "  ret\n"
  "template_end:\n");
extern const uint8_t template_begin[], template_hole[], template_end[];

static sigjmp_buf escape;
static uint8_t interrupted[512];
static void on_signal(int number, siginfo_t *info, void *context) {
  (void)info;
  memcpy(interrupted, ((ucontext_t *)context)->uc_mcontext.fpregs, 512);
  siglongjmp(escape, number);
}

static int hex(const char *text, uint8_t *out) {
  int n = 0;
  for (; text[0] && text[1]; text += 2, n++) sscanf(text, "%2hhx", &out[n]);
  return n;
}

static void print(const uint8_t *bytes, int n) {
  for (int i = 0; i < n; i++) printf("%02x", bytes[i]);
}

int main(void) {
  uint8_t *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  static struct io io, initial;
  static char insn[64], image[1100], memory[128];
  struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_NODEFER | SA_SIGINFO };
  sigaction(SIGILL, &action, 0);
  sigaction(SIGSEGV, &action, 0);
  sigaction(SIGFPE, &action, 0);
  __asm__ volatile("fxsave64 %0" : "=m"(initial));
  while (scanf("%63s %1099s %lx %lx %lx %lx %127s", insn, image, &io.rax, &io.rcx, &io.rdx, &io.flags, memory) == 7) {
    memcpy(code, template_begin, template_end - template_begin);
    hex(insn, code + (template_hole - template_begin));
    hex(image, io.image);
    hex(memory, io.memory);
    int raised = 0;
    switch (sigsetjmp(escape, 1)) {
    case 0:
      ((void (*)(struct io *))code)(&io);
      __asm__ volatile("fxrstor64 %0" : : "m"(initial));
      break;
    case SIGFPE:
      __asm__ volatile("fxrstor64 %0" : : "m"(initial));
      memcpy(io.image, interrupted, 512);
      raised = 1;
      break;
    default:
      __asm__ volatile("fxrstor64 %0" : : "m"(initial));
      puts("fault");
      continue;
    }
    print(io.image, 512);
    printf(" %lx %lx %lx %lx ", io.rax, io.rcx, io.rdx, io.flags & 0x8d5);
    print(io.memory, 32);
    printf(" %d\n", raised);
  }
  return 0;
}
