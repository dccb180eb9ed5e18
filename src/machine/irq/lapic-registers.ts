/** Registers of the local APIC by their xAPIC offset, and their fields (`sdm:3A "Advanced Programmable Interrupt Controller (APIC)"`). */

export const APIC_DEFAULT_BASE = 0xfee0_0000;
export const APIC_WINDOW = 0x1000;
/** Version 0x14, six LVT entries, no directed EOI (`xen:arch/x86/hvm/vlapic.c`). */
export const APIC_VERSION_VALUE = 0x0005_0014;
/** Timer input: 100 MHz. */
export const APIC_BUS_CYCLE_NS = 10n;

export const ID = 0x20;
export const LVR = 0x30;
export const TASKPRI = 0x80;
export const PROCPRI = 0xa0;
export const EOI = 0xb0;
export const LDR = 0xd0;
export const DFR = 0xe0;
export const SPIV = 0xf0;
/** In-service, trigger-mode and request bitmaps: eight registers of 32 vectors each. */
export const ISR = 0x100;
export const TMR = 0x180;
export const IRR = 0x200;
export const ESR = 0x280;
export const CMCI = 0x2f0;
export const ICR = 0x300;
export const ICR2 = 0x310;
export const LVTT = 0x320;
export const LVTTHMR = 0x330;
export const LVTPC = 0x340;
export const LVT0 = 0x350;
export const LVT1 = 0x360;
export const LVTERR = 0x370;
export const TMICT = 0x380;
export const TMCCT = 0x390;
export const TDCR = 0x3e0;
/** x2APIC only. */
export const SELF_IPI = 0x3f0;

export const VECTOR_MASK = 0xff;
/** Vectors below this are illegal. */
export const FIRST_LEGAL_VECTOR = 16;

export const SPIV_ENABLED = 1 << 8;
export const SPIV_FOCUS_DISABLED = 1 << 9;

export const ESR_SEND_ILLEGAL = 1 << 5;
export const ESR_RECEIVE_ILLEGAL = 1 << 6;

export const DM_MASK = 0x700;
export const DM_FIXED = 0x000;
export const DM_LOWEST = 0x100;
export const DM_SMI = 0x200;
export const DM_REMOTE_READ = 0x300;
export const DM_NMI = 0x400;
export const DM_INIT = 0x500;
export const DM_STARTUP = 0x600;
export const DM_EXTINT = 0x700;

export const ICR_LOGICAL = 1 << 11;
export const ICR_BUSY = 1 << 12;
export const ICR_ASSERT = 1 << 14;
export const ICR_LEVEL = 1 << 15;
export const SHORTHAND_MASK = 0xc_0000;
export const SHORTHAND_NONE = 0;
export const SHORTHAND_SELF = 0x4_0000;
export const SHORTHAND_ALL = 0x8_0000;
export const SHORTHAND_OTHERS = 0xc_0000;

export const LVT_SEND_PENDING = 1 << 12;
export const LVT_POLARITY = 1 << 13;
export const LVT_REMOTE_IRR = 1 << 14;
export const LVT_LEVEL = 1 << 15;
export const LVT_MASKED = 1 << 16;
export const TIMER_MODE_MASK = 3 << 17;
export const TIMER_ONESHOT = 0;
export const TIMER_PERIODIC = 1 << 17;
export const TIMER_TSC_DEADLINE = 2 << 17;

export const DFR_FLAT = 0xffff_ffff;
export const DFR_CLUSTER = 0x0fff_ffff;

/** Divide configuration: bits 0, 1 and 3 exist. */
export const TDCR_MASK = 0xb;

const LVT_COMMON = VECTOR_MASK | LVT_SEND_PENDING | LVT_MASKED;
const LVT_LINT = LVT_COMMON | DM_MASK | LVT_POLARITY | LVT_REMOTE_IRR | LVT_LEVEL;

/** LVT registers and the bits each keeps. */
export const LVT_BITS: ReadonlyMap<number, number> = new Map([
  [LVTT, LVT_COMMON | TIMER_MODE_MASK],
  [LVTTHMR, LVT_COMMON | DM_MASK],
  [LVTPC, LVT_COMMON | DM_MASK],
  [LVT0, LVT_LINT],
  [LVT1, LVT_LINT],
  [LVTERR, LVT_COMMON],
]);

const bitmap = (first: number): number[] => Array.from({ length: 8 }, (_, i) => first + i * 0x10);

/** Registers RDMSR may read in x2APIC mode; any other is #GP. */
export const X2APIC_READABLE: ReadonlySet<number> = new Set(
  [ID, LVR, TASKPRI, PROCPRI, LDR, SPIV, ESR, ICR, CMCI, TMICT, TMCCT, TDCR].concat(
    [...LVT_BITS.keys()],
    bitmap(ISR),
    bitmap(TMR),
    bitmap(IRR),
  ),
);

/** Registers WRMSR may write in x2APIC mode and the bits that may be set; any other register or bit is #GP. */
export const X2APIC_WRITABLE: ReadonlyMap<number, bigint> = new Map([
  [TASKPRI, 0xffn],
  [EOI, 0n],
  [SPIV, BigInt(VECTOR_MASK | SPIV_ENABLED | SPIV_FOCUS_DISABLED)],
  [ESR, 0n],
  [CMCI, BigInt(LVT_COMMON | DM_MASK)],
  [ICR, 0xffff_ffff_0000_0000n | BigInt(VECTOR_MASK | DM_MASK | ICR_LOGICAL | ICR_ASSERT | ICR_LEVEL | SHORTHAND_MASK)],
  [TMICT, 0xffff_ffff_ffff_ffffn],
  [TDCR, BigInt(TDCR_MASK)],
  [SELF_IPI, BigInt(VECTOR_MASK)],
  ...[...LVT_BITS].map(([register, bits]): [number, bigint] => [register, BigInt(bits)]),
]);
