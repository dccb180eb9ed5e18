/** What can be heard of a processor at work. With nobody listening each place costs a test for undefined. */
import type { Cpu } from './cpu.ts';

export interface CpuProbe {
  /** Compiled code was left for TypeScript, with an EXIT_* number (interpret/status.ts); RIP and RECORD say where. */
  left(cpu: Cpu, exit: number): void;
  /** An exception is about to be delivered. */
  exception(cpu: Cpu, vector: number): void;
  /** An access of compiled code was not answered by the TLB; the descriptor is that of mmu/access.ts. */
  missed(cpu: Cpu, descriptor: number): void;
}
