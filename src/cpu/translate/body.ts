/**
 * Body of a region's function: follows what is known about the lazy flags through the conditionals of instruction meanings, and which
 * code can be reached at all.
 */
import { FunctionBody } from '../wasm/function.ts';
import type { Label, Val } from '../wasm/value.ts';

/** What the code writer knows at a place; immutable, so that places can be compared and merged. */
export interface Knowledge {
  /** What is known where two ways meet: the same, or nothing. */
  merge(other: Knowledge): Knowledge;
  /** What is left when code may have run that was not yet seen: at the head of a loop. */
  forget(): Knowledge;
}

export class RegionBody extends FunctionBody {
  known: Knowledge;
  /** False behind a jump, until a label. */
  reachable = true;

  constructor(params: FunctionBody['params'], results: FunctionBody['results'], known: Knowledge) {
    super(params, results);
    this.known = known;
  }

  /** How deeply nested the code is that is now written. */
  get nesting(): number {
    return this.depth;
  }

  override if(condition: Val, then: () => void, otherwise?: () => void): void {
    if (condition.constant !== undefined) {
      super.if(condition, then, otherwise);
      return;
    }
    const before = this.known;
    let after = before;
    let first = false;
    super.if(
      condition,
      () => {
        then();
        first = this.reachable;
        after = this.known;
        this.known = before;
        this.reachable = true;
      },
      otherwise,
    );
    if (!first) return;
    this.known = this.reachable ? this.known.merge(after) : after;
    this.reachable = true;
  }

  override block(inner: (label: Label) => void): void {
    const before = this.known;
    super.block(inner);
    if (this.known !== before) this.known = before.forget();
    this.reachable = true;
  }

  override loop(inner: (label: Label) => void): void {
    const before = this.known;
    this.known = before.forget();
    const head = this.known;
    super.loop(inner);
    if (this.known === head) this.known = before;
  }

  /** A block or loop of the region's own control flow: what is known inside is set by whoever writes it. */
  structure(kind: 'block' | 'loop', inner: (label: Label) => void): void {
    if (kind === 'block') super.block(inner);
    else super.loop(inner);
  }

  override br(label: Label): void {
    super.br(label);
    this.reachable = false;
  }

  override return(value?: Val): void {
    super.return(value);
    this.reachable = false;
  }

  override unreachable(): void {
    super.unreachable();
    this.reachable = false;
  }
}
