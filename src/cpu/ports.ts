/**
 * What a CPU needs from the machine around it. The CPU knows no bus, no device and no hypervisor; whoever builds one
 * supplies these.
 */
import type { Cpu } from './cpu.ts';

/** {@link PhysicalMemory.page}: nothing, or a device, is at the frame. */
export const NO_PAGE = 0;

/** Guest-physical memory. `frame` numbers are physical address >> 12, exact in a double (52-bit physical addresses at most). */
export interface PhysicalMemory {
  /** The one linear memory that holds vCPU state, code records and guest RAM. */
  readonly memory: WebAssembly.Memory;
  /** Byte address in linear memory of the page behind a frame, or NO_PAGE. With `write`, NO_PAGE for read-only pages too. */
  page(frame: number, write: boolean): number;
  /**
   * Byte address in linear memory of what {@link page} says about the first frames, for compiled code: a u32 for each frame, the number of
   * the page (address >> 12) or 0 (ask {@link page}), with bit 31 when it may not be written. 0: there is no such table.
   */
  readonly frameTable: number;
  readonly frameTableLength: number;
  /** Device access that no RAM page answers. `size` is 1, 2 or 4 bytes; naturally aligned. Unclaimed reads give all ones. */
  mmioRead(address: number, size: number): number;
  mmioWrite(address: number, size: number, value: number): void;
}

/** Port I/O. `size` is 1, 2 or 4. Unclaimed reads give all ones (unsigned 32-bit result). */
export interface PortIo {
  in(port: number, size: number): number;
  out(port: number, size: number, value: number): void;
}

/** The maskable interrupt line. */
export interface InterruptLine {
  /** Vector that would be delivered now, or -1. No side effect. Asked only when IF is set and no shadow holds it off. */
  pending(): number;
  /** Takes the interrupt that {@link pending} announced: returns its vector and moves it to in-service. */
  acknowledge(): number;
}

/** What a trapped instruction does next. */
export type TrapOutcome =
  /** Completed: go on behind the instruction. */
  | 'next'
  /** Execute the same instruction again later (a continuation). */
  | 'again'
  /** #UD. */
  | 'undefined'
  /** #GP(0). */
  | 'protection';

/** Instructions whose meaning belongs to the platform. */
export interface TrapSink {
  /** VMCALL (`kind` 0) or VMMCALL (1). Registers are in the CPU's state block. */
  hypercall(cpu: Cpu, kind: 0 | 1): TrapOutcome;
  /** Fills eax, ebx, ecx, edx (u32) for a leaf. */
  cpuid(cpu: Cpu, leaf: number, subleaf: number, out: Uint32Array): void;
  /** Model-specific registers that are not part of the CPU's own state; undefined means #GP(0). */
  rdmsr(cpu: Cpu, index: number): bigint | undefined;
  /** False means #GP(0). */
  wrmsr(cpu: Cpu, index: number, value: bigint): boolean;
  /** Guest time-stamp counter. */
  readTsc(cpu: Cpu): bigint;
  /** Task priority of the local APIC (CR8). */
  readCr8(cpu: Cpu): number;
  writeCr8(cpu: Cpu, value: number): void;
  /** HLT was executed: `interruptible` is EFLAGS.IF. */
  halt(cpu: Cpu, interruptible: boolean): void;
  /** PAUSE: a hint that the vCPU spins. */
  pause(cpu: Cpu): void;
  /** A shutdown condition: a fault while delivering a double fault. */
  tripleFault(cpu: Cpu): void;
  /** An instruction the processor does not have was met and raised #UD; counted by name for `audit`. */
  unknownInstruction(cpu: Cpu, name: string): void;
}

/** Which instruction interrupts: INT n, INT3 and INTO, or INT1. */
export type SoftwareKind = 'int' | 'trap' | 'icebp';

/**
 * Whoever takes the exceptions of a guest in place of its interrupt table: the hypervisor of a paravirtualised guest, whose kernel does
 * not run in ring 0. Registers are in the state block, RIP at the instruction; the owner writes what the guest goes on with.
 */
export interface TrapOwner {
  /** A fault of the instruction at RIP, or a debug trap behind the one before it. #PF's CR2 is set. */
  exception(cpu: Cpu, vector: number, code: number | undefined): void;
  /** An interrupt that {@link InterruptLine.acknowledge} named, or an NMI (2), between instructions. */
  interrupt(cpu: Cpu, vector: number): void;
  /** INT n, INT3, INTO, INT1; `next` is the instruction pointer behind it. */
  software(cpu: Cpu, vector: number, kind: SoftwareKind, next: bigint): void;
  /** SYSCALL in 64-bit code with EFER.SCE set. */
  syscall(cpu: Cpu, next: bigint): void;
  /** SYSENTER in protected mode. */
  sysenter(cpu: Cpu, next: bigint): void;
}

/** What the CPU model offers; decides which instructions exist and which control bits are reserved. */
export interface CpuModel {
  /** Forced emulation prefix (`ud2` followed by "xen") is recognised. */
  readonly forcedEmulation: boolean;
  /** Bits of CR4 that may be set. */
  readonly cr4Mask: bigint;
  /** Bits of EFER that may be set. */
  readonly eferMask: bigint;
  /** Physical address width in bits. */
  readonly physicalBits: number;
}
