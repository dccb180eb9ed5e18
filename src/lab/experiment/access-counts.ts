/** Counts accesses to vcpu_info that nobody registered, by place in the hypervisor. */
import type { AccessSite, AreaAccess } from '../../xen/index.ts';

export interface AccessCount {
  readonly site: AccessSite;
  readonly mode: AreaAccess['mode'];
  readonly count: number;
  /** vCPUs concerned. */
  readonly vcpus: number;
}

export class AccessCounts {
  private readonly found = new Map<
    string,
    { site: AccessSite; mode: AreaAccess['mode']; count: number; vcpus: Set<number> }
  >();

  add(access: AreaAccess): void {
    if (access.area !== 'vcpu_info' || access.mapping !== 'unset') return;
    const { site, mode } = access;
    const key = `${site} ${mode}`;
    let entry = this.found.get(key);
    if (entry === undefined) {
      entry = { site, mode, count: 0, vcpus: new Set() };
      this.found.set(key, entry);
    }
    entry.count++;
    entry.vcpus.add(access.vcpu);
  }

  /** By site, then mode. */
  list(): AccessCount[] {
    return [...this.found]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { site, mode, count, vcpus }]) => ({ site, mode, count, vcpus: vcpus.size }));
  }
}
