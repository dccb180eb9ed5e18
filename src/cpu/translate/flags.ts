/**
 * The arithmetic flags inside a region: three locals say which operation set them last and from which values, and the writer knows at
 * most places which operation that is. Flags that nobody reads cost nothing, as the locals are never stored.
 *
 * Kind 0 are computed flags: `a` is FLAG_RESULT, `b` FLAG_BITS. INC and DEC leave CF alone, so where they occur three more locals keep
 * the operation that set CF; their own `b`, the carry, is found out when it is needed.
 */

import { DEC, type FlagOperation, INC } from '../flags.ts';
import { FLAG_WIDTHS, flagKind, flagOperations } from '../isa/flag-operations.ts';
import * as S from '../state.ts';
import { c32, c64, type Val } from '../wasm/function.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import type { Knowledge, RegionBody } from './body.ts';

type FlagWidth = (typeof FLAG_WIDTHS)[number];

/** Which operation set the flags; undefined kind: only the local knows. */
class FlagKnowledge implements Knowledge {
  readonly kind: number | undefined;
  readonly operation: FlagOperation | undefined;
  readonly width: FlagWidth;

  constructor(kind: number | undefined, operation: FlagOperation | undefined, width: FlagWidth) {
    this.kind = kind;
    this.operation = operation;
    this.width = width;
  }
  merge(other: Knowledge): Knowledge {
    return other === this ? this : UNKNOWN;
  }
  forget(): Knowledge {
    return UNKNOWN;
  }
}

const UNKNOWN = new FlagKnowledge(undefined, undefined, 64);
const COMPUTED = new FlagKnowledge(0, undefined, 64);
const byKind = new Map<number, FlagKnowledge>();
for (const operation of flagOperations)
  for (const width of FLAG_WIDTHS) {
    const kind = flagKind(operation, width);
    byKind.set(kind, new FlagKnowledge(kind, operation, width));
  }

/** Kinds of INC and DEC: two operations at all widths, next to each other. */
const STEP_KIND = flagKind(INC, 8),
  STEP_MASK = ~(2 * FLAG_WIDTHS.length - 1);
const STEPS: ReadonlySet<number> = new Set(
  FLAG_WIDTHS.flatMap((width) => [flagKind(INC, width), flagKind(DEC, width)]),
);

/** Nothing is known of the flags. */
export const unknownFlags: Knowledge = UNKNOWN;

export class LazyFlags {
  private readonly f: RegionBody;
  private readonly cpu: Val;
  /** Function (cpu, kind, a, b) that stores the flags of an operation. */
  private readonly settle: number;
  private readonly kind: Val;
  private readonly a: Val;
  private readonly b: Val;
  /** The operation that set CF, where `kind` is INC or DEC; absent in regions without these. */
  private readonly carry: { readonly kind: Val; readonly a: Val; readonly b: Val } | undefined;

  constructor(f: RegionBody, cpu: Val, settle: number, steps: boolean) {
    this.f = f;
    this.cpu = cpu;
    this.settle = settle;
    this.kind = f.variable(I32);
    this.a = f.variable(I64);
    this.b = f.variable(I64);
    if (steps) this.carry = { kind: f.variable(I32), a: f.variable(I64), b: f.variable(I64) };
  }

  /** At the entry: takes the flags from the state block. */
  enter(): void {
    const { f, cpu } = this;
    f.assign(this.kind, f.load('i32.load', cpu, S.FLAG_KIND));
    f.assign(this.a, f.load('i64.load', cpu, S.FLAG_RESULT));
    const bits = f.load('i64.load32_u', cpu, S.FLAG_BITS);
    f.assign(this.b, f.select(this.kind, f.load('i64.load', cpu, S.FLAG_OPERAND), bits));
    if (this.carry === undefined) return;
    f.assign(this.carry.kind, c32(0));
    f.assign(this.carry.a, c64(0n));
    f.assign(this.carry.b, this.b);
  }

  /** At the exit: leaves them there. */
  leave(): void {
    const { f, cpu } = this;
    this.findCarry();
    f.store('i32.store', cpu, this.kind, S.FLAG_KIND);
    f.store('i64.store', cpu, this.a, S.FLAG_RESULT);
    f.store('i64.store', cpu, this.b, S.FLAG_OPERAND);
    f.store('i64.store32', cpu, this.b, S.FLAG_BITS);
  }

  private set(known: FlagKnowledge, a: Val, b: Val): void {
    const { f } = this;
    f.assign(this.kind, c32(known.kind!));
    f.assign(this.a, a);
    f.assign(this.b, b);
    f.known = known;
  }

  /** The flags are those of an operation. */
  remember(operation: FlagOperation, width: FlagWidth, a: Val, b: Val): void {
    this.set(byKind.get(flagKind(operation, width))!, a, b);
  }

  /** The flags but CF are those of INC or DEC. */
  step(operation: FlagOperation, width: FlagWidth, result: Val): void {
    const { f, carry } = this;
    const before = f.known as FlagKnowledge;
    const now = byKind.get(flagKind(operation, width))!;
    if (before.kind === undefined) {
      const kept = this.isStep();
      f.assign(carry!.a, f.select(kept, carry!.a, this.a));
      f.assign(carry!.b, f.select(kept, carry!.b, this.b));
      f.assign(carry!.kind, f.select(kept, carry!.kind, this.kind));
    } else if (!STEPS.has(before.kind)) {
      f.assign(carry!.kind, c32(before.kind));
      f.assign(carry!.a, this.a);
      f.assign(carry!.b, this.b);
    }
    f.assign(this.kind, c32(now.kind!));
    f.assign(this.a, result);
    f.known = now;
  }

  private isStep(): Val {
    const { f } = this;
    return f.op('i32.eq', f.op('i32.and', this.kind, c32(STEP_MASK)), c32(STEP_KIND));
  }

  /** Puts the carry that INC and DEC left alone into `b`. */
  private findCarry(): void {
    const { f, cpu, carry } = this;
    if (carry === undefined) return;
    f.if(this.isStep(), () => {
      f.if(carry.kind, () => {
        f.call(this.settle, [cpu, carry.kind, carry.a, carry.b]);
        f.assign(carry.b, f.load('i64.load32_u', cpu, S.FLAG_BITS));
        f.assign(carry.kind, c32(0));
      });
      f.assign(this.b, f.op('i64.and', carry.b, c64(1n)));
    });
  }

  /** The flags are computed: result sign-extended to 64 bits, FLAG_BITS as i32. */
  store(result: Val, bits: Val): void {
    this.set(COMPUTED, result, this.f.op('i64.extend_i32_u', bits));
  }

  /** The operation that set the flags, when they are not computed. Where it is not known, they are computed first. */
  get operation(): { readonly operation: FlagOperation; readonly width: FlagWidth } | undefined {
    const known = this.f.known as FlagKnowledge;
    if (known.operation !== undefined) return { operation: known.operation, width: known.width };
    if (known.kind === undefined) this.compute();
    return undefined;
  }

  /** Computes the flags and stores them, for TypeScript that looks at them. */
  publish(): void {
    const { f, cpu } = this;
    this.compute();
    f.store('i64.store', cpu, this.a, S.FLAG_RESULT);
    f.store('i64.store32', cpu, this.b, S.FLAG_BITS);
  }

  private compute(): void {
    const { f, cpu } = this;
    this.findCarry();
    f.if(this.kind, () => {
      f.call(this.settle, [cpu, this.kind, this.a, this.b]);
      f.assign(this.a, f.load('i64.load', cpu, S.FLAG_RESULT));
      f.assign(this.b, f.load('i64.load32_u', cpu, S.FLAG_BITS));
      f.assign(this.kind, c32(0));
    });
    f.known = COMPUTED;
  }

  /** Computed flags only ({@link operation} was undefined). */
  result(): Val {
    return this.f.copy(this.a);
  }
  bits(): Val {
    return this.f.op('i32.wrap_i64', this.b);
  }

  /** Values of {@link operation}; for a condition that looks at the result of INC and DEC only, their carry need not be known. */
  values(complete: boolean): readonly [Val, Val] {
    if (complete && STEPS.has((this.f.known as FlagKnowledge).kind!)) this.findCarry();
    return [this.f.copy(this.a), this.f.copy(this.b)];
  }
}
