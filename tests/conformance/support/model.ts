/**
 * What the processor model has, in the words of the reference decoder's feature list: an instruction that needs anything else
 * must be undefined here.
 */
import { CpuidFeature, DecoderOptions } from 'iced-x86';

/** Features whose instructions the model executes. */
export const MODEL_FEATURES: ReadonlySet<number> = new Set<number>([
  CpuidFeature.INTEL8086,
  CpuidFeature.INTEL186,
  CpuidFeature.INTEL286,
  CpuidFeature.INTEL386,
  CpuidFeature.INTEL486,
  CpuidFeature.X64,
  CpuidFeature.FPU,
  CpuidFeature.FPU287,
  CpuidFeature.FPU387,
  CpuidFeature.ADX,
  CpuidFeature.BMI1,
  CpuidFeature.BMI2,
  CpuidFeature.CLFSH,
  CpuidFeature.CMOV,
  CpuidFeature.CMPXCHG16B,
  CpuidFeature.CPUID,
  CpuidFeature.CX8,
  CpuidFeature.FSGSBASE,
  CpuidFeature.FXSR,
  CpuidFeature.LZCNT,
  CpuidFeature.MMX,
  CpuidFeature.MOVBE,
  CpuidFeature.MSR,
  CpuidFeature.MULTIBYTENOP,
  CpuidFeature.PAUSE,
  CpuidFeature.POPCNT,
  CpuidFeature.PREFETCHW,
  CpuidFeature.RDPMC,
  CpuidFeature.RDTSCP,
  CpuidFeature.SEP,
  CpuidFeature.SMAP,
  CpuidFeature.SMM,
  CpuidFeature.SSE,
  CpuidFeature.SSE2,
  CpuidFeature.SSE3,
  CpuidFeature.SSSE3,
  CpuidFeature.SSE4_1,
  CpuidFeature.SSE4_2,
  CpuidFeature.SYSCALL,
  CpuidFeature.TSC,
  CpuidFeature.XSAVE,
]);

/**
 * How the reference decoder is told about the model: instructions in the space of hint NOPs (MPX, CET, CLDEMOTE, PREFETCHI) are NOPs, and F3
 * is ignored before WBINVD.
 */
export const MODEL_OPTIONS = DecoderOptions.ForceReservedNop | DecoderOptions.NoWbnoinvd;
