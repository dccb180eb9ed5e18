/** CPUID leaves and feature bits, named as in `sdm:CPUID`. A feature is a leaf, subleaf, register and bit. */

/** Where a feature bit is reported: leaf, subleaf, register. */
export const CPUID_WORDS = {
  '1c': { leaf: 1, subleaf: 0, register: 'ecx' },
  '1d': { leaf: 1, subleaf: 0, register: 'edx' },
  '6a': { leaf: 6, subleaf: 0, register: 'eax' },
  '7b': { leaf: 7, subleaf: 0, register: 'ebx' },
  '7c': { leaf: 7, subleaf: 0, register: 'ecx' },
  '7d': { leaf: 7, subleaf: 0, register: 'edx' },
  Da1: { leaf: 0xd, subleaf: 1, register: 'eax' },
  e1c: { leaf: 0x8000_0001, subleaf: 0, register: 'ecx' },
  e1d: { leaf: 0x8000_0001, subleaf: 0, register: 'edx' },
  e7d: { leaf: 0x8000_0007, subleaf: 0, register: 'edx' },
} as const;

export type CpuidWord = keyof typeof CPUID_WORDS;

/** Feature names in bit order of each word; '' where the bit is reserved or of no interest. */
export const CPUID_FEATURES: Readonly<Record<CpuidWord, string>> = {
  '1c':
    'SSE3 PCLMULQDQ DTES64 MONITOR DS_CPL VMX SMX EIST TM2 SSSE3 CNXT_ID SDBG FMA CMPXCHG16B xTPR PDCM . PCID DCA SSE4_1 ' +
    'SSE4_2 x2APIC MOVBE POPCNT TSC_DEADLINE AESNI XSAVE OSXSAVE AVX F16C RDRAND HYPERVISOR',
  '1d':
    'FPU VME DE PSE TSC MSR PAE MCE CX8 APIC . SEP MTRR PGE MCA CMOV PAT PSE36 PSN CLFSH . DS ACPI MMX FXSR SSE SSE2 SS ' +
    'HTT TM . PBE',
  '6a': 'DTHERM TURBO ARAT',
  '7b':
    'FSGSBASE TSC_ADJUST SGX BMI1 HLE AVX2 FDP_EXCPTN_ONLY SMEP BMI2 ERMS INVPCID RTM PQM NO_FPU_SEL MPX PQE AVX512F ' +
    'AVX512DQ RDSEED ADX SMAP AVX512_IFMA . CLFLUSHOPT CLWB PT AVX512PF AVX512ER AVX512CD SHA AVX512BW AVX512VL',
  '7c':
    'PREFETCHWT1 AVX512_VBMI UMIP PKU OSPKE WAITPKG AVX512_VBMI2 CET_SS GFNI VAES VPCLMULQDQ AVX512_VNNI AVX512_BITALG TME ' +
    'AVX512_VPOPCNTDQ . LA57 . . . . . RDPID . . CLDEMOTE . MOVDIRI MOVDIR64B ENQCMD . PKS',
  '7d':
    '. . AVX512_4VNNIW AVX512_4FMAPS FSRM . . . AVX512_VP2INTERSECT . MD_CLEAR . . . SERIALIZE HYBRID TSXLDTRK . . . ' +
    'CET_IBT . AMX_BF16 . AMX_TILE AMX_INT8 IBRSB STIBP L1D_FLUSH ARCH_CAPS CORE_CAPS SSBD',
  Da1: 'XSAVEOPT XSAVEC XGETBV1 XSAVES',
  e1c:
    'LAHF_LM CMP_LEGACY SVM EXTAPIC CR8_LEGACY LZCNT SSE4A MISALIGNSSE 3DNOWPREFETCH OSVW IBS XOP SKINIT WDT . LWP FMA4 . . ' +
    'NODEID_MSR . TBM TOPOEXT . . . DBEXT . . MONITORX',
  e1d: '. . . . . . . . . . . SYSCALL . . . . . . . . NX . MMXEXT . . FXSR_OPT PAGE1GB RDTSCP . LM 3DNOWEXT 3DNOW',
  e7d: '. . . . . . . . ITSC EFRO',
};

/** Position of one feature. */
export interface CpuidFeature {
  readonly word: CpuidWord;
  /** Bit number in the register. */
  readonly bit: number;
}

/** Every feature of {@link CPUID_FEATURES} by name. */
export const CPUID_FEATURE: ReadonlyMap<string, CpuidFeature> = new Map(
  Object.entries(CPUID_FEATURES).flatMap(([word, names]) =>
    names
      .split(' ')
      .map((name, bit): [string, CpuidFeature] => [name, { word: word as CpuidWord, bit }])
      .filter(([name]) => name !== '.'),
  ),
);

/** Leaves that are not plain feature words. */
export const CPUID_VENDOR = 0;
export const CPUID_BASIC = 1;
export const CPUID_CACHE = 4;
export const CPUID_MONITOR = 5;
export const CPUID_THERMAL = 6;
export const CPUID_STRUCTURED = 7;
export const CPUID_TOPOLOGY = 0xb;
export const CPUID_XSTATE = 0xd;
export const CPUID_HYPERVISOR = 0x4000_0000;
export const CPUID_EXTENDED = 0x8000_0000;
export const CPUID_EXTENDED_FEATURES = 0x8000_0001;
/** Processor brand string, 48 bytes in leaves 0x80000002 to 4. */
export const CPUID_BRAND = 0x8000_0002;
export const CPUID_POWER = 0x8000_0007;
export const CPUID_ADDRESS_SIZES = 0x8000_0008;
