/**
 * Which processors may still hold translations of a frame. A clock counts flushes; a frame remembers the clock when the last
 * reference that counted on its type went, and a processor when it was last flushed completely (key `xen:arch/x86/mm.c`).
 */
import type { Domain } from '../../domain.ts';
import type { Vcpu } from '../../vcpu.ts';

export class Tlbs {
  private readonly domain: Domain;
  private clock = 1;
  private readonly last: Float64Array;

  constructor(domain: Domain) {
    this.domain = domain;
    this.last = new Float64Array(domain.config.maxVcpus).fill(1);
  }

  /** Now, on the clock of flushes. */
  get now(): number {
    return this.clock;
  }

  /** Drops all translations of a processor. */
  flush(vcpu: Vcpu): void {
    vcpu.cpu.flushTlb(true);
    this.last[vcpu.id] = ++this.clock;
  }

  flushAll(): void {
    for (const vcpu of this.domain.vcpus) if (vcpu.isInitialised) this.flush(vcpu);
  }

  flushPageAll(linear: bigint): void {
    for (const vcpu of this.domain.vcpus) if (vcpu.isInitialised) vcpu.cpu.invalidatePage(linear);
  }

  /** Flushes the processors that were not flushed since `stamp`. */
  flushSince(stamp: number): void {
    for (const vcpu of this.domain.vcpus) if (vcpu.isInitialised && this.last[vcpu.id] <= stamp) this.flush(vcpu);
  }
}
