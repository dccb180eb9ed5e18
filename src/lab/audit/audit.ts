/**
 * What a run touched: every access of the hypervisor to vcpu_info, runstate and time areas by site and by what was mapped there, and everything
 * the guest asked for that is not there. Answers who would have dereferenced NULL had an unregistered vcpu_info no dummy page behind it.
 */
import type { AccessMode, AccessSite, AreaAccess, AreaKind, AreaMapping, XenMachine } from '../../xen/index.ts';

/** Accesses that have area, site, mode and mapping in common. */
export interface AreaRow {
  readonly area: AreaKind;
  readonly site: AccessSite;
  readonly mode: AccessMode;
  readonly mapping: AreaMapping;
  count: number;
  /** vCPU of the first of them. */
  readonly firstVcpu: number;
}

export interface Unclaimed {
  readonly space: 'port' | 'memory';
  readonly address: number;
  readonly reads: number;
  readonly writes: number;
}

export interface Counted {
  readonly what: string;
  readonly count: number;
}

export interface AuditReport {
  readonly areas: readonly AreaRow[];
  /** Instructions and hypercalls that are not there, lost events, and whatever else was counted. */
  readonly counts: readonly Counted[];
  /** Port and memory accesses that nothing answered. */
  readonly unclaimed: readonly Unclaimed[];
}

const AREAS: readonly AreaKind[] = ['vcpu_info', 'runstate', 'time'];
const MAPPINGS: readonly AreaMapping[] = ['unset', 'slot', 'registered', 'virtual'];

/** Counts accesses to guest areas; {@link attach} it before the machine runs. */
export class AreaAudit {
  private readonly bySite = new Map<AccessSite, AreaRow[]>();

  attach(machine: XenMachine): void {
    machine.domain.info.access.onAccess = (access) => this.record(access);
  }

  /** Hot: runs at every look at pending interrupts. */
  record(access: AreaAccess): void {
    let rows = this.bySite.get(access.site);
    if (rows === undefined) {
      rows = [];
      this.bySite.set(access.site, rows);
    }
    for (const row of rows) {
      if (row.mapping === access.mapping && row.mode === access.mode && row.area === access.area) {
        row.count++;
        return;
      }
    }
    const { area, site, mode, mapping, vcpu } = access;
    rows.push({ area, site, mode, mapping, count: 1, firstVcpu: vcpu });
  }

  /** In order of area, mapping (unset first), then count. */
  rows(): AreaRow[] {
    return [...this.bySite.values()]
      .flat()
      .sort(
        (a, b) =>
          AREAS.indexOf(a.area) - AREAS.indexOf(b.area) ||
          MAPPINGS.indexOf(a.mapping) - MAPPINGS.indexOf(b.mapping) ||
          b.count - a.count ||
          (a.site < b.site ? -1 : 1),
      );
  }
}

/** The whole report, after or during a run. */
export function auditReport(audit: AreaAudit, machine: XenMachine): AuditReport {
  const { ports, mmio } = machine.platform;
  const space = (name: Unclaimed['space'], bus: Pick<typeof mmio, 'unclaimed'>): Unclaimed[] =>
    [...bus.unclaimed]
      .sort(([a], [b]) => a - b)
      .map(([address, { reads, writes }]) => ({ space: name, address, reads, writes }));
  return {
    areas: audit.rows(),
    counts: [...machine.domain.audit.counts].sort().map(([what, count]) => ({ what, count })),
    unclaimed: [...space('port', ports), ...space('memory', mmio)],
  };
}
