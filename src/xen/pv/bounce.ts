/**
 * Entering the guest's kernel: the frame a handler finds on its stack, for both widths.
 *
 * 64-bit, from the lowest address, on a 16-byte boundary: rcx, r11, [error code], rip, cs with the saved event mask in bit 32, rflags, rsp, ss; cs
 * has RPL 0 when the kernel was interrupted. 32-bit: [error code], eip, cs with the mask in bit 16, eflags, [esp, ss when the ring changes].
 * IF in the saved flags is the opposite of the mask. `xen:arch/x86/x86_64/entry.S#create_bounce_frame`
 */
import type { Cpu } from '../../cpu/index.ts';
import * as S from '../../cpu/state.ts';
import { HYPERVISOR_END, HYPERVISOR_START } from './address-space.ts';
import { readSegmentBase } from './descriptors.ts';
import { toggleMode } from './guest-mode.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';
import { KERNEL_CS64, KERNEL_SS64 } from './segments.ts';

const ARCHITECTURAL_IOPL = 1n << 4n;

/** Longest frame: eight words. */
const bytes = new Uint8Array(64);
const view = new DataView(bytes.buffer);

/** Flags as the handler finds them saved. */
function savedFlags({ domain }: PvDomain, pv: PvVcpu, masked: boolean): number {
  const flags = pv.frame.flags & ~(S.IF | S.IOPL);
  const iopl = (domain.vmAssist & ARCHITECTURAL_IOPL) !== 0n ? pv.iopl : 0;
  return (flags | (masked ? 0 : S.IF) | iopl) >>> 0;
}

/** Reads the event mask, and sets it when the entry asks for that. */
function takeMask({ domain }: PvDomain, pv: PvVcpu, masks: boolean): boolean {
  const { id } = pv.vcpu;
  const masked = domain.info.upcallMask(id, 'create_bounce_frame');
  if (masks && !masked) domain.info.setUpcallMask(id, true, 'create_bounce_frame');
  return masked;
}

/**
 * Builds the frame for {@link PvVcpu.frame} on the kernel's stack and turns it into the entry of a handler. False: no handler, or a stack that cannot
 * be written, and the domain crashed.
 */
export function bounce(
  domain: PvDomain,
  pv: PvVcpu,
  cpu: Cpu,
  cs: number,
  address: bigint,
  masks: boolean,
  code: number | undefined,
): boolean {
  return pv.width === 64
    ? bounce64(domain, pv, cpu, address, masks, code)
    : bounce32(domain, pv, cpu, cs, address, masks, code);
}

function bounce64(
  domain: PvDomain,
  pv: PvVcpu,
  cpu: Cpu,
  address: bigint,
  masks: boolean,
  code: number | undefined,
): boolean {
  const { frame } = pv;
  let savedCs = frame.cs;
  let top: bigint;
  if (pv.inKernel) {
    top = frame.rsp & ~15n;
    savedCs &= 0xfffc;
  } else {
    toggleMode(domain, pv, cpu);
    top = pv.kernelSp & ~15n;
  }
  if (top > HYPERVISOR_START && top < HYPERVISOR_END + 64n)
    return crash(domain, pv, `its stack at 0x${top.toString(16)} is the hypervisor's`);
  const masked = takeMask(domain, pv, masks);
  const at = code === undefined ? 0 : 8;
  view.setBigUint64(0, cpu.get64(S.gpr(S.RCX)), true);
  view.setBigUint64(8, cpu.get64(S.gpr(11)), true);
  if (code !== undefined) view.setBigUint64(16, BigInt(code), true);
  view.setBigUint64(at + 16, frame.rip, true);
  view.setUint32(at + 24, savedCs, true);
  view.setUint32(at + 28, masked ? 1 : 0, true);
  view.setUint32(at + 32, savedFlags(domain, pv, masked), true);
  view.setUint32(at + 36, 0, true);
  view.setBigUint64(at + 40, frame.rsp, true);
  view.setBigUint64(at + 48, BigInt(frame.ss), true);
  const length = at + 56;
  const rsp = BigInt.asUintN(64, top - BigInt(length));
  if (!cpu.tryWriteLinear(rsp, length === 64 ? bytes : bytes.subarray(0, length)))
    return crash(domain, pv, `its stack at 0x${rsp.toString(16)} cannot be written`);
  if (address === 0n) return crash(domain, pv, 'it has no handler');
  frame.flags &= ~(S.AC | S.VM | S.RF | S.NT | S.TF);
  frame.ss = KERNEL_SS64;
  frame.rsp = rsp;
  frame.cs = KERNEL_CS64;
  frame.rip = address;
  pv.leavesBySysret = true;
  return true;
}

function bounce32(
  domain: PvDomain,
  pv: PvVcpu,
  cpu: Cpu,
  cs: number,
  address: bigint,
  masks: boolean,
  code: number | undefined,
): boolean {
  const { frame } = pv;
  const outer = (frame.cs & 2) !== 0;
  const ss = outer ? pv.kernelSs & 0xffff : frame.ss;
  const base = readSegmentBase(cpu, ss);
  if (base === undefined) return crash(domain, pv, `its stack segment 0x${ss.toString(16)} cannot be loaded`);
  const masked = takeMask(domain, pv, masks);
  const at = code === undefined ? 0 : 4;
  if (code !== undefined) view.setUint32(0, code, true);
  view.setUint32(at, Number(BigInt.asUintN(32, frame.rip)), true);
  view.setUint32(at + 4, frame.cs | (masked ? 0x1_0000 : 0), true);
  view.setUint32(at + 8, savedFlags(domain, pv, masked), true);
  view.setUint32(at + 12, Number(BigInt.asUintN(32, frame.rsp)), true);
  view.setUint32(at + 16, frame.ss, true);
  const length = at + (outer ? 20 : 12);
  const esp = BigInt.asUintN(32, (outer ? pv.kernelSp : frame.rsp) - BigInt(length));
  if (!cpu.tryWriteLinear(base + esp, bytes.subarray(0, length)))
    return crash(domain, pv, `its stack at 0x${esp.toString(16)} cannot be written`);
  if ((cs & 0xfffc) === 0) return crash(domain, pv, 'it has no handler');
  frame.flags &= ~(S.VM | S.RF | S.NT | S.TF);
  frame.ss = ss;
  frame.rsp = esp;
  frame.cs = cs;
  frame.rip = BigInt.asUintN(32, address);
  return true;
}

function crash({ domain }: PvDomain, pv: PvVcpu, why: string): false {
  domain.crash(`vCPU ${pv.vcpu.id} cannot enter its kernel from 0x${pv.frame.rip.toString(16)}: ${why}`);
  pv.vcpu.cpu.requestExit();
  return false;
}
