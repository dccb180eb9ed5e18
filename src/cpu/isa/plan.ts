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
  /** By dispatch number, with holes: not every number has one, and vector rows do only when they were asked for. */
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

/** Weight from which on a row is common: its variants have a place of their own in the interpreter's main function, but for 16-bit ones. */
const COMMON = 15;

/** With a ModRM byte that may name either, a register and a memory form. */
const formsOf = ({ memoryForm, registerForm, encoding }: ParsedRow): 1 | 2 =>
  memoryForm && registerForm && encoding.hasModrm ? 2 : 1;

/** Numbers of a row: register and memory form for 32 bits or no size in particular, the same for 64 bits; elsewhere for 16 bits. */
const NUMBERS = 4,
  NUMBERS_16 = 2;

/**
 * Gives dispatch numbers: to the integer rows, common ones first, 16-bit variants last; then, when somebody needs them, to the vector
 * rows. Nothing is read of a row for that, and not every number has a variant.
 */
class Numbering {
  readonly rows: Row[] = [];
  /** By position of a row: its first number, and the first for 16 bits. */
  private readonly first: number[] = [];
  private readonly first16: number[] = [];
  readonly commonEnd: number;
  /** First number of the vector rows. */
  readonly vectors: number;
  private next = OP_CALL + 1;
  private readonly parsedRows: (ParsedRow | undefined)[] = [];
  private readonly positions = new Map<ParsedRow, number>();

  constructor() {
    const { rows, first, first16 } = this;
    rows.push(...integerRows);
    const isCommon = ({ weight = 1 }: Row): boolean => weight >= COMMON;
    rows.forEach((row, i) => {
      if (isCommon(row)) first[i] = this.take(NUMBERS);
    });
    this.commonEnd = this.next;
    rows.forEach((row, i) => {
      if (!isCommon(row)) first[i] = this.take(NUMBERS);
    });
    for (let i = 0; i < rows.length; i++) first16[i] = this.take(NUMBERS_16);
    this.vectors = this.next;
  }

  private take(count: number): number {
    this.next += count;
    return this.next - count;
  }

  /** Adds the vector rows unless they are there. */
  addVectors(): void {
    if (this.next !== this.vectors) return;
    for (const row of vectorRows()) {
      this.first.push(this.take(NUMBERS));
      this.first16.push(this.take(NUMBERS_16));
      this.rows.push(row);
    }
  }

  parsed(position: number): ParsedRow {
    let p = this.parsedRows[position];
    if (p === undefined) {
      p = parseRow(this.rows[position]);
      this.parsedRows[position] = p;
      this.positions.set(p, position);
    }
    return p;
  }

  number(p: ParsedRow, size: Size, form: number): number {
    const position = this.positions.get(p)!;
    return size === 16 ? this.first16[position] + form : this.first[position] + (size === 64 ? 2 : 0) + form;
  }
}

let made: Numbering | undefined;
const numbering = (): Numbering => {
  made ??= new Numbering();
  return made;
};

/** First of the dispatch numbers of vector rows. */
export const firstVector = (): number => numbering().vectors;

/** All integer rows, and with `vectors`, or once they were asked for, the vector rows. Who names one says its position here. */
export const knownRows = (vectors: boolean): readonly Row[] => {
  if (vectors) numbering().addVectors();
  return numbering().rows;
};

/** A known row with its notation read. */
export const parsedRow = (position: number): ParsedRow => numbering().parsed(position);

/** The same of all known rows. */
export const parsedRows = (vectors: boolean): readonly ParsedRow[] =>
  knownRows(vectors).map((_row, position) => parsedRow(position));

/** The operand size that a row is generated for when an instruction has this one. */
const sizeFor = (p: ParsedRow, operandSize: 16 | 32 | 64): Size => {
  const sizes = sizesOf(p);
  return sizes.length === 1 ? sizes[0] : sizes[Math.max(sizes.indexOf(operandSize), 0)];
};

/** Dispatch number of a known row that has a meaning. */
export const variantNumber = (p: ParsedRow, operandSize: 16 | 32 | 64, memory: boolean): number =>
  numbering().number(p, sizeFor(p, operandSize), formsOf(p) === 2 && memory ? 1 : 0);

/** What a handler is made for; the same as the plan has under the row's {@link variantNumber}. */
export const variantOf = (p: ParsedRow, operandSize: 16 | 32 | 64, memory: boolean): Variant => ({
  parsed: p,
  size: sizeFor(p, operandSize),
  memory: formsOf(p) === 2 ? memory : p.encoding.hasModrm && p.memoryForm,
});

/** For writers that need a variant but not a certain one: they only use registers, flags and state. */
export const anyVariant = (): Variant =>
  variantOf(parsedRow(knownRows(false).findIndex(({ mean }) => mean !== undefined)), 32, false);

/** Variants by dispatch number: those of the integer rows, and with `vectors` all. */
export const instructionPlan = (vectors: boolean): Plan => {
  const variants: Variant[] = [];
  for (const p of parsedRows(vectors)) {
    if (p.row.mean === undefined) continue;
    for (const size of sizesOf(p))
      for (const memory of formsOf(p) === 2 ? [false, true] : [p.encoding.hasModrm && p.memoryForm])
        variants[variantNumber(p, size === 0 ? 32 : size, memory)] = { parsed: p, size, memory };
  }
  const { commonEnd, vectors: end } = numbering();
  return { variants: vectors ? variants : variants.slice(0, end), commonEnd, vectors: end };
};
