/** The traps of PV guests: the hypervisor takes them all, since the guest's kernel does not run in ring 0. */

import type { VcpuId } from '../../base/int.ts';
import type { Cpu, InterruptLine, SoftwareKind, TrapOwner } from '../../cpu/index.ts';
import type { PvDomain } from './pv-domain.ts';

/** Vector under which the processor is told that an upcall waits: beyond those of the architecture. */
export const UPCALL_VECTOR = 0x100;

export class PvTrapOwner implements TrapOwner {
  private readonly pv: PvDomain;

  constructor(pv: PvDomain) {
    this.pv = pv;
  }

  exception(cpu: Cpu, vector: number, _code: number | undefined): void {
    this.crash(cpu, `exception ${vector}`);
  }

  interrupt(cpu: Cpu, vector: number): void {
    this.crash(cpu, `interrupt ${vector}`);
  }

  software(cpu: Cpu, vector: number, _kind: SoftwareKind, _next: bigint): void {
    this.crash(cpu, `INT ${vector}`);
  }

  syscall(cpu: Cpu, _next: bigint): void {
    this.crash(cpu, 'SYSCALL');
  }

  sysenter(cpu: Cpu, _next: bigint): void {
    this.crash(cpu, 'SYSENTER');
  }

  private crash(cpu: Cpu, what: string): void {
    this.pv.domain.crash(`vCPU ${cpu.id}: ${what} at 0x${cpu.rip.toString(16)} has no handler`);
    cpu.requestExit();
  }
}

/** Announces upcalls: an event waits and the guest has not masked it. Looked at before each stay in the guest. */
export function upcallLine({ domain }: PvDomain, id: VcpuId): InterruptLine {
  const pending = (): number => (domain.upcalls.deliverable(domain.vcpus[id]) ? UPCALL_VECTOR : -1);
  return { pending, acknowledge: pending };
}
