/**
 * The failsafe callback: a data segment register could not be loaded, and the guest's kernel learns all four selectors. 64-bit frame: rcx, r11, ds, es, fs, gs,
 * rip, cs with mask, rflags, rsp, ss; 32-bit: ds, es, fs, gs, eip, cs with mask, eflags, [esp, ss]. `xen:arch/x86/domain.c#load_segments`
 */
import * as S from '../../cpu/state.ts';
import { toggleMode } from './guest-mode.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';
import { KERNEL_CS32, KERNEL_CS64, KERNEL_SS32, KERNEL_SS64 } from './segments.ts';

const ARCHITECTURAL_IOPL = 1n << 4n;
const SELECTORS = [S.DS, S.ES, S.FS, S.GS] as const;

/** Builds the frame for {@link PvVcpu.frame} and turns it into the entry of the callback; a stack that cannot be written crashes the domain. */
export function failsafeFrame(domain: PvDomain, pv: PvVcpu, selectors: ReadonlyMap<number, number>): void {
  const { info, vmAssist } = domain.domain;
  const { frame, cpu } = pv;
  const masked = info.upcallMask(pv.vcpu.id, 'create_bounce_frame');
  const iopl = (vmAssist & ARCHITECTURAL_IOPL) !== 0n ? pv.iopl : 0;
  const flags = ((frame.flags & ~(S.IF | S.IOPL)) | (masked ? 0 : S.IF) | iopl) >>> 0;
  const data = SELECTORS.map((n) => BigInt(selectors.get(n) ?? 0));
  const wide = pv.width === 64;
  let top: bigint;
  let words: bigint[];
  if (wide) {
    if (!pv.inKernel) {
      toggleMode(domain, pv, cpu);
      top = pv.kernelSp & ~15n;
    } else {
      frame.cs &= 0xfffc;
      top = frame.rsp & ~15n;
    }
    const cs = BigInt(frame.cs) | (masked ? 1n << 32n : 0n);
    words = [cpu.gpr(S.RCX), cpu.gpr(11), ...data, frame.rip, cs, BigInt(flags), frame.rsp, BigInt(frame.ss)];
  } else {
    const outer = (frame.cs & 3) !== 1;
    top = outer ? pv.kernelSp : frame.rsp;
    const cs = BigInt(frame.cs) | (masked ? 1n << 16n : 0n);
    words = [...data, frame.rip, cs, BigInt(flags), ...(outer ? [frame.rsp, BigInt(frame.ss)] : [])];
  }
  const size = wide ? 8 : 4;
  const bytes = new Uint8Array(words.length * size);
  const view = new DataView(bytes.buffer);
  words.forEach((word, n) => {
    if (wide) view.setBigUint64(n * 8, BigInt.asUintN(64, word), true);
    else view.setUint32(n * 4, Number(BigInt.asUintN(32, word)), true);
  });
  const sp = BigInt.asUintN(wide ? 64 : 32, top - BigInt(bytes.length));
  if (!cpu.tryWriteLinear(sp, bytes)) domain.domain.crash(`vCPU ${pv.vcpu.id}: no room for a failsafe callback frame`);
  const { failsafe } = pv.callbacks;
  if (failsafe.masksEvents) info.setUpcallMask(pv.vcpu.id, true, 'create_bounce_frame');
  frame.flags &= ~(S.VM | S.RF | S.NT | S.TF | (wide ? S.AC : 0));
  frame.ss = wide ? KERNEL_SS64 : KERNEL_SS32;
  frame.cs = wide ? KERNEL_CS64 : KERNEL_CS32;
  frame.rsp = sp;
  frame.rip = failsafe.address;
  pv.leavesBySysret = wide;
}
