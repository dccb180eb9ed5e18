/** Results of experiments as text and as plain data for JSON. */
import { table } from '../table.ts';
import type { ExperimentResult } from './experiment.ts';

const WIDTH = 120;

/** Words of a paragraph in lines of at most {@link WIDTH}. */
function wrap(text: string, indent = ''): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].map((each, n) => (n === 0 ? each : indent + each)).join('\n');
}

const indented = ({ table: { columns, rows } }: ExperimentResult): string =>
  table(columns, rows).replace(/^(?=.)/gm, '  ');

export function renderText(result: ExperimentResult): string {
  const problems = result.problems.map((problem) => `${wrap(`! ${problem}`, '  ')}\n`).join('');
  const answers = result.answer.map((answer) => `${wrap(`> ${answer}`, '  ')}\n`).join('');
  return `${wrap(`${result.name}: ${result.question}`)}\n\n${indented(result)}\n${answers}${problems}`;
}

/** One object per row, keyed by column. */
export const renderData = (result: ExperimentResult): unknown => ({
  name: result.name,
  question: result.question,
  columns: result.table.columns,
  rows: result.table.rows.map((row) =>
    Object.fromEntries(result.table.columns.map((column, n) => [column, row[n]] as const)),
  ),
  answer: result.answer,
  problems: result.problems,
});
