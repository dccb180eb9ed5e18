/** A divergence for people: the calls of both runs side by side, the differing one marked. */
import type { Call, Divergence } from './diff.ts';

const WIDTH = 76;

const shorten = (text: string): string => (text.length <= WIDTH ? text : `${text.slice(0, WIDTH - 1)}…`);

export function divergenceText(divergence: Divergence, names: readonly [left: string, right: string]): string {
  const { vcpu, index, context } = divergence;
  const cell = (call: Call | undefined): string => shorten(call?.text ?? '(no more calls)');
  const rows = context.map(
    (row) => [row.index === index ? '>' : ' ', `#${row.index}`, cell(row.left), cell(row.right)] as const,
  );
  const width = Math.max(names[0].length, ...rows.map((row) => row[2].length));
  const number = Math.max(...rows.map((row) => row[1].length));
  const lines = rows.map(([mark, n, left, right]) => `${mark} ${n.padStart(number)}  ${left.padEnd(width)}  ${right}`);
  const head = `${' '.repeat(number + 4)}${names[0].padEnd(width)}  ${names[1]}`;
  const when = [divergence.left, divergence.right].map((call) => (call === undefined ? 'never' : `${call.time} ns`));
  return [
    `vCPU ${vcpu} sees a difference at its hypercall ${index} (at ${when[0]} and ${when[1]}):`,
    '',
    head,
    ...lines,
    '',
  ].join('\n');
}
