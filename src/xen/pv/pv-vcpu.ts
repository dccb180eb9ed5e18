/** What a vCPU of a paravirtualised domain has besides its registers. */
import { FLAT_RING1_CS, TI_DISABLE_EVENTS, TI_DPL } from '../../abi/xen/vcpu-guest-context.ts';
import type { Cpu, ReturnFrame } from '../../cpu/index.ts';
import type { Vcpu } from '../vcpu.ts';

/** A machine frame number; 0 is none. */
export type Mfn = number;

/** Where the hypervisor enters the guest's kernel. 64-bit guests have no selectors. */
export interface Callback {
  readonly cs: number;
  /** 0: none registered. */
  readonly address: bigint;
  readonly masksEvents: boolean;
}

export const NO_CALLBACK: Callback = { cs: 0, address: 0n, masksEvents: false };

export const CALLBACK_NAMES = ['event', 'failsafe', 'syscall', 'syscall32', 'sysenter'] as const;
export type CallbackName = (typeof CALLBACK_NAMES)[number];

/** The guest's own interrupt table: 256 vectors. */
export class TrapTable {
  readonly address = new BigUint64Array(256);
  readonly cs = new Uint16Array(256);
  readonly flags = new Uint8Array(256);

  set(vector: number, flags: number, cs: number, address: bigint): void {
    this.flags[vector] = flags;
    this.cs[vector] = cs;
    this.address[vector] = address;
  }

  clear(): void {
    this.address.fill(0n);
    this.cs.fill(0);
    this.flags.fill(0);
  }

  dpl(vector: number): number {
    return this.flags[vector] & TI_DPL;
  }

  masksEvents(vector: number): boolean {
    return (this.flags[vector] & TI_DISABLE_EVENTS) !== 0;
  }
}

/** RPL that the kernel's selectors have at least: 3 for 64-bit guests, 1 for others. */
export const fixSelector = (width: 32 | 64, selector: number): number => {
  const rpl = width === 64 ? 3 : 1;
  return (selector & 3) >= rpl ? selector : (selector & 0xfffc) | rpl;
};

export class PvVcpu {
  readonly vcpu: Vcpu;
  readonly cpu: Cpu;
  readonly width: 32 | 64;
  /** Root page tables: of the kernel, and of a 64-bit guest's user mode. */
  kernelRoot: Mfn = 0;
  userRoot: Mfn | undefined;
  /** 64-bit: in guest kernel mode (the processor is in ring 3 in both). */
  inKernel = true;
  readonly traps = new TrapTable();
  readonly callbacks: Record<CallbackName, Callback> = {
    event: NO_CALLBACK,
    failsafe: NO_CALLBACK,
    syscall: NO_CALLBACK,
    syscall32: NO_CALLBACK,
    sysenter: NO_CALLBACK,
  };
  /** Stack for entering the kernel from user mode. */
  kernelSs = 0;
  kernelSp = 0n;
  /** Virtual I/O privilege level as it stands in EFLAGS: 0, 0x1000, 0x2000 or 0x3000. */
  iopl = 0;
  /** I/O permissions in guest memory, and how many ports they cover. */
  ioBitmap = { address: 0n, ports: 0 };
  /** Control registers as the guest sees them. */
  taskSwitched = false;
  cr2 = 0n;
  cr4 = 0n;
  /** Base of GS in user mode as last seen: what reading the MSR gives. */
  gsBaseUser = 0n;
  /** Enable bits of I/O breakpoints: the processor never sees them. */
  ioBreakpoints = 0;
  /** CPUID faults in user mode. */
  cpuidFaulting = false;
  /** An NMI handler runs until the next iret hypercall, and one that came meanwhile. */
  nmiMasked = false;
  nmiHeld = false;
  /** Registers that a trap saved, on their way to the guest's stack or back onto the processor. */
  readonly frame: ReturnFrame = { rip: 0n, cs: 0, flags: 0, rsp: 0n, ss: 0 };
  /** The iret hypercall wrote {@link frame}: it, not the caller's registers, is what goes on. */
  frameReplaced = false;
  /** The guest goes on by SYSRET, which leaves RIP in rcx and EFLAGS in r11. */
  leavesBySysret = false;
  /** Takes up the state it was initialised with; called once, when it first gets the processor. */
  begin: (() => void) | undefined;
  /** Areas at linear addresses that could not be written in user mode. */
  runstateDeferred = false;
  timeDeferred = false;

  constructor(vcpu: Vcpu, cpu: Cpu) {
    this.vcpu = vcpu;
    this.cpu = cpu;
    this.width = vcpu.domain.config.type === 'pv32' ? 32 : 64;
  }

  /** In the guest's kernel, by the registers on the processor. */
  get kernelMode(): boolean {
    return this.width === 64 ? this.inKernel : this.cpu.cpl === 1;
  }

  /** Code selector of callbacks that name none. */
  get kernelCs(): number {
    return this.width === 64 ? 0xe033 : FLAT_RING1_CS;
  }
}
