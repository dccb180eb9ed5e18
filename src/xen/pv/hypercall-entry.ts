/** Hypercalls of PV guests: SYSCALL from a 64-bit kernel, INT 0x82 from a 32-bit one. Both are two bytes long. */
import type { Layout } from '../../abi/xen/struct.ts';
import type { Cpu } from '../../cpu/index.ts';
import * as S from '../../cpu/state.ts';
import { HypercallContext, type HypercallTable } from '../hypercall.ts';
import { readCall, writeArguments, writeResult } from '../registers.ts';
import { canonical } from './address-space.ts';
import { saveFrame } from './guest-mode.ts';
import { leave } from './inject.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';
import { KERNEL_CS64, KERNEL_SS64 } from './segments.ts';

const INSTRUCTION = 2n;

export class HypercallEntry {
  /** Called when a hypercall may have changed the guest's memory map. */
  afterCall: () => void = () => {};
  private readonly domain: PvDomain;
  private readonly table: HypercallTable;

  constructor(domain: PvDomain, table: HypercallTable) {
    this.domain = domain;
    this.table = table;
  }

  /** Performs the call; the guest goes on at `next`, or does the call again, or where the iret hypercall leads. */
  enter(pv: PvVcpu, cpu: Cpu, next: bigint): void {
    const { vcpu } = pv;
    const width: Layout = pv.width === 64 ? 'native' : 'compat';
    const { number, args } = readCall(cpu, width);
    const context = new HypercallContext(vcpu, width, number > 0xffffn ? 0xffff : Number(number), args);
    const result = this.table.dispatch(context);
    this.afterCall();
    let rip = next;
    if (typeof result !== 'object') writeResult(cpu, width, result);
    else if (result.kind === 'block') writeResult(cpu, width, result.result);
    else if (result.kind === 'again') {
      writeArguments(cpu, width, result.args);
      rip = next - INSTRUCTION;
    } else this.domain.domain.crash(result.reason);
    if (pv.frameReplaced) {
      pv.frameReplaced = false;
      leave(this.domain, pv, cpu);
    } else if (pv.width === 64) this.sysret(pv, cpu, rip);
    else cpu.rip = rip;
    if (!vcpu.isRunnable) cpu.requestExit();
  }

  /** Code and stack segments are the flat ones afterwards, whatever they were, and an address that is not canonical is a fault there. */
  private sysret(pv: PvVcpu, cpu: Cpu, rip: bigint): void {
    const selector = (n: number): number => cpu.get32(S.seg(n) + S.SEG_SELECTOR) & 0xffff;
    if (canonical(rip) && selector(S.CS) === KERNEL_CS64 && selector(S.SS) === KERNEL_SS64) {
      cpu.rip = rip;
      cpu.set64(S.gpr(S.RCX), rip);
      cpu.set64(S.gpr(11), BigInt(cpu.eflags));
      return;
    }
    saveFrame(pv, cpu, rip);
    pv.frame.cs = KERNEL_CS64;
    pv.frame.ss = KERNEL_SS64;
    pv.leavesBySysret = true;
    leave(this.domain, pv, cpu);
  }
}
