/**
 * The processor model that guests see: an Intel processor with the features the project implements. Features are held by name, so that
 * a domain's configuration can switch them, and control-register masks derive from them.
 */
import type { CpuidWord } from '../abi/x86/cpuid.ts';
import { CPUID_FEATURE } from '../abi/x86/cpuid.ts';

const defaults =
  'SSE3 SSSE3 CMPXCHG16B SSE4_1 SSE4_2 x2APIC MOVBE POPCNT TSC_DEADLINE XSAVE HYPERVISOR ' +
  'FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 HTT ' +
  'FSGSBASE BMI1 SMEP BMI2 ERMS SMAP UMIP LAHF_LM LZCNT 3DNOWPREFETCH SYSCALL NX PAGE1GB RDTSCP LM';

/** What a feature needs; switching the key off switches these off. */
const dependants: Readonly<Record<string, string>> = {
  FPU: 'MMX FXSR',
  FXSR: 'SSE',
  SSE: 'SSE2',
  SSE2: 'SSE3 LM',
  SSE3: 'SSSE3',
  SSSE3: 'SSE4_1',
  SSE4_1: 'SSE4_2',
  PAE: 'LM',
  LM: 'CMPXCHG16B LAHF_LM PAGE1GB FSGSBASE',
  APIC: 'x2APIC TSC_DEADLINE',
};

/** What only translated guests have: paging and modes of their own, platform devices (`xen:public/arch-x86/cpufeatureset.h`, letters S and H). */
const TRANSLATED_ONLY = 'VME PSE MTRR PGE PSE36 x2APIC TSC_DEADLINE SMEP SMAP UMIP PAGE1GB';

const key = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
/** Other spellings used in domain configuration files. */
const aliases: Readonly<Record<string, string>> = {
  pni: 'SSE3',
  cx16: 'CMPXCHG16B',
  cmpxchg8: 'CX8',
  sysenter: 'SEP',
  clflush: 'CLFSH',
  abm: 'LZCNT',
  lahfsahf: 'LAHF_LM',
  tscdeadline: 'TSC_DEADLINE',
  sse41: 'SSE4_1',
  sse42: 'SSE4_2',
};
const byKey = new Map([...CPUID_FEATURE.keys()].map((name): [string, string] => [key(name), name]));

export class CpuidPolicy {
  private readonly features = new Set(defaults.split(' '));
  /** Hyper-V leaves first, Xen's at 0x40000100. */
  viridian = false;

  has(name: string): boolean {
    return this.features.has(name);
  }

  set(name: string, on: boolean): void {
    if (on) this.features.add(name);
    else {
      this.features.delete(name);
      for (const dependant of (dependants[name] ?? '').split(' ')) if (dependant !== '') this.set(dependant, false);
    }
  }

  /** What of this a PV guest sees. 32-bit ones have neither long mode nor, on Intel processors, SYSCALL. */
  forPv(width: 32 | 64): CpuidPolicy {
    const policy = new CpuidPolicy();
    policy.features.clear();
    for (const name of this.features) policy.features.add(name);
    for (const name of TRANSLATED_ONLY.split(' ')) policy.set(name, false);
    if (width === 32) for (const name of ['LM', 'SYSCALL']) policy.set(name, false);
    return policy;
  }

  /** The bits of one feature word. */
  word(word: CpuidWord): number {
    let bits = 0;
    for (const name of this.features) {
      const feature = CPUID_FEATURE.get(name);
      if (feature?.word === word) bits |= 1 << feature.bit;
    }
    return bits >>> 0;
  }

  /**
   * Applies the `cpuid` option of a domain configuration: `host,name=0,name=1`. Values x, k and s mean "as the host", so they change nothing.
   * Features the project does not implement cannot be switched on. Throws a RangeError naming what is not understood.
   */
  configure(text: string): void {
    const [base, ...settings] = text.split(',').map((part) => part.trim());
    if (base !== 'host') throw new RangeError(`cpuid: "${base}" is not "host"`);
    for (const setting of settings) {
      const [name, value] = setting.split('=');
      const feature = byKey.get(key(name)) ?? aliases[key(name)];
      if (feature === undefined || value === undefined) throw new RangeError(`cpuid: "${setting}" is not understood`);
      if (value === '0') this.set(feature, false);
      else if (value === '1' && defaults.split(' ').includes(feature)) this.set(feature, true);
    }
  }

  /** Bits of CR4 a guest may set. */
  get cr4Mask(): bigint {
    const bits: readonly (readonly [string, number])[] = [
      ['VME', 0],
      ['VME', 1],
      ['TSC', 2],
      ['DE', 3],
      ['PSE', 4],
      ['PAE', 5],
      ['MCE', 6],
      ['PGE', 7],
      ['FPU', 8],
      ['FXSR', 9],
      ['SSE', 10],
      ['UMIP', 11],
      ['FSGSBASE', 16],
      ['XSAVE', 18],
      ['SMEP', 20],
      ['SMAP', 21],
    ];
    return bits.reduce((mask, [name, bit]) => (this.has(name) ? mask | (1n << BigInt(bit)) : mask), 0n);
  }

  /** Bits of EFER a guest may set: SCE, LME, LMA, NXE. */
  get eferMask(): bigint {
    return (this.has('SYSCALL') ? 1n : 0n) | (this.has('LM') ? 0x500n : 0n) | (this.has('NX') ? 0x800n : 0n);
  }
}

/** Width of guest-physical and linear addresses. */
export const PHYSICAL_BITS = 39;
export const LINEAR_BITS = 48;
