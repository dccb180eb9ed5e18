/** The audit's report for people. */
import { table } from '../table.ts';
import { hypercallName, operationName } from '../trace/names.ts';
import type { AuditReport } from './audit.ts';

/** `hypercall 24.3` gets its names. */
function named(what: string): string {
  const call = /^hypercall (\d+)(?:\.(\d+))?$/.exec(what);
  if (call === null) return what;
  const [, number, operation] = call;
  const name = `hypercall ${number} ${hypercallName(Number(number))}`;
  return operation === undefined ? name : `${name} ${operationName(Number(number), Number(operation))}`;
}

export function auditText({ areas, counts, unclaimed }: AuditReport): string {
  const parts = [
    `Accesses of the hypervisor to guest areas\n${table(
      ['area', 'mapping', 'site', 'kind', 'count', 'first vCPU'],
      areas.map((row) => [row.area, row.mapping, row.site, row.mode, row.count, row.firstVcpu]),
    )}`,
  ];
  const unset = areas.filter((row) => row.mapping === 'unset');
  if (unset.length > 0) {
    const total = unset.reduce((sum, row) => sum + row.count, 0);
    parts.push(
      `${total} accesses went to the dummy; with NULL there, all but update_vcpu_system_time, which tests the pointer, would have faulted.\n`,
    );
  }
  if (counts.length > 0)
    parts.push(
      `Asked for and not there\n${table(
        ['what', 'count'],
        counts.map(({ what, count }) => [named(what), count]),
      )}`,
    );
  if (unclaimed.length > 0)
    parts.push(
      `Accesses that nothing answered\n${table(
        ['space', 'address', 'reads', 'writes'],
        unclaimed.map((u) => [u.space, `0x${u.address.toString(16)}`, u.reads, u.writes]),
      )}`,
    );
  return parts.join('\n');
}
