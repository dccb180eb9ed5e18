/** Indices of model-specific registers, by their SDM names (`sdm:4 "Architectural MSRs"`), and bits of those that have fields. */
export const IA32_TSC = 0x10;
export const IA32_PLATFORM_ID = 0x17;
export const IA32_APIC_BASE = 0x1b;
export const IA32_FEATURE_CONTROL = 0x3a;
export const IA32_TSC_ADJUST = 0x3b;
export const IA32_SPEC_CTRL = 0x48;
export const IA32_PRED_CMD = 0x49;
export const IA32_BIOS_SIGN_ID = 0x8b;
export const MSR_PLATFORM_INFO = 0xce;
export const IA32_MTRRCAP = 0xfe;
export const IA32_ARCH_CAPABILITIES = 0x10a;
export const MSR_MISC_FEATURES_ENABLES = 0x140;
export const IA32_SYSENTER_CS = 0x174;
export const IA32_SYSENTER_ESP = 0x175;
export const IA32_SYSENTER_EIP = 0x176;
export const IA32_MCG_CAP = 0x179;
export const IA32_MCG_STATUS = 0x17a;
export const IA32_MCG_CTL = 0x17b;
export const IA32_PERF_STATUS = 0x198;
export const IA32_PERF_CTL = 0x199;
export const IA32_MISC_ENABLE = 0x1a0;
export const IA32_DEBUGCTL = 0x1d9;
/** First of the variable-range MTRRs: base and mask alternate. */
export const IA32_MTRR_PHYSBASE0 = 0x200;
export const IA32_MTRR_FIX64K_00000 = 0x250;
export const IA32_MTRR_FIX16K_80000 = 0x258;
export const IA32_MTRR_FIX16K_A0000 = 0x259;
export const IA32_MTRR_FIX4K_C0000 = 0x268;
export const IA32_PAT = 0x277;
export const IA32_MTRR_DEF_TYPE = 0x2ff;
export const IA32_MC0_CTL = 0x400;
export const IA32_TSC_DEADLINE = 0x6e0;
/** x2APIC register at xAPIC offset `o` is MSR 0x800 + (o >> 4). */
export const IA32_X2APIC_FIRST = 0x800;
export const IA32_X2APIC_LAST = 0x8ff;
export const IA32_XSS = 0xda0;
export const IA32_EFER = 0xc000_0080;
export const IA32_STAR = 0xc000_0081;
export const IA32_LSTAR = 0xc000_0082;
export const IA32_CSTAR = 0xc000_0083;
export const IA32_FMASK = 0xc000_0084;
export const IA32_FS_BASE = 0xc000_0100;
export const IA32_GS_BASE = 0xc000_0101;
export const IA32_KERNEL_GS_BASE = 0xc000_0102;
export const IA32_TSC_AUX = 0xc000_0103;

/** IA32_APIC_BASE fields. */
export const APIC_BASE_BSP = 1n << 8n;
export const APIC_BASE_EXTD = 1n << 10n;
export const APIC_BASE_ENABLE = 1n << 11n;
export const APIC_BASE_ADDRESS = 0x000f_ffff_ffff_f000n;

/** IA32_MISC_ENABLE fields. */
export const MISC_ENABLE_FAST_STRING = 1n << 0n;
export const MISC_ENABLE_PERF_AVAILABLE = 1n << 7n;
export const MISC_ENABLE_BTS_UNAVAILABLE = 1n << 11n;
export const MISC_ENABLE_PEBS_UNAVAILABLE = 1n << 12n;

/** MSR_PLATFORM_INFO and MSR_MISC_FEATURES_ENABLES: CPUID faulting. */
export const PLATFORM_INFO_CPUID_FAULTING = 1n << 31n;
export const MISC_FEATURES_CPUID_FAULTING = 1n << 0n;
