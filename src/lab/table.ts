/** Text tables: columns as wide as their widest cell, numbers to the right. */
export function table(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const widths = heads.map((head, n) => Math.max(head.length, ...rows.map((row) => String(row[n]).length)));
  const line = (cells: readonly (string | number)[]): string =>
    cells
      .map((cell, n) => (typeof cell === 'number' ? String(cell).padStart(widths[n]!) : cell.padEnd(widths[n]!)))
      .join('  ')
      .trimEnd();
  return [line(heads), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].map((l) => `${l}\n`).join('');
}
