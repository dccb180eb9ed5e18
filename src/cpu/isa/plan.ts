/**
 * The variants of all rows: which handler serves which row at which operand size with a register or memory operand.
 *
 * Handler numbers are positions in this plan. The generator and the decoder build it from the same rows, so they agree by
 * construction.
 */
import { type ParsedRow, parseRow } from './encoding.ts';
import { integerRows, vectorRows } from './index.ts';
import type { Row } from './row.ts';

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
  /** Index is the dispatch number; the first two entries are undefined, and so are those of vector rows unless they were asked for. */
  readonly variants: readonly (Variant | undefined)[];
  /** Dispatch numbers below this belong to common variants. */
  readonly commonEnd: number;
  /** Dispatch numbers from here on belong to vector rows. */
  readonly vectors: number;
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

/** Weight from which on a row is common. */
const COMMON = 15;
/** Has a place of its own in the interpreter's main function, which stays small with few of them. */
const isCommon = ({ row }: ParsedRow, size: Size): boolean => size !== 16 && (row.weight ?? 1) >= COMMON;

/** With a ModRM byte that may name either, a register and a memory form. */
const formsOf = ({ memoryForm, registerForm, encoding }: ParsedRow): 1 | 2 =>
  memoryForm && registerForm && encoding.hasModrm ? 2 : 1;

/** Gives dispatch numbers: to the integer rows, common variants first; then, when somebody needs them, to the vector rows. */
class Numbering {
  readonly parsed: ParsedRow[] = [];
  commonEnd = 0;
  /** First number of the vector rows. */
  readonly vectors: number;
  /** Place of a row's first variant in `numbers`. */
  private readonly first = new Map<ParsedRow, number>();
  private readonly numbers: number[] = [];
  private next = OP_CALL + 1;
  private hasVectors = false;

  constructor() {
    this.add(integerRows);
    this.vectors = this.next;
  }

  /** Adds the vector rows; false when they were there. */
  addVectors(): boolean {
    if (this.hasVectors) return false;
    this.hasVectors = true;
    this.add(vectorRows());
    return true;
  }

  number(p: ParsedRow, size: number, form: number): number {
    return this.numbers[this.first.get(p)! + size * formsOf(p) + form];
  }

  private add(rows: readonly Row[]): void {
    const { numbers } = this;
    const from = numbers.length;
    for (const row of rows) {
      const p = parseRow(row);
      this.parsed.push(p);
      if (row.mean === undefined) continue;
      this.first.set(p, numbers.length);
      const forms = formsOf(p);
      for (const size of sizesOf(p))
        for (let form = 0; form < forms; form++) numbers.push(isCommon(p, size) ? this.next++ : -1);
    }
    if (this.commonEnd === 0) this.commonEnd = this.next;
    for (let i = from; i < numbers.length; i++) if (numbers[i] < 0) numbers[i] = this.next++;
  }
}

let made: Numbering | undefined;
const numbering = (): Numbering => {
  made ??= new Numbering();
  return made;
};

/** Dispatch number of the first variant of a vector row. */
export const firstVector = (): number => numbering().vectors;

/** The rows that have been needed: all integer rows, and with `vectors`, or once they were asked for, the vector rows. */
export const knownRows = (vectors: boolean): readonly ParsedRow[] => {
  if (vectors) numbering().addVectors();
  return numbering().parsed;
};

/** Dispatch number of a known row that has a meaning. */
export const variantNumber = (p: ParsedRow, operandSize: 16 | 32 | 64, memory: boolean): number => {
  const sizes = sizesOf(p);
  const size = sizes.length === 1 ? 0 : Math.max(sizes.indexOf(operandSize), 0);
  return numbering().number(p, size, formsOf(p) === 2 && memory ? 1 : 0);
};

/** What a handler is made for; the same as the plan has under the row's {@link variantNumber}. */
export const variantOf = (p: ParsedRow, operandSize: 16 | 32 | 64, memory: boolean): Variant => {
  const sizes = sizesOf(p);
  const size = sizes.length === 1 ? sizes[0] : sizes[Math.max(sizes.indexOf(operandSize), 0)];
  return { parsed: p, size, memory: formsOf(p) === 2 ? memory : p.encoding.hasModrm && p.memoryForm };
};

/** For writers that need a variant but not a certain one: they only use registers, flags and state. */
export const anyVariant = (): Variant =>
  variantOf(knownRows(false).find(({ row }) => row.mean !== undefined)!, 32, false);

/** Variants by dispatch number: those of the integer rows, and with `vectors` all. */
export const instructionPlan = (vectors: boolean): Plan => {
  const variants: (Variant | undefined)[] = [];
  for (const p of knownRows(vectors)) {
    if (p.row.mean === undefined) continue;
    for (const size of sizesOf(p))
      for (const memory of formsOf(p) === 2 ? [false, true] : [p.encoding.hasModrm && p.memoryForm])
        variants[variantNumber(p, size === 0 ? 32 : size, memory)] = { parsed: p, size, memory };
  }
  const { commonEnd, vectors: end } = numbering();
  return { variants: vectors ? variants : variants.slice(0, end), commonEnd, vectors: end };
};
