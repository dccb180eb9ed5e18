/** The result of a measurement: one record, shown as tables, kept as baseline.json. */
import type { Measured, Start } from './measure.ts';
import { type Bits, WORKLOADS } from './workloads.ts';

export interface Report {
  /** Processor and Node. */
  readonly host: string;
  readonly div: number;
  readonly runs: number;
  readonly versions: Readonly<Record<string, string>>;
  /** Milliseconds from process start to verdict. */
  readonly start: Readonly<Record<string, Start>>;
  /** By build of the guest, then by machine. */
  readonly guests: Readonly<Partial<Record<Bits, Readonly<Record<string, Measured>>>>>;
}

/** Machines that a target is set against. */
const AGAINST = ['qemu', 'v86'] as const;
/** Most that a run of a 128 MiB guest may keep resident. */
const RESIDENT_MIB = 400;
/** What a start may take where Node alone takes 60 ms; elsewhere as many times what Node takes. */
const START_MS = 120,
  NODE_MS = 60;

/** Rows as columns of equal width; the first to the left, the others to the right. */
function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}

const fixed = (value: number | undefined, digits: number): string => value?.toFixed(digits) ?? '';

/** Speed of xenolith as a multiple of another machine's; undefined when one of them has no result. */
const ratioTo = (guest: Readonly<Record<string, Measured>>, other: string, name: string): number | undefined => {
  const mine = guest['xenolith']?.speeds[name],
    theirs = guest[other]?.speeds[name];
  return mine && theirs && mine.mips / theirs.mips;
};

/** What differs that must not, and what is missing: one line each. */
export function mistakes(report: Report, names: readonly string[]): string[] {
  const wrong: string[] = [];
  for (const [bits, guest] of Object.entries(report.guests))
    for (const name of names) {
      const checksums = new Map(
        Object.entries(guest).flatMap(([machine, { speeds }]) =>
          speeds[name] ? [[machine, speeds[name].checksum] as const] : [],
        ),
      );
      if (new Set(checksums.values()).size > 1)
        wrong.push(`bench${bits} ${name}: ${[...checksums].map(([who, sum]) => `${sum} on ${who}`).join(', ')}`);
      if (guest['xenolith'] && !checksums.has('xenolith')) wrong.push(`bench${bits} ${name}: no result of xenolith`);
    }
  return wrong;
}

const nodeStart = (report: Report): number | undefined => report.start['node -e 0']?.median;

/** Targets that were measured and missed: one line each. */
export function missed(report: Report): string[] {
  const lines: string[] = [];
  for (const [bits, guest] of Object.entries(report.guests)) {
    for (const [name, workload] of Object.entries(WORKLOADS))
      for (const other of AGAINST) {
        const ratio = ratioTo(guest, other, name);
        if (ratio !== undefined && ratio < workload[other])
          lines.push(`bench${bits} ${name}: ${ratio.toFixed(2)} of ${other}, wanted ${workload[other].toFixed(1)}`);
      }
    const resident = guest['xenolith']?.residentMib;
    if (resident !== undefined && resident >= RESIDENT_MIB)
      lines.push(`bench${bits}: ${resident.toFixed(0)} MiB resident, wanted less than ${RESIDENT_MIB}`);
  }
  const start = report.start['xenolith']?.median;
  const wanted = Math.max(START_MS, ((nodeStart(report) ?? 0) * START_MS) / NODE_MS);
  if (start !== undefined && start >= wanted)
    lines.push(`start to verdict: ${start.toFixed(0)} ms, wanted less than ${wanted.toFixed(0)}`);
  return lines;
}

function speedTable(bits: Bits, report: Report, baseline: Report | undefined, names: readonly string[]): string[] {
  const guest = report.guests[bits]!;
  const others = Object.keys(guest).filter((machine) => machine !== 'xenolith');
  const before = baseline?.guests[bits];
  const comparable = baseline?.host === report.host && baseline.div === report.div;
  const head = ['workload', 'seconds', 'all', 'MIPS'];
  for (const other of others)
    head.push(`${other} MIPS`, 'ratio', ...(AGAINST.some((name) => name === other) ? ['wanted'] : []));
  if (comparable) head.push('MIPS before');
  else if (before && others.includes('qemu')) head.push('ratio before');
  const rows = names.map((name) => {
    const mine = guest['xenolith']?.speeds[name];
    const row = [name, fixed(mine?.seconds, 3), fixed(mine?.all, 3), fixed(mine?.mips, 0)];
    for (const other of others) {
      const ratio = ratioTo(guest, other, name);
      row.push(fixed(guest[other]!.speeds[name]?.mips, 0), fixed(ratio, 2));
      for (const against of AGAINST)
        if (against === other) {
          const wanted = WORKLOADS[name]![against];
          row.push(`${ratio !== undefined && ratio < wanted ? '< ' : ''}${wanted.toFixed(1)}`);
        }
    }
    if (comparable) row.push(fixed(before?.['xenolith']?.speeds[name]?.mips, 0));
    else if (before && others.includes('qemu')) row.push(fixed(ratioTo(before, 'qemu', name), 2));
    return row;
  });
  return columns([head, ...rows]);
}

/** The report for a reader at a terminal. */
export function show(report: Report, baseline: Report | undefined, names: readonly string[]): string {
  const lines = [
    report.host,
    Object.entries(report.versions)
      .map((pair) => pair.join(' '))
      .join(', '),
  ];
  for (const bits of [32, 64] as const) {
    const guest = report.guests[bits];
    if (guest === undefined) continue;
    lines.push(
      '',
      `bench${bits}, div=${report.div}: medians of ${report.runs}, processor seconds; ratio: speed of xenolith to theirs`,
    );
    lines.push('', ...speedTable(bits, report, baseline, names));
    const resident = Object.entries(guest).flatMap(([machine, { residentMib }]) =>
      residentMib === undefined || machine === 'native' ? [] : [`${machine} ${residentMib.toFixed(0)} MiB`],
    );
    if (resident.length > 0) lines.push('', `peak resident memory, guest of 128 MiB: ${resident.join(', ')}`);
  }
  const starts = Object.entries(report.start);
  if (starts.length > 0) {
    const was = baseline?.host === report.host ? baseline.start : {};
    const node = nodeStart(report);
    const rows = starts.map(([name, { median, best }]) => [
      name,
      ...[median.toFixed(0), best.toFixed(0), fixed(node && median / node, 2), fixed(was[name]?.median, 0)],
    ]);
    lines.push('', 'process start to verdict of a guest that says hello, ms:');
    lines.push(...columns([['', 'median', 'best', 'of node', 'before'], ...rows]));
  }
  const below = missed(report);
  lines.push('', below.length === 0 ? 'every target measured is met' : `below target: ${below.length}`);
  return [...lines, ...below.map((line) => `  ${line}`)].join('\n');
}
