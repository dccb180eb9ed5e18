/**
 * VCPUOP_initialise of an HVM vCPU: checks and loads a `vcpu_hvm_context`. `xen:public/hvm/hvm_vcpu.h`
 *
 * The vCPU stays down and takes over vCPU 0's time-stamp counter; r8 to r15, fs, gs, ldtr, gdtr, idtr, CR2, debug registers, FPU and local APIC are not touched.
 */
import { EINVAL } from '../../abi/xen/errno.ts';
import type { ValueOf } from '../../abi/xen/struct.ts';
import { decode } from '../../abi/xen/struct.ts';
import {
  VCPU_HVM_MODE_32B,
  VCPU_HVM_MODE_64B,
  vcpu_hvm_x86_32,
  vcpu_hvm_x86_64,
} from '../../abi/xen/vcpu-hvm-context.ts';
import * as S from '../../cpu/state.ts';
import type { Vcpu } from '../vcpu.ts';
import { VPF_down } from '../vcpu.ts';

/** Defined bits of EFLAGS. */
const EFLAGS_ALL = 0x3f_7fd5n;
const EFLAGS_FIXED = 2n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
/** System descriptor type: busy 32-bit TSS (in 64-bit mode the 64-bit one). */
const TSS_BUSY = 0xb;

/** Bits of CR4 and EFER the domain's CPUID allows. */
export interface AllowedBits {
  readonly cr4: bigint;
  readonly efer: bigint;
}

interface Segment {
  readonly base: number;
  readonly limit: number;
  /** As in a descriptor: type 0-3, S 4, DPL 5-6, P 7, AVL 8, L 9, D/B 10, G 11. */
  readonly attr: number;
}

/** General registers in encoding order, then the rest of the state that both modes give. */
interface Registers {
  readonly gprs: readonly bigint[];
  readonly rip: bigint;
  readonly rflags: bigint;
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  readonly cs: Segment;
  readonly ds: Segment;
  readonly ss: Segment;
  readonly es: Segment;
  readonly tr: Segment;
}

const type = (s: Segment): number => s.attr & 0xf;
const present = (s: Segment): boolean => (s.attr & 0x80) !== 0;
const dpl = (s: Segment): number => (s.attr >> 5) & 3;

/**
 * Loads the 128 bytes of a context. All errors are EINVAL: pad or mode; padding, segments, eip beyond cs, privilege levels, LMA without LME (mode
 * 0); rip not canonical, no paging, no PAE, no LME (mode 1); CR4; EFER.
 */
export function initialiseHvm(vcpu: Vcpu, raw: Uint8Array, allowed: AllowedBits): number {
  const context = decode(vcpu_hvm_x86_32, raw, 'native');
  if (context.pad !== 0) return -EINVAL;
  let registers: Registers | undefined;
  if (context.mode === VCPU_HVM_MODE_32B) registers = check32(context);
  else if (context.mode === VCPU_HVM_MODE_64B) registers = check64(decode(vcpu_hvm_x86_64, raw, 'native'));
  if (registers === undefined) return -EINVAL;
  const efer = (registers.efer & EFER_LME) !== 0n ? registers.efer | EFER_LMA : registers.efer;
  if ((registers.cr4 & ~allowed.cr4) !== 0n) return -EINVAL;
  if ((efer & ~allowed.efer) !== 0n) return -EINVAL;
  load(vcpu, { ...registers, efer });
  vcpu.tscOffset = vcpu.domain.vcpus[0].tscOffset;
  vcpu.isInitialised = true;
  vcpu.setPauseFlags(VPF_down);
  return 0;
}

function check32(c: ValueOf<typeof vcpu_hvm_x86_32>): Registers | undefined {
  if (c.pad1 !== 0 || c.pad2.some((pad) => pad !== 0)) return undefined;
  const segment = (n: number): Segment => {
    const attr = c.attributes[n];
    return { base: c.base[n], limit: c.limit[n], attr: (attr & 0x80) !== 0 ? attr | 1 : attr };
  };
  const [cs, ds, ss, es] = [0, 1, 2, 3].map(segment);
  const tr = { base: c.base[4], limit: c.limit[4], attr: c.attributes[4] | 2 };
  if (!isCode(cs) || !isReadableOrNull(ds) || !isStack(ss) || !isReadableOrNull(es) || !isTss(tr)) return undefined;
  const limit = (cs.attr & 0x800) !== 0 ? ((cs.limit << 12) | 0xfff) >>> 0 : cs.limit;
  if (c.eip > limit || dpl(ss) !== dpl(cs)) return undefined;
  if ((present(ds) && dpl(ds) > dpl(cs)) || (present(es) && dpl(es) > dpl(cs))) return undefined;
  if ((c.efer & EFER_LMA) !== 0n && (c.efer & EFER_LME) === 0n) return undefined;
  return {
    gprs: [c.eax, c.ecx, c.edx, c.ebx, c.esp, c.ebp, c.esi, c.edi].map(BigInt),
    rip: BigInt(c.eip),
    rflags: BigInt(c.eflags),
    cr0: BigInt(c.cr0),
    cr3: BigInt(c.cr3),
    cr4: BigInt(c.cr4),
    efer: c.efer,
    cs,
    ds,
    ss,
    es,
    tr,
  };
}

function check64(c: ValueOf<typeof vcpu_hvm_x86_64>): Registers | undefined {
  if (BigInt.asUintN(64, BigInt.asIntN(48, c.rip)) !== c.rip) return undefined;
  if ((c.cr0 & CR0_PG) === 0n || (c.cr4 & CR4_PAE) === 0n || (c.efer & EFER_LME) === 0n) return undefined;
  const data = { base: 0, limit: 0xffff_ffff, attr: 0xc93 };
  return {
    gprs: [c.rax, c.rcx, c.rdx, c.rbx, c.rsp, c.rbp, c.rsi, c.rdi],
    rip: c.rip,
    rflags: c.rflags,
    cr0: c.cr0,
    cr3: c.cr3,
    cr4: c.cr4,
    efer: c.efer,
    cs: { base: 0, limit: 0xffff_ffff, attr: 0xa9b },
    ds: data,
    ss: data,
    es: data,
    tr: { base: 0, limit: 0x67, attr: 0x8b },
  };
}

const noPad = (s: Segment): boolean => s.attr >> 12 === 0;
const isMemory = (s: Segment): boolean => noPad(s) && (s.attr & 0x10) !== 0 && present(s);
const isCode = (s: Segment): boolean => isMemory(s) && (type(s) & 8) !== 0;
const isStack = (s: Segment): boolean => isMemory(s) && (type(s) & 8) === 0 && (type(s) & 2) !== 0;
const isReadableOrNull = (s: Segment): boolean =>
  s.attr === 0 || (isMemory(s) && ((type(s) & 8) === 0 || (type(s) & 2) !== 0));
const isTss = (s: Segment): boolean => noPad(s) && (s.attr & 0x10) === 0 && type(s) === TSS_BUSY && present(s);

function load(vcpu: Vcpu, r: Registers): void {
  const { cpu } = vcpu;
  r.gprs.forEach((value, n) => {
    cpu.set64(S.gpr(n), value);
  });
  cpu.set64(S.RIP, r.rip);
  cpu.eflags = Number((r.rflags & EFLAGS_ALL) | EFLAGS_FIXED);
  cpu.set64(S.CR0, r.cr0);
  cpu.set64(S.CR3, r.cr3);
  cpu.set64(S.CR4, r.cr4);
  cpu.set64(S.EFER, r.efer);
  const put = (n: number, s: Segment): void => {
    const attr = s.attr === 0 ? S.ATTR_UNUSABLE : (s.attr & 0xff) | ((s.attr & 0xf00) << 4);
    cpu.setSegment(
      n,
      0,
      BigInt(s.base),
      (s.attr & 0x800) !== 0 && s.limit <= 0xf_ffff ? ((s.limit << 12) | 0xfff) >>> 0 : s.limit,
      attr,
    );
  };
  put(S.CS, r.cs);
  put(S.DS, r.ds);
  put(S.SS, r.ss);
  put(S.ES, r.es);
  put(S.TR, r.tr);
  cpu.flushTlb(true);
  cpu.updateMode(dpl(r.cs));
}
