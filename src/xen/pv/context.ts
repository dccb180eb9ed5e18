/**
 * Loading a vcpu_guest_context: what VCPUOP_initialise does after its first checks, and how the first vCPU gets its registers. From the LDT on, state changes
 * even if a later check fails; the vCPU is down then, so nobody sees it. `xen:arch/x86/domain.c#arch_set_info_guest`
 */
import { EINVAL } from '../../abi/xen/errno.ts';
import { decode } from '../../abi/xen/struct.ts';
import * as c from '../../abi/xen/vcpu-guest-context.ts';
import { loadFpuImage, resetFpu } from '../../cpu/index.ts';
import * as S from '../../cpu/state.ts';
import { checkPvContext } from '../hypercalls/vcpu-initialise-pv.ts';
import type { Vcpu } from '../vcpu.ts';
import { VPF_down, VPF_in_reset } from '../vcpu.ts';
import { setDebugRegister } from './debug-registers.ts';
import { failsafeFrame } from './failsafe.ts';
import { leave } from './inject.ts';
import { loadGdt } from './processor.ts';
import type { PvDomain } from './pv-domain.ts';
import { fixSelector, type PvVcpu } from './pv-vcpu.ts';

const GDT_FRAMES = 14;
const ENTRIES_IN_FRAME = 512;
const CR0_TS = 8n;
const EFLAGS_ALL = 0x3f_7fd5;
const EFLAGS_FIXED = 2;
/** Assists by bit: types 0 to 5, and 32 for 64-bit guests. */
const ASSISTS_32 = 0x3fn,
  ASSISTS_64 = ASSISTS_32 | (1n << 32n);

/** What both forms of a context say. */
interface Context extends Omit<c.GuestContext32, 'user_regs'> {
  readonly wide: c.GuestContext64 | undefined;
  readonly rip: bigint;
  readonly rsp: bigint;
  readonly rflags: number;
  /** General registers in encoding order. */
  readonly gprs: readonly bigint[];
  readonly selectors: {
    readonly cs: number;
    readonly ss: number;
    readonly data: readonly (readonly [number, number])[];
  };
}

function read64(raw: Uint8Array): Context {
  const wide = decode(c.vcpu_guest_context_64, raw, 'native');
  const r = wide.user_regs;
  return {
    ...wide,
    event_callback_cs: 0n,
    failsafe_callback_cs: 0n,
    wide,
    rip: r.rip,
    rsp: r.rsp,
    rflags: Number(BigInt.asUintN(32, r.rflags)) & ~S.VM,
    gprs: [r.rax, r.rcx, r.rdx, r.rbx, 0n, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15],
    selectors: { cs: r.cs, ss: r.ss, data: dataSelectors(r) },
  };
}

function read32(raw: Uint8Array): Context {
  const narrow = decode(c.vcpu_guest_context_32, raw, 'compat');
  const r = narrow.user_regs;
  return {
    ...narrow,
    wide: undefined,
    rip: BigInt(r.eip),
    rsp: BigInt(r.esp),
    rflags: r.eflags,
    gprs: [r.eax, r.ecx, r.edx, r.ebx, 0, r.ebp, r.esi, r.edi, 0, 0, 0, 0, 0, 0, 0, 0].map(BigInt),
    selectors: { cs: r.cs, ss: r.ss, data: dataSelectors(r) },
  };
}

/** In the order they are loaded: a failed load is noticed after all. */
const dataSelectors = (r: { es: number; ds: number; fs: number; gs: number }): (readonly [number, number])[] => [
  [S.FS, r.fs],
  [S.GS, r.gs],
  [S.DS, r.ds],
  [S.ES, r.es],
];

/**
 * EINVAL, in this order: vCPU 0's assists, too many GDT entries, user mode without a root for it, a GDT frame, the roots. 'again': a root's validation was
 * interrupted; the same context continues it.
 */
export function loadPvContext(domain: PvDomain, pv: PvVcpu, raw: Uint8Array, caller?: Vcpu): number | 'again' {
  const context = domain.width === 64 ? read64(raw) : read32(raw);
  const first = pv.vcpu.id === 0;
  loadRegisters(pv, context);
  if (first && (context.vm_assist & ~(domain.width === 64 ? ASSISTS_64 : ASSISTS_32)) !== 0n) return -EINVAL;
  pv.iopl = context.rflags & S.IOPL;
  if (context.gdt_ents > BigInt(GDT_FRAMES * ENTRIES_IN_FRAME)) return -EINVAL;
  if (domain.width === 64 && !pv.inKernel && context.ctrlreg[1] === 0n) return -EINVAL;
  loadSystemState(domain, pv, context);
  if (first) domain.domain.vmAssist = context.vm_assist;
  const memory = loadMemory(domain, pv, context, caller);
  if (memory !== 0) return memory;
  start(domain, pv, context);
  return 0;
}

function loadRegisters(pv: PvVcpu, context: Context): void {
  const { cpu, width } = pv;
  const flags = Number(context.flags & 0xffffn);
  pv.inKernel = width === 32 || (flags & c.VGCF_in_kernel) !== 0;
  if ((flags & c.VGCF_i387_valid) !== 0) loadFpuImage(cpu, context.fpu_ctxt);
  else resetFpu(cpu);
  context.gprs.forEach((value, n) => {
    cpu.set64(S.gpr(n), value);
  });
  const { frame } = pv;
  frame.rip = context.rip;
  frame.rsp = context.rsp;
  frame.flags = (context.rflags & EFLAGS_ALL & ~S.IOPL) | S.IF | EFLAGS_FIXED;
  frame.cs = fixSelector(width, context.selectors.cs);
  frame.ss = fixSelector(width, context.selectors.ss);
  context.trap_ctxt.forEach((entry, vector) => {
    pv.traps.set(vector, entry.flags, fixSelector(width, entry.cs), entry.address);
  });
}

function loadSystemState(domain: PvDomain, pv: PvVcpu, context: Context): void {
  const { wide } = context;
  const flags = Number(context.flags & 0xffffn);
  pv.kernelSs = fixSelector(pv.width, Number(context.kernel_ss & 0xffffn));
  pv.kernelSp = context.kernel_sp;
  const cs = (selector: bigint): number => (pv.width === 32 ? fixSelector(32, Number(selector & 0xffffn)) : 0);
  const masks = (bit: number): boolean => (flags & bit) !== 0;
  pv.callbacks.event = {
    cs: cs(context.event_callback_cs),
    address: context.event_callback_eip,
    masksEvents: true,
  };
  pv.callbacks.failsafe = {
    cs: cs(context.failsafe_callback_cs),
    address: context.failsafe_callback_eip,
    masksEvents: masks(c.VGCF_failsafe_disables_events),
  };
  if (wide !== undefined) {
    const masksEvents = masks(c.VGCF_syscall_disables_events);
    pv.callbacks.syscall = { cs: 0, address: wide.syscall_callback_eip, masksEvents };
    pv.gsBaseUser = wide.gs_base_user;
  }
  domain.setTaskSwitched(pv, (context.ctrlreg[0] & CR0_TS) !== 0n);
  pv.cr2 = context.ctrlreg[2];
  domain.setCr4(pv, context.ctrlreg[4]);
  for (const n of [0, 1, 2, 3, 6, 7]) setDebugRegister(pv, n, n < 6 ? 0n : DEBUG_DEFAULTS[n - 6]);
  for (const n of [0, 1, 2, 3, 6, 7]) setDebugRegister(pv, n, context.debugreg[n]);
}
const DEBUG_DEFAULTS = [0xffff_0ff0n, 0x400n];

/** Descriptor tables and roots. Failing drops the GDT again and leaves the vCPU in reset. */
function loadMemory(domain: PvDomain, pv: PvVcpu, context: Context, caller: Vcpu | undefined): number | 'again' {
  const { mm } = domain;
  mm.enter(caller);
  const frames = Math.ceil(Number(context.gdt_ents) / ENTRIES_IN_FRAME);
  const gdt = mm.setGdt(pv, context.gdt_frames.slice(0, frames).map(Number), Number(context.gdt_ents));
  if (gdt !== 0) return -EINVAL;
  pv.vcpu.setPauseFlags(VPF_in_reset);
  const layout = domain.width === 64 ? 'native' : 'compat';
  let result = mm.setKernelRoot(pv, frameNumber(c.cr3ToFrame(context.ctrlreg[3], layout)));
  const user = context.ctrlreg[1];
  if (result === 0 && domain.width === 64 && user !== 0n)
    result = mm.setUserRoot(pv, frameNumber(c.cr3ToFrame(user, layout)));
  if (result !== 0) mm.setGdt(pv, [], 0);
  return result;
}

/** Frame numbers beyond every machine's are no frame's. */
const frameNumber = (mfn: bigint): number => (mfn < 1n << 40n ? Number(mfn) : 2 ** 40);

/** Makes the loaded state the vCPU's; its processor takes it up when it first runs. */
function start(domain: PvDomain, pv: PvVcpu, context: Context): void {
  const { vcpu, cpu } = pv;
  pv.begin = () => enterFirst(domain, pv, context);
  cpu.rip = pv.frame.rip;
  vcpu.pauseFlags &= ~VPF_in_reset;
  if (vcpu.id === 0) domain.domain.info.updateWallclock();
  vcpu.isInitialised = true;
  if ((context.flags & BigInt(c.VGCF_online)) !== 0n) vcpu.putOnlineAsleep();
  else vcpu.setPauseFlags(VPF_down);
}

/** Descriptor tables, root and segments. Data segments that cannot be loaded are null, and the failsafe callback tells. */
function enterFirst(domain: PvDomain, pv: PvVcpu, context: Context): void {
  const { cpu } = pv;
  const { wide } = context;
  const { mm } = domain;
  loadGdt(cpu, mm.gdtBase(pv));
  mm.setLdt(pv, context.ldt_base, Number(context.ldt_ents));
  mm.loadRoot(pv);
  cpu.updateMode(domain.width === 64 ? 3 : pv.frame.cs & 3);
  const failed = context.selectors.data.filter(([n, selector]) => {
    if (cpu.tryLoadSegment(n, selector)) return false;
    cpu.tryLoadSegment(n, 0);
    return true;
  });
  if (wide !== undefined) {
    cpu.set64(S.seg(S.FS), wide.fs_base);
    cpu.set64(S.seg(S.GS), pv.inKernel ? wide.gs_base_kernel : wide.gs_base_user);
    cpu.set64(S.KERNEL_GS_BASE, pv.inKernel ? wide.gs_base_user : wide.gs_base_kernel);
  }
  if (failed.length > 0) failsafeFrame(domain, pv, new Map(context.selectors.data));
  leave(domain, pv, cpu);
}

/** For the domain builder: checks and loads the context of vCPU 0, which runs as soon as the domain does. 0 or -errno. */
export function loadFirstContext(domain: PvDomain, raw: Uint8Array): number {
  const layout = domain.width === 64 ? 'native' : 'compat';
  const checked = checkPvContext(domain.domain.rules, layout, raw);
  if (checked !== 0) return checked;
  const [pv] = domain.vcpus;
  const result = loadPvContext(domain, pv, raw);
  if (result === 'again') throw new Error('the builder is never interrupted');
  if (result === 0) pv.vcpu.wake();
  return result;
}
