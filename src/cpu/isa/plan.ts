/**
 * The variants of all rows: which handler serves which row at which operand size with a register or memory operand.
 *
 * Handler numbers are positions in this plan. The generator and the decoder build it from the same rows, so they agree by
 * construction.
 */
import { type ParsedRow, parseRow } from './encoding.ts';
import { rows } from './index.ts';

/** Dispatch number of "look the next record up" and of "run the record's TypeScript routine". */
export const OP_END = 0,
  OP_CALL = 1;

export interface Variant {
  readonly parsed: ParsedRow;
  /** Operand size in bits of `v`, `y`, `z` operands; 0 when the row has none. */
  readonly size: 0 | 16 | 32 | 64;
  readonly memory: boolean;
}

export interface Plan {
  readonly parsed: readonly ParsedRow[];
  /** Index is the dispatch number; the first two entries are undefined. */
  readonly variants: readonly (Variant | undefined)[];
  /** First dispatch number of each row with a meaning; see {@link variantNumber}. */
  readonly first: ReadonlyMap<ParsedRow, number>;
}

type Size = 0 | 16 | 32 | 64;
const NONE: readonly Size[] = [0],
  ALL: readonly Size[] = [16, 32, 64],
  WIDE: readonly Size[] = [32, 64];

/** Operand sizes a row is generated for. */
export const sizesOf = ({ row, operands }: ParsedRow): readonly Size[] => {
  let wide = false,
    pointer = false;
  for (const { width, fixed } of operands) {
    if (width === 'v' || width === 'z' || fixed === 'rAX') return ALL;
    if (width === 'y') wide = true;
    else if (width === 'p') pointer = true;
  }
  if (row.size64 === 'f64' && row.operands === '') return ALL;
  if (wide) return WIDE;
  return row.sized === true || row.size64 !== undefined || row.rep !== undefined || pointer ? ALL : NONE;
};

export const variantNumber = (plan: Plan, p: ParsedRow, operandSize: 16 | 32 | 64, memory: boolean): number => {
  const first = plan.first.get(p)!;
  const sizes = sizesOf(p);
  let size = sizes.length === 1 ? 0 : sizes.indexOf(operandSize);
  if (size < 0) size = 0;
  const forms = p.memoryForm && p.registerForm && p.encoding.hasModrm ? 2 : 1;
  return first + size * forms + (forms === 2 && memory ? 1 : 0);
};

let cached: Plan | undefined;

export const instructionPlan = (): Plan => {
  if (cached) return cached;
  const parsed = rows.map(parseRow);
  const variants: (Variant | undefined)[] = [undefined, undefined];
  const first = new Map<ParsedRow, number>();
  for (const p of parsed) {
    if (p.row.mean === undefined) continue;
    first.set(p, variants.length);
    for (const size of sizesOf(p)) {
      if (p.registerForm || !p.encoding.hasModrm) variants.push({ parsed: p, size, memory: false });
      if (p.memoryForm && p.encoding.hasModrm) variants.push({ parsed: p, size, memory: true });
    }
  }
  cached = { parsed, variants, first };
  return cached;
};
