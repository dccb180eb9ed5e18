/**
 * Register file layout: byte offsets inside one vCPU's state block in linear memory.
 *
 * The block is plain memory so that the interpreter, translated code and TypeScript see the same registers; save and
 * restore are copies of it. All values are little-endian. A block is {@link CPU_BLOCK} bytes.
 */

/** Sixteen 64-bit registers in encoding order: rax rcx rdx rbx rsp rbp rsi rdi r8..r15. */
export const GPR = 0x000;
export const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3,
  RSP = 4,
  RBP = 5,
  RSI = 6,
  RDI = 7;
export const gpr = (n: number): number => GPR + n * 8;
/** Instruction pointer of the instruction being executed (offset in CS, not linear). 64-bit. */
export const RIP = 0x080;
/** Constant zero: what an absent base, index or segment base reads. */
export const ZERO = 0x088;
/** Address masks 2^16-1, 2^32-1, 2^64-1 (constants) and the current mask of linear addresses. 64-bit each. */
export const MASK16 = 0x090,
  MASK32 = 0x098,
  MASK64 = 0x0a0,
  LINEAR_MASK = 0x0a8;

/** Lazy arithmetic flags, see emit.ts: last result sign-extended to 64 bits, and CF/AF/OF plus corrections. */
export const FLAG_RESULT = 0x0b0;
export const FLAG_BITS = 0x0b8;
/** EFLAGS without CF PF AF ZF SF OF (which are lazy); bit 1 always set. 32-bit. */
export const EFLAGS_REST = 0x0bc;
/** Guest instructions still allowed in this slice. 32-bit, counts down. */
export const BUDGET = 0x0c0;
/** Key of the decode cache: MODE_* bits. 32-bit. */
export const MODE = 0x0c4;
/** Absolute address in linear memory of the TLB set in use. 32-bit. */
export const TLB = 0x0c8;
/** Pending fault: vector, error code, 1 if an error code is pushed. 32-bit each. */
export const FAULT_VECTOR = 0x0cc,
  FAULT_CODE = 0x0d0,
  FAULT_HAS_CODE = 0x0d4;
/** Linear address handed to the slow memory path. 64-bit. */
export const SLOW_LINEAR = 0x0d8;
/** Absolute address in linear memory of the decoded record last started. 32-bit. */
export const RECORD = 0x0e0;
/** Set while interrupts are held off for one instruction (after STI: 1, after MOV SS / POP SS: 2). 32-bit. */
export const SHADOW = 0x0e4;
/** Bits CR0.TS|EM, and CR4.OSFXSR, condensed: nonzero makes every SSE row ask the slow path first. 32-bit. */
export const SSE_BLOCKED = 0x0e8;
/** Current privilege level 0..3. 32-bit. */
export const CPL = 0x0ec;
/** Linear address (base) of the code segment, 0 in 64-bit mode. 64-bit. */
export const CS_BASE = 0x0f8;

/**
 * Segment registers in encoding order es cs ss ds fs gs, then ldtr, tr; 32 bytes each:
 * base u64 +0, limit u32 +8 (in bytes, granularity applied), attributes u32 +12, selector u16 +16.
 * Attributes are laid out as bytes 5-6 of a descriptor: type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15;
 * bit 16 means unusable (null selector).
 */
export const SEG = 0x100;
export const ES = 0,
  CS = 1,
  SS = 2,
  DS = 3,
  FS = 4,
  GS = 5,
  LDTR = 6,
  TR = 7;
export const seg = (n: number): number => SEG + n * 32;
export const SEG_BASE = 0,
  SEG_LIMIT = 8,
  SEG_ATTR = 12,
  SEG_SELECTOR = 16;
export const ATTR_UNUSABLE = 0x10000;

/** Descriptor table registers: base u64, limit u32. */
export const GDTR = 0x200,
  IDTR = 0x210;
export const CR0 = 0x220,
  CR2 = 0x228,
  CR3 = 0x230,
  CR4 = 0x238,
  EFER = 0x240,
  XCR0 = 0x248;
/** DR0-DR3 then DR6, DR7 at 0x270, 0x278. 64-bit each. */
export const DR0 = 0x250,
  DR6 = 0x270,
  DR7 = 0x278;
export const STAR = 0x280,
  LSTAR = 0x288,
  CSTAR = 0x290,
  SFMASK = 0x298,
  KERNEL_GS_BASE = 0x2a0;
export const SYSENTER_CS = 0x2a8,
  SYSENTER_ESP = 0x2b0,
  SYSENTER_EIP = 0x2b8,
  TSC_AUX = 0x2c0,
  PAT = 0x2c8;
export const DEBUGCTL = 0x2d0,
  MISC_ENABLE = 0x2d8,
  TSC_ADJUST = 0x2e0;

/** Where an access that is not a plain one (MMIO, page crossing, code page) is staged. 64 bytes, 16-byte aligned. */
export const BOUNCE = 0x300;
/** Scratch for helpers. 64 bytes. */
export const SCRATCH = 0x340;

/** PAE page-directory-pointer entries as loaded with CR3: four u64. */
export const PDPTE = 0x390;
/** Current mask of the stack pointer (2^16-1, 2^32-1, 2^64-1). 64-bit. */
export const STACK_MASK = 0x3b0;
/** NMIs blocked by a running NMI handler. 32-bit 0/1. */
export const NMI_BLOCKED = 0x3b8;
/** Pending single-step or data-breakpoint bits of DR6, raised as #DB behind the current instruction. 32-bit. */
export const PENDING_DEBUG = 0x3bc;

/** Base added to stack pointers: that of SS, 0 in 64-bit mode. 64-bit. */
export const STACK_BASE = 0x3c0;

/** Base of string destinations: that of ES, 0 in 64-bit mode. 64-bit. */
export const STRING_BASE = 0x3c8;

/** Arrivals at a place before it is translated; 0 means never. 32-bit. */
export const HOT_THRESHOLD = 0x3d0;

/** Nonzero: exceptions, software interrupts, SYSCALL and SYSENTER belong to a {@link TrapOwner}, not to the guest's tables. 32-bit. */
export const INTERCEPTED = 0x3d4;

/**
 * How the flags were left by translated code: 0, or the operation and its second value; FLAG_RESULT is the first then. The dispatch loop
 * computes FLAG_RESULT and FLAG_BITS before anybody else looks, so this is 0 whenever TypeScript or the interpreter runs. 32- and 64-bit.
 */
export const FLAG_KIND = 0x3ec,
  FLAG_OPERAND = 0x3f0;
/** The operation whose carry INC or DEC left alone, and its values, as above; only looked at with FLAG_KIND. 32-, 64- and 64-bit. */
export const FLAG_BEFORE = 0x3f8,
  FLAG_BEFORE_RESULT = 0x380,
  FLAG_BEFORE_OPERAND = 0x388;

/**
 * The page with code that was last stored to beside its code: linear address u64, TLB set u32 (0: none), host address u32. It was walked and is
 * dirty RAM. CODE_PARTS is where the host pages' masks of parts with code are: u64 each, bit n for 64 bytes.
 */
export const BESIDE_LINEAR = 0x5c0,
  BESIDE_SET = 0x5c8,
  BESIDE_HOST = 0x5cc,
  CODE_PARTS = 0x5d0;
/** Such stores that the interpreter made since they were last reported. 32-bit. */
export const BESIDE_COUNT = 0x5d4,
  BESIDE_MANY = 2048;

/** Entries of {@link TLB_LOG} in use; more than {@link TLB_LOG_SIZE} means that some are missing. 32-bit. */
export const TLB_LOG_COUNT = 0x3d8;
/** TLB entries that are parts of large pages may exist. 32-bit 0/1. */
export const TLB_LARGE = 0x3dc;
/** Where guest-physical frames are: see {@link PhysicalMemory.frameTable}; address and number of entries. 32-bit each. */
export const FRAME_TABLE = 0x3e0,
  FRAME_COUNT = 0x3e4;
/** Address of a byte for each page of linear memory, MARK_* bits. 32-bit. */
export const PAGE_MARKS = 0x3e8;
/** The page has decoded code; a TLB entry of some vCPU may let the page be written. */
export const MARK_CODE = 1,
  MARK_WRITTEN = 2;

/** Sixteen 128-bit XMM registers. */
export const XMM = 0x400;
export const xmm = (n: number): number => XMM + n * 16;
export const MXCSR = 0x500;
/** Bits of MXCSR that exist. */
export const MXCSR_MASK = 0xffff;
/** x87: control u16, status u16 (TOP included), tag (one bit a register, 1 = valid) u8, opcode u16, ip u64, dp u64, cs u16, ds u16. */
export const FPU_CONTROL = 0x504,
  FPU_STATUS = 0x508,
  FPU_TAG = 0x50c,
  FPU_OPCODE = 0x510;
export const FPU_IP = 0x518,
  FPU_DP = 0x520,
  FPU_CS = 0x528,
  FPU_DS = 0x52c;
/** Eight physical x87 registers (not rotated by TOP), 16 bytes each: significand u64, sign and exponent u16. MMn is the significand of register n. */
export const FPU_REGISTERS = 0x540;
export const fpr = (n: number): number => FPU_REGISTERS + n * 16;

/**
 * Four TLB sets: supervisor, user, supervisor with EFLAGS.AC (SMAP lifted), and one that is never filled, so that every
 * access takes the slow path (alignment checks, data breakpoints). Entries of 32 bytes:
 * read tag u64 +0, write tag u64 +8, host page address u32 +16, flags u32 +20.
 * A tag is the page's linear address. An empty one is 0, in the first entry (where page 0 belongs) {@link TLB_INVALID}, so memory that
 * nobody has written is empty.
 */
export const TLB_SETS = 0x1000;
export const TLB_ENTRIES = 8192,
  TLB_ENTRY = 32,
  TLB_SET = TLB_ENTRIES * TLB_ENTRY;
export const TLB_SUPERVISOR = 0,
  TLB_USER = 1,
  TLB_SUPERVISOR_AC = 2,
  TLB_NEVER = 3;
export const TLB_READ = 0,
  TLB_WRITE = 8,
  TLB_HOST = 16,
  TLB_FLAGS = 20;
/** Flags of an entry: a global translation; it is in the log; from bit 8, how many address bits lie inside the page it is a part of. */
export const TLB_GLOBAL = 1,
  TLB_LOGGED = 2,
  TLB_SHIFT_AT = 8;
/**
 * A page whose address is not canonical. Compiled code looks up before anybody checks that, so it must not be the tag of the entry that
 * would be looked at for it, which is the last.
 */
export const TLB_INVALID = 0x7fff_ffff_ffff_f000n;

/** Addresses (u32) of the TLB entries that were filled since the last flush, so that a flush need not look at the others. */
export const TLB_LOG = TLB_SETS + 4 * TLB_SET;
export const TLB_LOG_SIZE = 4096;

/**
 * Code look-aside: entries of 16 bytes: tag u64 (linear page | mode key), code table u32 +8, host address of the page u32 +12. Tag
 * {@link TLB_INVALID} is empty; with {@link CODE_STALE} set, the translation has to be walked again before the entry counts.
 */
export const CODE_TLB = TLB_LOG + TLB_LOG_SIZE * 4;
export const CODE_STALE = 0x800;
export const CODE_TLB_ENTRIES = 1024,
  CODE_TLB_ENTRY = 16;

/** Size of one vCPU's block. */
export const CPU_BLOCK = CODE_TLB + CODE_TLB_ENTRIES * CODE_TLB_ENTRY;

/** Mode key bits: what a decoded instruction depends on besides its bytes. */
export const MODE_16 = 0,
  MODE_32 = 1,
  MODE_64 = 2,
  MODE_SIZE = 3;
/** SS.B: the stack pointer is 32 bits wide (64-bit mode implies 64). */
export const MODE_STACK32 = 4;
/** Segments need base and limit checks on each access. */
export const MODE_SEGMENTED = 8;
/** CPL 3: code pages must be user pages. */
export const MODE_USER = 16;
/** Real or virtual-8086 mode: no VEX encodings. */
export const MODE_REAL = 32;

export const CF = 1,
  PF = 4,
  AF = 0x10,
  ZF = 0x40,
  SF = 0x80,
  TF = 0x100,
  IF = 0x200,
  DF = 0x400,
  OF = 0x800;
export const IOPL = 0x3000,
  NT = 0x4000,
  RF = 0x10000,
  VM = 0x20000,
  AC = 0x40000,
  VIF = 0x80000,
  VIP = 0x100000,
  ID = 0x200000;
/** The six lazy flags. */
export const ARITHMETIC = CF | PF | AF | ZF | SF | OF;
