/**
 * The arithmetic flags inside a region: three locals say which operation set them last and from which values, and the writer knows at
 * most places which operation that is. Flags that nobody reads cost nothing, as the locals are never stored.
 *
 * Kind 0 are computed flags: `a` is FLAG_RESULT, `b` FLAG_BITS. Where ways meet the locals would have to be carried along for the case that
 * the region is left there. In loops that is cheap; elsewhere, and in front of the dispatcher, the state block takes the flags over
 * ({@link FlagsAt}), so that registers are free for what the guest computes.
 *
 * INC and DEC leave CF alone: `b` is the carry when it is known what it follows from. Otherwise the operation that set it goes to FLAG_BEFORE
 * and is looked at with the flags.
 */

import { DEC, type FlagOperation, INC } from '../flags.ts';
import { FLAG_WIDTHS, flagKind, flagOperations, isPending, pendingKind } from '../isa/flag-operations.ts';
import type { Semantics } from '../semantics.ts';
import * as S from '../state.ts';
import { c32, c64, I32, I64, type Val } from '../wasm/value.ts';
import type { Knowledge, RegionBody } from './body.ts';

type FlagWidth = (typeof FLAG_WIDTHS)[number];

/** Where the flags are at the beginning of code that several ways lead to: in the locals, in the state block, or nobody looks at them. */
export type FlagsAt = 'locals' | 'state' | 'nowhere';

interface WidthSemantics extends Semantics {
  /** Writes code at another operation width. */
  atWidth<T>(width: FlagWidth, inner: () => T): T;
}

/** Which operation set the flags; undefined kind: only the local knows. */
class FlagKnowledge implements Knowledge {
  readonly kind: number | undefined;
  readonly operation: FlagOperation | undefined;
  readonly width: FlagWidth;
  /** INC or DEC whose carry is not known: it follows from FLAG_BEFORE. */
  readonly pending: boolean;

  constructor(kind: number | undefined, operation: FlagOperation | undefined, width: FlagWidth, pending = false) {
    this.kind = kind;
    this.operation = operation;
    this.width = width;
    this.pending = pending;
  }
  merge(other: Knowledge): Knowledge {
    return other === this ? this : UNKNOWN;
  }
  forget(): Knowledge {
    return UNKNOWN;
  }
}

const UNKNOWN = new FlagKnowledge(undefined, undefined, 64);
/** They are in the state block. */
const STORED = new FlagKnowledge(undefined, undefined, 64);
/** Nobody looks before they are set. */
const DEAD = new FlagKnowledge(undefined, undefined, 64);
const COMPUTED = new FlagKnowledge(0, undefined, 64);
const byKind = new Map<number, FlagKnowledge>();
for (const width of FLAG_WIDTHS) {
  for (const operation of flagOperations) {
    const kind = flagKind(operation, width);
    byKind.set(kind, new FlagKnowledge(kind, operation, width));
  }
  for (const operation of [INC, DEC]) {
    const kind = pendingKind(operation, width);
    byKind.set(kind, new FlagKnowledge(kind, operation, width, true));
  }
}

/** What the local `kind` is while the flags are in the state block. */
const IN_STATE = -1;

/** Flags where a region is entered. */
export const storedFlags: Knowledge = STORED;

export class LazyFlags {
  private readonly f: RegionBody;
  private readonly s: WidthSemantics;
  private readonly cpu: Val;
  /** Function (cpu, kind, a, b) that stores the flags of an operation. */
  private readonly settle: number;
  private readonly kind: Val;
  private readonly a: Val;
  private readonly b: Val;

  constructor(f: RegionBody, s: WidthSemantics, cpu: Val, settle: number) {
    this.f = f;
    this.s = s;
    this.cpu = cpu;
    this.settle = settle;
    this.kind = f.variable(I32);
    this.a = f.variable(I64);
    this.b = f.variable(I64);
  }

  private get known(): FlagKnowledge {
    return this.f.known as FlagKnowledge;
  }

  // ---- places where ways meet ----

  /** At the beginning of code that several ways lead to; `known` is what all of them know when they were all written. */
  begin(at: FlagsAt, known: Knowledge = UNKNOWN): void {
    const { f } = this;
    f.known = at === 'locals' ? known : at === 'state' ? STORED : DEAD;
    const { kind } = this.known;
    // Constants, so that no value is carried here.
    if (kind !== undefined) f.assign(this.kind, c32(kind));
    else if (f.known !== UNKNOWN) this.forget();
  }

  private forget(): void {
    const { f } = this;
    f.assign(this.kind, c32(IN_STATE));
    f.assign(this.a, c64(0n));
    f.assign(this.b, c64(0n));
  }

  /** On the way to such code: puts the flags where they are looked for. */
  pass(at: FlagsAt): void {
    if (at === 'state') this.put();
  }

  /** Are the flags in the state block? */
  get stored(): boolean {
    if (this.known === DEAD) throw new Error('flags that nobody sets are looked at');
    return this.known === STORED;
  }

  /** Puts the flags into the state block, unless they are there. */
  put(): void {
    const { f, cpu } = this;
    const { kind, pending } = this.known;
    if (this.stored) return;
    if (kind === undefined) {
      f.if(f.op('i32.ne', this.kind, c32(IN_STATE)), () => this.putLocals());
      return;
    }
    f.store('i32.store', cpu, c32(kind), S.FLAG_KIND);
    f.store('i64.store', cpu, this.a, S.FLAG_RESULT);
    if (kind === 0) f.store('i64.store32', cpu, this.b, S.FLAG_BITS);
    else if (!pending) f.store('i64.store', cpu, this.b, S.FLAG_OPERAND);
  }

  private putLocals(): void {
    const { f, cpu } = this;
    f.store('i32.store', cpu, this.kind, S.FLAG_KIND);
    f.store('i64.store', cpu, this.a, S.FLAG_RESULT);
    f.store('i64.store', cpu, this.b, S.FLAG_OPERAND);
    f.store('i64.store32', cpu, this.b, S.FLAG_BITS);
  }

  /** At the exit for flags that are not {@link stored}. */
  leave(): void {
    this.f.if(this.f.op('i32.ne', this.kind, c32(IN_STATE)), () => this.putLocals());
  }

  // ---- setting ----

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

  /** The flags but CF are those of INC or DEC; `unseen`: nobody looks at them. */
  step(operation: FlagOperation, width: FlagWidth, result: Val, unseen: boolean): void {
    const { f } = this;
    if (unseen) {
      this.forget();
      f.known = DEAD;
      return;
    }
    const before = this.known;
    if (before.kind !== undefined && !before.pending) {
      this.remember(operation, width, result, this.carry(before));
      return;
    }
    if (!before.pending) this.keepBefore();
    this.set(byKind.get(pendingKind(operation, width))!, result, c64(0n));
  }

  /** CF after an operation that is known, as i64. */
  private carry({ kind, operation, width }: FlagKnowledge): Val {
    const { f, s } = this;
    if (kind === 0) return f.op('i64.and', this.b, c64(1n));
    const carry = s.atWidth(width, () => operation!.carry(s, f.copy(this.a), f.copy(this.b)));
    return carry.type === I32 ? f.op('i64.extend_i32_u', carry) : carry;
  }

  /** What set the flags goes to FLAG_BEFORE, unless that was INC or DEC whose carry is from there. */
  private keepBefore(): void {
    const { f, cpu } = this;
    this.recall();
    f.if(f.op('i32.eqz', isPending(f, this.kind)), () => {
      f.store('i32.store', cpu, this.kind, S.FLAG_BEFORE);
      f.store('i64.store', cpu, this.a, S.FLAG_BEFORE_RESULT);
      f.store('i64.store', cpu, this.b, S.FLAG_BEFORE_OPERAND);
    });
  }

  /** Takes the flags from the state block, if they are there. */
  private recall(): void {
    const { f, cpu } = this;
    const take = (): void => {
      f.assign(this.kind, f.load('i32.load', cpu, S.FLAG_KIND));
      f.assign(this.a, f.load('i64.load', cpu, S.FLAG_RESULT));
      const bits = f.load('i64.load32_u', cpu, S.FLAG_BITS);
      f.assign(this.b, f.select(this.kind, f.load('i64.load', cpu, S.FLAG_OPERAND), bits));
    };
    if (this.stored) take();
    else f.if(f.op('i32.eq', this.kind, c32(IN_STATE)), take);
    f.known = UNKNOWN;
  }

  /** The flags are computed: result sign-extended to 64 bits, FLAG_BITS as i32. */
  store(result: Val, bits: Val): void {
    this.set(COMPUTED, result, this.f.op('i64.extend_i32_u', bits));
  }

  // ---- looking ----

  /**
   * The operation that set the flags, when they are not computed. Where it is not known they are computed first, and so they are where the
   * carry of INC or DEC is not and `complete` asks for all flags.
   */
  operation(complete: boolean): { readonly operation: FlagOperation; readonly width: FlagWidth } | undefined {
    const { operation, width, pending } = this.known;
    if (operation !== undefined && !(complete && pending)) return { operation, width };
    if (this.known.kind !== 0) this.compute();
    return undefined;
  }

  /** Computes the flags and stores them, for TypeScript that looks at them. */
  publish(): void {
    const { f, cpu } = this;
    this.compute();
    f.store('i32.store', cpu, c32(0), S.FLAG_KIND);
    f.store('i64.store', cpu, this.a, S.FLAG_RESULT);
    f.store('i64.store32', cpu, this.b, S.FLAG_BITS);
  }

  private compute(): void {
    const { f, cpu } = this;
    if (this.known.kind === undefined) this.recall();
    f.ifRarely(this.kind, () => {
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

  /** Values of {@link operation}. */
  values(): readonly [Val, Val] {
    return [this.f.copy(this.a), this.f.copy(this.b)];
  }
}
