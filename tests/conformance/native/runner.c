/*
 * Executes single instructions on the host processor: cases from standard input, results to standard output, both as arrays of
 * the structures below (support/native.ts has the same layout). Every case ends in a trap: the byte behind the
 * instruction is INT3, so the signal handler sees all registers, whatever the instruction did.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { CODE = 0x10000000, DATA = 0x20000000, CONTROL = 0x30000000, PAGE = 4096, WINDOW = 0x800, WINDOW_SIZE = 256 };

struct test_case {
  uint32_t bits, length;
  uint8_t code[16];
  uint64_t gpr[16];
  uint64_t flags;
  uint64_t spare;
  uint8_t memory[WINDOW_SIZE];
  uint8_t fx[512];
};

struct result {
  uint32_t vector, error;
  uint64_t rip;
  uint64_t gpr[16];
  uint64_t flags;
  uint64_t spare;
  uint8_t memory[WINDOW_SIZE];
  uint8_t fx[512];
};

/* At CONTROL, so that assembly reaches it by absolute address. */
struct control {
  uint64_t gpr[16];       /* 0x000 */
  uint64_t flags;         /* 0x080 */
  uint32_t target;        /* 0x088: offset, then code segment */
  uint32_t segment;       /* 0x08c */
  uint64_t spare[14];
  uint8_t fx[512];        /* 0x100 */
};

static struct result result;
static sigjmp_buf back;

void enter(void);
__asm__(
  ".globl enter\n"
  "enter:\n"
  "  fxrstor64 0x30000100\n"
  "  pushq 0x30000080\n"
  "  popfq\n"
  "  mov 0x30000000, %rax\n"
  "  mov 0x30000008, %rcx\n"
  "  mov 0x30000010, %rdx\n"
  "  mov 0x30000018, %rbx\n"
  "  mov 0x30000020, %rsp\n"
  "  mov 0x30000028, %rbp\n"
  "  mov 0x30000030, %rsi\n"
  "  mov 0x30000038, %rdi\n"
  "  mov 0x30000040, %r8\n"
  "  mov 0x30000048, %r9\n"
  "  mov 0x30000050, %r10\n"
  "  mov 0x30000058, %r11\n"
  "  mov 0x30000060, %r12\n"
  "  mov 0x30000068, %r13\n"
  "  mov 0x30000070, %r14\n"
  "  mov 0x30000078, %r15\n"
  "  ljmp *0x30000088\n");

static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static void caught(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)info;
  ucontext_t *u = context;
  const greg_t *g = u->uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) result.gpr[i] = (uint64_t)g[order[i]];
  result.flags = (uint64_t)g[REG_EFL];
  result.rip = (uint64_t)g[REG_RIP];
  result.vector = (uint32_t)g[REG_TRAPNO];
  result.error = (uint32_t)g[REG_ERR];
  memcpy(result.fx, u->uc_mcontext.fpregs, 512);
  siglongjmp(back, 1);
}

static void *map(uintptr_t at, int protection) {
  void *p = mmap((void *)at, PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  return p == (void *)at ? p : 0;
}

int main(void) {
  static uint8_t stack[65536];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternate, 0);
  struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  const int signals[] = {SIGTRAP, SIGFPE, SIGSEGV, SIGILL, SIGBUS};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, 0);

  uint8_t *code = map(CODE, PROT_READ | PROT_WRITE | PROT_EXEC);
  uint8_t *data = map(DATA, PROT_READ | PROT_WRITE);
  struct control *control = map(CONTROL, PROT_READ | PROT_WRITE);
  if (!code || !data || !control) return 1;
  memset(code, 0xcc, PAGE);

  struct test_case test;
  while (fread(&test, sizeof test, 1, stdin) == 1) {
    memcpy(code + WINDOW, test.code, 16);
    memset(code + WINDOW + test.length, 0xcc, 16);
    memcpy(data + WINDOW, test.memory, WINDOW_SIZE);
    memcpy(control->gpr, test.gpr, sizeof test.gpr);
    control->flags = test.flags;
    control->target = CODE + WINDOW;
    control->segment = test.bits == 64 ? 0x33 : 0x23;
    memcpy(control->fx, test.fx, 512);
    memset(&result, 0, sizeof result);
    if (sigsetjmp(back, 1) == 0) {
      /* Compatibility mode needs usable data segments. */
      __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0x2b));
      enter();
    }
    __asm__ volatile("fninit");
    memcpy(result.memory, data + WINDOW, WINDOW_SIZE);
    if (fwrite(&result, sizeof result, 1, stdout) != 1) return 1;
  }
  return 0;
}
