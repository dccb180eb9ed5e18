/** CPUID as a guest sees it: the policy's words, values that follow the vCPU's state, and Xen's own leaves. */
import * as L from '../abi/x86/cpuid.ts';
import * as STATE from '../cpu/state.ts';
import type { CpuidPolicy } from './cpuid-policy.ts';
import { LINEAR_BITS, PHYSICAL_BITS } from './cpuid-policy.ts';
import { releaseNumber } from './hypercalls/xen-version.ts';
import type { Vcpu } from './vcpu.ts';

/** Frequency of the guest's time-stamp counter. */
export const TSC_KHZ = 1_000_000;
/** Family 6, model 0x3c, stepping 3. */
export const SIGNATURE = 0x0003_06c3;
const MAX_BASIC = 0xd;
const MAX_EXTENDED = 0x8000_0008;
const CLFLUSH_LINES = 8;
const OSXSAVE = 1 << 27;
const APIC = 1 << 9;
const SYSCALL = 1 << 11;
const CR4_OSXSAVE = 1 << 18;
const BRAND = 'Intel(R) Processor (Xenolith)';
const XSAVE_SIZE = 576;

/** Deterministic caches of leaf 4: type, level, ways, sets, inclusive. */
const caches = [
  { type: 1, level: 1, ways: 8, sets: 64 },
  { type: 2, level: 1, ways: 8, sets: 64 },
  { type: 3, level: 2, ways: 8, sets: 512 },
  { type: 3, level: 3, ways: 16, sets: 8192 },
];

const set = (out: Uint32Array, eax: number, ebx = 0, ecx = 0, edx = 0): void => {
  out[0] = eax;
  out[1] = ebx;
  out[2] = ecx;
  out[3] = edx;
};

/** Twelve characters as ebx, ecx, edx. */
function signature(
  out: Uint32Array,
  eax: number,
  text: string,
  order: readonly [number, number, number] = [1, 2, 3],
): void {
  out[0] = eax;
  for (let word = 0; word < 3; word++) out[order[word]] = characters(text, word * 4);
}

function characters(text: string, at: number): number {
  let value = 0;
  for (let i = 3; i >= 0; i--) value = (value << 8) | (at + i < text.length ? text.charCodeAt(at + i) : 0);
  return value >>> 0;
}

/** State of a vCPU that shows in CPUID. */
export interface CpuidState {
  readonly apicId: number;
  /** IA32_APIC_BASE enables the APIC. */
  readonly apicEnabled: boolean;
}

/** First of Xen's leaves. */
export const xenBase = (policy: CpuidPolicy): number => (policy.viridian ? 0x4000_0100 : 0x4000_0000);

export function cpuid(
  policy: CpuidPolicy,
  vcpu: Vcpu,
  state: CpuidState,
  leaf: number,
  subleaf: number,
  out: Uint32Array,
): void {
  set(out, 0);
  if (leaf >>> 16 === 0x4000) hypervisorLeaf(policy, vcpu, leaf, subleaf, out);
  else if (leaf >= L.CPUID_EXTENDED) extendedLeaf(policy, vcpu, leaf > MAX_EXTENDED ? MAX_EXTENDED + 1 : leaf, out);
  else if (leaf <= MAX_BASIC) basicLeaf(policy, vcpu, state, leaf, subleaf, out);
}

function basicLeaf(
  policy: CpuidPolicy,
  vcpu: Vcpu,
  state: CpuidState,
  leaf: number,
  subleaf: number,
  out: Uint32Array,
): void {
  const { maxVcpus } = vcpu.domain.config;
  switch (leaf) {
    case L.CPUID_VENDOR:
      return signature(out, MAX_BASIC, 'GenuineIntel', [1, 3, 2]);
    case L.CPUID_BASIC: {
      const threads = Math.min(2 * maxVcpus, 0xff);
      const osxsave = policy.has('XSAVE') && (vcpu.cpu.get32(STATE.CR4) & CR4_OSXSAVE) !== 0;
      const ecx = policy.word('1c') | (osxsave ? OSXSAVE : 0);
      const edx = state.apicEnabled ? policy.word('1d') : policy.word('1d') & ~APIC;
      return set(out, SIGNATURE, (state.apicId << 24) | (threads << 16) | (CLFLUSH_LINES << 8), ecx, edx);
    }
    case 2:
      // Descriptor 0xff: the caches are described by leaf 4.
      return set(out, 0x00ff_ff01);
    case L.CPUID_CACHE: {
      const cache = caches[subleaf];
      if (cache === undefined) return;
      return set(
        out,
        cache.type | (cache.level << 5) | (1 << 8) | (1 << 14),
        ((cache.ways - 1) << 22) | 63,
        cache.sets - 1,
      );
    }
    case L.CPUID_STRUCTURED:
      if (subleaf === 0) set(out, 0, policy.word('7b'), policy.word('7c'), policy.word('7d'));
      return;
    case L.CPUID_TOPOLOGY:
      return topology(policy, state, maxVcpus, subleaf, out);
    case L.CPUID_XSTATE:
      if (policy.has('XSAVE') && subleaf === 0)
        set(out, 3, vcpu.cpu.get32(STATE.XCR0) === 0 ? 0 : XSAVE_SIZE, XSAVE_SIZE);
      return;
  }
}

/** APIC ids are twice the vCPU number, so the lowest bit counts as a thread that is never there. */
function topology(policy: CpuidPolicy, state: CpuidState, maxVcpus: number, subleaf: number, out: Uint32Array): void {
  if (!policy.has('x2APIC')) return;
  if (subleaf === 0) set(out, 1, 1, 0x100, state.apicId);
  else if (subleaf === 1) set(out, 1 + Math.ceil(Math.log2(Math.max(maxVcpus, 1))), maxVcpus, 0x201, state.apicId);
  else set(out, 0, 0, subleaf & 0xff, state.apicId);
}

function extendedLeaf(policy: CpuidPolicy, vcpu: Vcpu, leaf: number, out: Uint32Array): void {
  switch (leaf) {
    case L.CPUID_EXTENDED:
      return set(out, MAX_EXTENDED);
    case L.CPUID_EXTENDED_FEATURES: {
      const edx = policy.word('e1d');
      // Intel processors show SYSCALL to 64-bit code only; a PV guest sees its policy.
      const hidden = vcpu.domain.isHvm && !vcpu.cpu.code64;
      return set(out, 0, 0, policy.word('e1c'), hidden ? edx & ~SYSCALL : edx);
    }
    case L.CPUID_BRAND:
    case L.CPUID_BRAND + 1:
    case L.CPUID_BRAND + 2:
      for (let i = 0; i < 4; i++) out[i] = characters(BRAND, (leaf - L.CPUID_BRAND) * 16 + i * 4);
      return;
    case 0x8000_0006:
      return set(out, 0, 0, (256 << 16) | (6 << 12) | (1 << 8) | 64);
    case L.CPUID_POWER:
      return set(out, 0, 0, 0, policy.word('e7d'));
    case L.CPUID_ADDRESS_SIZES:
      return set(out, PHYSICAL_BITS | ((policy.has('LM') ? LINEAR_BITS : 32) << 8));
  }
}

function hypervisorLeaf(policy: CpuidPolicy, vcpu: Vcpu, leaf: number, subleaf: number, out: Uint32Array): void {
  const base = xenBase(policy);
  const { domain } = vcpu;
  switch (leaf - base) {
    case 0:
      return signature(out, base + 5, 'XenVMMXenVMM');
    case 1:
      return set(out, releaseNumber(domain));
    case 2:
      return set(out, 1, policy.viridian ? 0x4000_0200 : 0x4000_0000, domain.isHvm ? 0 : 1);
    case 3:
      // The counter is safe (it never stops or jumps), and nanoseconds are counter ticks: multiplier 0x80000000, shift 1.
      if (subleaf === 0) set(out, (1 << 1) | (policy.has('RDTSCP') ? 1 << 2 : 0), 0, TSC_KHZ, 0);
      else if (subleaf === 1) set(out, 0, 0, 0x8000_0000, 1);
      else if (subleaf === 2) set(out, TSC_KHZ);
      return;
    case 4: {
      if (domain.isHvm) set(out, (1 << 2) | (1 << 3) | (1 << 4) | (1 << 6), vcpu.id, domain.id);
      return;
    }
    case 5:
      if (!domain.isHvm) set(out, 0, PHYSICAL_BITS);
      return;
  }
}
