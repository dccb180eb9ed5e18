/**
 * The Hyper-V interface as Xen offers it to HVM guests: numbers only. Names follow the Hypervisor Top-Level Functional Specification
 * where it has one; features are bits of HVM_PARAM_VIRIDIAN (`xen:public/hvm/params.h`).
 */

/** Feature bits, HVMPV_* less the prefix. `base` is what makes a domain a viridian one at all. */
export const FEATURES = {
  base_freq: 0,
  no_freq: 1,
  time_ref_count: 2,
  reference_tsc: 3,
  hcall_remote_tlb_flush: 4,
  apic_assist: 5,
  crash_ctl: 6,
  synic: 7,
  stimer: 8,
  hcall_ipi: 9,
  ex_processor_masks: 10,
  no_vp_limit: 11,
  cpu_hotplug: 12,
} as const;

export type ViridianFeature = keyof typeof FEATURES;

/** First and last CPUID leaf. */
export const CPUID_FIRST = 0x4000_0000;
export const CPUID_LAST = 0x4000_0006;

/** Leaf 3 EAX: which MSRs a partition may use. */
export const ACCESS_TIME_REF_COUNT = 1 << 1;
export const ACCESS_SYNIC = 1 << 2;
export const ACCESS_STIMER = 1 << 3;
export const ACCESS_INTR_CTRL = 1 << 4;
export const ACCESS_HYPERCALL = 1 << 5;
export const ACCESS_VP_INDEX = 1 << 6;
export const ACCESS_REFERENCE_TSC = 1 << 9;
export const ACCESS_FREQUENCY = 1 << 11;

/** Leaf 3 EDX. */
export const CPU_DYNAMIC_PARTITIONING = 1 << 3;
export const CRASH_MSRS = 1 << 10;
export const SINT_POLLING = 1 << 17;

/** Leaf 4 EAX: recommendations. */
export const RECOMMEND_REMOTE_TLB_FLUSH = 1 << 2;
export const RECOMMEND_MSR_APIC = 1 << 3;
export const RECOMMEND_RELAXED_TIMING = 1 << 5;
export const RECOMMEND_CLUSTER_IPI = 1 << 10;
export const RECOMMEND_EX_PROCESSOR_MASKS = 1 << 11;
/** Leaf 4 EBX: spins before a long-spin-wait notification. */
export const SPIN_RETRIES = 2047;

/** Leaf 6 EAX: hardware features in use. */
export const NESTED_PAGING = 1 << 3;

/** Version that leaf 2 reports: build, then major and minor. */
export const VERSION_BUILD = 0x1772;
export const VERSION = 6 << 16;

export const MSR_FIRST = 0x4000_0000;
export const MSR_LAST = 0x4000_01ff;
export const GUEST_OS_ID = 0x4000_0000;
export const HYPERCALL = 0x4000_0001;
export const VP_INDEX = 0x4000_0002;
export const TIME_REF_COUNT = 0x4000_0020;
export const REFERENCE_TSC = 0x4000_0021;
export const TSC_FREQUENCY = 0x4000_0022;
export const APIC_FREQUENCY = 0x4000_0023;
export const EOI = 0x4000_0070;
export const ICR = 0x4000_0071;
export const TPR = 0x4000_0072;
export const VP_ASSIST_PAGE = 0x4000_0073;
export const SCONTROL = 0x4000_0080;
export const SVERSION = 0x4000_0081;
export const SIEFP = 0x4000_0082;
export const SIMP = 0x4000_0083;
export const EOM = 0x4000_0084;
/** First of sixteen synthetic interrupt sources. */
export const SINT0 = 0x4000_0090;
export const SINTS = 16;
/** First of four timers: configuration and count alternate. */
export const STIMER0_CONFIG = 0x4000_00b0;
export const STIMERS = 4;
export const CRASH_P0 = 0x4000_0100;
export const CRASH_PARAMETERS = 5;
export const CRASH_CTL = 0x4000_0105;

/** Page MSRs: bit 0 enables, bits 63-12 are the frame. */
export const PAGE_ENABLED = 1n;
export const CRASH_NOTIFY = 1n << 63n;

/** Hypercall codes (low 16 bits of the input value) and bits of it. */
export const HVCALL_FLUSH_SPACE = 0x0002;
export const HVCALL_FLUSH_LIST = 0x0003;
export const HVCALL_NOTIFY_LONG_SPIN_WAIT = 0x0008;
export const HVCALL_SEND_IPI = 0x000b;
export const HVCALL_FLUSH_SPACE_EX = 0x0013;
export const HVCALL_FLUSH_LIST_EX = 0x0014;
export const HVCALL_SEND_IPI_EX = 0x0015;
export const HVCALL_FAST = 1n << 16n;
export const FLUSH_ALL_PROCESSORS = 1n;
export const SET_SPARSE_4K = 0n;
export const SET_ALL = 1n;

export const STATUS_INVALID_CODE = 2n;
export const STATUS_INVALID_PARAMETER = 5n;
