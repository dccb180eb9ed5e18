/** The traps of PV guests: the hypervisor takes them all, since the guest's kernel does not run in ring 0. */
import { VMASST_TYPE_writable_pagetables } from '../../abi/xen/misc.ts';
import type { VcpuId } from '../../base/int.ts';
import type { Cpu, InterruptLine, SoftwareKind, TrapOwner } from '../../cpu/index.ts';
import * as S from '../../cpu/state.ts';
import { emulateGate } from './emulate/gate.ts';
import { emulateInvalid } from './emulate/invalid.ts';
import { emulatePrivileged } from './emulate/privileged.ts';
import { emulateTableWrite } from './emulate/table-write.ts';
import { saveFrame } from './guest-mode.ts';
import type { HypercallEntry } from './hypercall-entry.ts';
import {
  BP,
  DB,
  enterCallback,
  enterHandler,
  GP,
  inject,
  injectPageFault,
  leave,
  NM,
  NMI,
  OF,
  PF,
  UD,
  unhandled,
} from './inject.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';
import { KERNEL_CS64, KERNEL_SS64, USER_SS_PV32 } from './segments.ts';

/** Vector under which the processor is told that an upcall waits: beyond those of the architecture. */
export const UPCALL_VECTOR = 0x100;

const HYPERCALL_VECTOR = 0x82;
const INT80 = 0x80;
/** A selector error code names an entry of the interrupt table. */
const CODE_IDT = 2;
const CR0_TS = 8n;
const WRITABLE_PAGETABLES = 1n << BigInt(VMASST_TYPE_writable_pagetables);

export class PvTrapOwner implements TrapOwner {
  private readonly domain: PvDomain;
  private readonly hypercalls: HypercallEntry;

  constructor(domain: PvDomain, hypercalls: HypercallEntry) {
    this.domain = domain;
    this.hypercalls = hypercalls;
  }

  exception(cpu: Cpu, vector: number, code: number | undefined): void {
    const pv = this.arrive(cpu);
    switch (vector) {
      case PF:
        this.pageFault(pv, cpu, code ?? 0);
        return;
      case GP:
        if (code === 0 ? emulatePrivileged(this.domain, pv, cpu) : emulateGate(this.domain, pv, cpu, code ?? 0)) return;
        break;
      case UD:
        if (emulateInvalid(this.domain, pv, cpu)) return;
        break;
      case NM:
        // The hypervisor's ABI: delivering #NM clears TS.
        pv.taskSwitched = false;
        cpu.set64(S.CR0, cpu.get64(S.CR0) & ~CR0_TS);
        cpu.updateMode();
        break;
    }
    inject(this.domain, pv, cpu, vector, code);
  }

  interrupt(cpu: Cpu, vector: number): void {
    const pv = this.arrive(cpu);
    if (vector === NMI) {
      this.nmi(pv, cpu);
      return;
    }
    saveFrame(pv, cpu, cpu.rip);
    if (enterCallback(this.domain, pv, cpu, pv.callbacks.event, true)) leave(this.domain, pv, cpu);
  }

  /**
   * INT n: the table entry's DPL decides, except for INT3, INTO and INT 0x80, which always reach their handler. INT 0x82 is the hypercall of 32-bit
   * kernels.
   */
  software(cpu: Cpu, vector: number, kind: SoftwareKind, next: bigint): void {
    const pv = this.arrive(cpu);
    if (kind === 'icebp') {
      inject(this.domain, pv, cpu, DB, undefined, next);
      return;
    }
    if (vector === HYPERCALL_VECTOR && pv.width === 32 && cpu.cpl <= 1) {
      this.hypercalls.enter(pv, cpu, next);
      return;
    }
    const open = vector === BP || vector === OF || (vector === INT80 && !unhandled(pv, vector));
    const permitted = pv.traps.dpl(vector) >= (pv.kernelMode ? 1 : 3);
    const reserved = vector === HYPERCALL_VECTOR && pv.width === 32;
    if (open || (permitted && !reserved)) inject(this.domain, pv, cpu, vector, undefined, next);
    else inject(this.domain, pv, cpu, GP, vector * 8 + CODE_IDT);
  }

  /** From the kernel a hypercall. From user mode the syscall callback; without one #UD at the instruction. */
  syscall(cpu: Cpu, next: bigint): void {
    const pv = this.arrive(cpu);
    if (pv.width === 64 && pv.inKernel) {
      this.hypercalls.enter(pv, cpu, next);
      return;
    }
    const { syscall } = pv.callbacks;
    if (pv.width === 32) {
      // Only 64-bit code has SYSCALL here, which a 32-bit guest cannot run.
      inject(this.domain, pv, cpu, UD, undefined);
      return;
    }
    cpu.set64(S.gpr(S.RCX), next);
    cpu.set64(S.gpr(11), BigInt(cpu.eflags));
    saveFrame(pv, cpu, syscall.address === 0n ? cpu.rip : next);
    pv.frame.cs = KERNEL_CS64;
    pv.frame.ss = KERNEL_SS64;
    if (syscall.address === 0n) {
      if (enterHandler(this.domain, pv, cpu, UD, undefined)) leave(this.domain, pv, cpu);
    } else if (enterCallback(this.domain, pv, cpu, syscall)) {
      pv.frame.flags &= ~S.DF;
      leave(this.domain, pv, cpu);
    }
  }

  /** The sysenter callback, which learns nothing about where it came from; without one #GP(0). */
  sysenter(cpu: Cpu, _next: bigint): void {
    const pv = this.arrive(cpu);
    const { sysenter } = pv.callbacks;
    saveFrame(pv, cpu, 0n);
    const { frame } = pv;
    frame.cs = 3;
    frame.ss = pv.width === 64 ? KERNEL_SS64 : USER_SS_PV32;
    frame.rsp = 0n;
    frame.flags &= ~S.VM;
    const cs = (sysenter.cs & 0xfffc) === 0 ? pv.traps.cs[GP] : sysenter.cs;
    const entered =
      sysenter.address === 0n
        ? enterHandler(this.domain, pv, cpu, GP, 0)
        : enterCallback(this.domain, pv, cpu, { ...sysenter, cs });
    if (entered) leave(this.domain, pv, cpu);
  }

  private pageFault(pv: PvVcpu, cpu: Cpu, code: number): void {
    const linear = cpu.get64(S.CR2);
    switch (this.domain.mm.pageFault(pv, linear, code)) {
      case 'retry':
        cpu.set32(S.EFLAGS_REST, cpu.get32(S.EFLAGS_REST) | resumeFlag(cpu));
        return;
      case 'table-write':
        if (this.mayWriteTables(pv) && emulateTableWrite(this.domain, pv, cpu, linear)) return;
    }
    injectPageFault(this.domain, pv, cpu, linear, code);
  }

  /** Only the kernel's writes are emulated, and only for a guest that asked for writable page tables. */
  private mayWriteTables(pv: PvVcpu): boolean {
    return pv.kernelMode && (this.domain.domain.vmAssist & WRITABLE_PAGETABLES) !== 0n;
  }

  /** Lost without a handler; held back while one runs. The processor's own blocking is not used: only the iret hypercall ends a handler. */
  private nmi(pv: PvVcpu, cpu: Cpu): void {
    cpu.set32(S.NMI_BLOCKED, 0);
    if (pv.nmiMasked) {
      pv.nmiHeld = true;
      return;
    }
    if (unhandled(pv, NMI)) return;
    pv.nmiMasked = true;
    inject(this.domain, pv, cpu, NMI, undefined);
  }

  /** Debug traps that a MOV SS held back are met in the hypervisor, where they mean nothing. */
  private arrive(cpu: Cpu): PvVcpu {
    cpu.set32(S.PENDING_DEBUG, 0);
    const pv = this.domain.vcpus[cpu.id];
    pv.leavesBySysret = false;
    return pv;
  }
}

/** RF, where it means anything: the instruction goes on behind its breakpoint. */
const resumeFlag = (cpu: Cpu): number => ((cpu.get32(S.DR7) & 0xff) === 0 ? 0 : S.RF);

/** Announces upcalls: an event waits and the guest has not masked it. Looked at before each stay in the guest. */
export function upcallLine({ domain }: PvDomain, id: VcpuId): InterruptLine {
  const { info } = domain;
  const pending = (): number => {
    // Both bytes as one word, as the hypervisor looks at them: pending is 1 to 255, the mask above it 0.
    const word = info.vcpuInfo(id, 'test_guest_events', 'read').getUint16(0, true);
    return word !== 0 && word < 0x100 ? UPCALL_VECTOR : -1;
  };
  return { pending, acknowledge: () => UPCALL_VECTOR };
}
