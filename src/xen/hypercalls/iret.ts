/**
 * The iret hypercall: where a handler of a PV guest returns to. It never returns itself; what it leaves in rax is the frame's.
 * `xen:public/arch-x86/xen-x86_64.h#iret_context`, `xen:arch/x86/pv/iret.c`
 */
import { __HYPERVISOR_iret } from '../../abi/xen/xen.ts';
import * as S from '../../cpu/state.ts';
import type { HypercallContext, Result } from '../hypercall.ts';
import { crash, full, hypercall } from '../hypercall.ts';
import { accessOkay } from '../pv/address-space.ts';
import { toggleMode } from '../pv/guest-mode.ts';
import { pvCaller, pvDomain } from '../pv/hypercall-common.ts';
import { GP } from '../pv/inject.ts';
import type { PvVcpu } from '../pv/pv-vcpu.ts';

const VGCF_in_syscall = 0x100n;
const ARCHITECTURAL_IOPL = 1n << 4n;
/** Defined flags, and bit 1, which is always set. */
const EFLAGS_ALL = 0x3f_7fd5;
const EFLAGS_FIXED = 2;

/** rax, r11, rcx, flags, rip, cs, rflags, rsp, ss. */
const frame64 = new Uint8Array(72);
const view64 = new DataView(frame64.buffer);
/** A 32-bit frame as far as virtual-8086 mode would need it. */
const frame32 = new Uint8Array(40);
const view32 = new DataView(frame32.buffer);

const realFlags = (image: number): number => (image & EFLAGS_ALL & ~S.IOPL) | S.IF | EFLAGS_FIXED;

/** The event mask is the opposite of IF; the handler of an NMI ends. */
function finish(context: HypercallContext, pv: PvVcpu, flags: number): void {
  const { domain, vcpu } = context;
  domain.info.setUpcallMask(vcpu.id, (flags & S.IF) === 0, 'iret');
  pv.nmiMasked = false;
  if (pv.nmiHeld) {
    pv.nmiHeld = false;
    vcpu.cpu.raiseNmi();
  }
  pv.frameReplaced = true;
}

const takeIopl = ({ domain }: HypercallContext, pv: PvVcpu, flags: number): void => {
  if ((domain.vmAssist & ARCHITECTURAL_IOPL) !== 0n) pv.iopl = flags & S.IOPL;
};

/** Crash: the frame cannot be read; user mode without a user page table. */
function iret64(context: HypercallContext): Result {
  const pv = pvCaller(context);
  const { cpu } = context.vcpu;
  const at = cpu.get64(S.gpr(S.RSP));
  if (!accessOkay(64, at, frame64.length) || !cpu.tryReadLinear(at, frame64))
    return crash(`the iret frame at 0x${at.toString(16)} cannot be read`);
  const cs = view64.getUint16(40, true);
  const flags = view64.getUint32(48, true);
  if ((cs & 3) === 3) {
    if (pv.userRoot === undefined) return crash('iret to user mode without a page table for it');
    toggleMode(pvDomain(context), pv, pv.cpu);
  }
  takeIopl(context, pv, flags);
  const { frame } = pv;
  frame.rip = view64.getBigUint64(32, true);
  frame.cs = cs | 3;
  frame.flags = realFlags(flags) & ~S.VM;
  frame.rsp = view64.getBigUint64(56, true);
  frame.ss = view64.getUint16(64, true) | 3;
  if ((view64.getBigUint64(24, true) & VGCF_in_syscall) === 0n) {
    cpu.set64(S.gpr(11), view64.getBigUint64(8, true));
    cpu.set64(S.gpr(S.RCX), view64.getBigUint64(16, true));
  } else pv.leavesBySysret = true;
  finish(context, pv, flags);
  return view64.getBigInt64(0, true);
}

/** Crash: the frame cannot be read; ring 0. Virtual-8086 mode is #GP at its first instruction. */
function iret32(context: HypercallContext): Result {
  const pv = pvCaller(context);
  const { cpu } = context.vcpu;
  const at = BigInt.asUintN(32, cpu.get64(S.gpr(S.RSP)));
  const read = (length: number): boolean =>
    accessOkay(32, at, length) && cpu.tryReadLinear(at, frame32.subarray(0, length));
  const unreadable = crash(`the iret frame at 0x${at.toString(16)} cannot be read`);
  if (!read(16)) return unreadable;
  const eax = view32.getUint32(0, true);
  let flags = view32.getUint32(12, true);
  const cs = view32.getUint16(8, true);
  takeIopl(context, pv, flags);
  const { frame } = pv;
  frame.flags = realFlags(flags);
  frame.rip = BigInt(view32.getUint32(4, true));
  frame.cs = cs;
  if ((flags & S.VM) !== 0) {
    if (!read(40) || !refuseVm86(pv, at)) return unreadable;
    if (pv.traps.masksEvents(GP)) flags &= ~S.IF;
  } else if ((cs & 3) === 0) return crash('iret to ring 0');
  else if ((cs & 3) === 1) {
    frame.rsp = BigInt.asUintN(32, at + 16n);
    frame.ss = cpu.get32(S.seg(S.SS) + S.SEG_SELECTOR) & 0xffff;
  } else {
    if (!read(24)) return unreadable;
    frame.rsp = BigInt(view32.getUint32(16, true));
    frame.ss = view32.getUint16(20, true);
  }
  finish(context, pv, flags);
  return eax;
}

/** Moves the frame to the kernel's stack, with error code 0 in place of eax, and goes to the #GP handler. */
function refuseVm86(pv: PvVcpu, at: bigint): boolean {
  const { frame, cpu } = pv;
  const to = BigInt.asUintN(32, pv.kernelSp - 40n);
  view32.setUint32(0, 0, true);
  if (to === at ? !cpu.tryWriteLinear(at, frame32.subarray(0, 4)) : !cpu.tryWriteLinear(to, frame32)) return false;
  frame.rsp = to;
  frame.ss = pv.kernelSs & 0xffff;
  frame.flags &= ~(S.VM | S.RF | S.NT | S.TF);
  frame.rip = BigInt.asUintN(32, pv.traps.address[GP]);
  frame.cs = pv.traps.cs[GP];
  return true;
}

export const iret = hypercall(
  __HYPERVISOR_iret,
  'xen:public/xen.h#HYPERVISOR_iret',
  full({ guests: 'pv' }, (context) => (context.width === 'native' ? iret64(context) : iret32(context))),
);
