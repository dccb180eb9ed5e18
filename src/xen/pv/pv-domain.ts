/** What only paravirtualised domains have. */
import type { Domain } from '../domain.ts';
import { PvMemory } from './mm/pv-memory.ts';
import type { PvVcpu } from './pv-vcpu.ts';

export class PvDomain {
  readonly domain: Domain;
  /** Fixed for the domain's life. */
  readonly width: 32 | 64;
  readonly mm: PvMemory;
  /** By id. */
  readonly vcpus: PvVcpu[] = [];

  constructor(domain: Domain, width: 32 | 64) {
    this.domain = domain;
    this.width = width;
    this.mm = new PvMemory(domain, width, domain.config.maxPages);
  }
}
