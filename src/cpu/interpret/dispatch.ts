/**
 * Dispatch: from a record's number to its handler, by a tree of comparisons that is weighted by how often rows are met. An indirect jump
 * would be mispredicted on almost every instruction (docs/adr/0003).
 */
import { OP_CALL, type Plan } from '../isa/plan.ts';
import type { FunctionBody } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { c32, I32, type Val, type ValType } from '../wasm/value.ts';
import { HANDLER_PARAMS, HANDLER_RESULTS } from './handler.ts';
import { REGION_SLOTS, VECTORS_TOGETHER } from './slots.ts';
import * as status from './status.ts';

/** How often records lead to TypeScript, and to vector rows, on the scale of row weights. */
const CALL_WEIGHT = 20,
  VECTOR_WEIGHT = 20;

/** Variables of a loop: what handlers take, and where their status goes. */
interface Uses {
  readonly args: readonly Val[];
  readonly status: Val;
}

/** What serves dispatch numbers from one on, up to the next leaf's. */
export interface Leaf {
  readonly from: number;
  readonly weight: number;
  readonly write: (f: FunctionBody, op: Val, uses: Uses) => void;
}

/** Comparison tree over neighbouring leaves, split where the weights balance. */
export const writeTree = (f: FunctionBody, op: Val, leaves: readonly Leaf[], uses: Uses): void => {
  const total: number[] = [0];
  for (const { weight } of leaves) total.push(total[total.length - 1] + weight);
  const emit = (from: number, to: number): void => {
    if (to - from === 1) {
      leaves[from].write(f, op, uses);
      f.release();
      return;
    }
    const half = (total[from] + total[to]) / 2;
    let split = from + 1;
    while (split < to - 1 && total[split] < half) split++;
    const less = f.op('i32.lt_u', op, c32(leaves[split].from));
    f.if(
      less,
      () => emit(from, split),
      () => emit(split, to),
    );
  };
  emit(0, leaves.length);
};

const leaf = (from: number, weight: number, call: (f: FunctionBody, op: Val, args: readonly Val[]) => Val): Leaf => ({
  from,
  weight,
  write: (f, op, { args, status: to }) => f.assign(to, call(f, op, args)),
});

/** A function of a group of handlers: the dispatch number, then what handlers take. */
export const GROUP_PARAMS: readonly ValType[] = [I32, ...HANDLER_PARAMS];

/** Writes one for some dispatch numbers. */
export const writeGroup = (m: ModuleBuilder, handlers: Handlers, numbers: readonly number[]): number => {
  const { index, body } = m.define(GROUP_PARAMS, HANDLER_RESULTS);
  const status = body.variable(I32);
  const args = HANDLER_PARAMS.map((_, i) => body.param(i + 1));
  const leaves = numbers.map((n) => leaf(n, 1, (f) => f.call(handlers[n], args, I32)));
  writeTree(body, body.param(0), leaves, { args, status });
  body.push(status);
  return index;
};

/** Function indices by dispatch number, with holes. */
export type Handlers = readonly number[];

type Range = readonly [from: number, to: number];

/** Dispatch numbers of a range that have a handler. */
export const numbersIn = (handlers: Handlers, [from, to]: Range): number[] => {
  const numbers: number[] = [];
  for (let n = from; n < to; n++) if (handlers[n] !== undefined) numbers.push(n);
  return numbers;
};

const weightOf = (plan: Plan, n: number): number => plan.variants[n]!.parsed.row.weight ?? 1;

/** Leaves for a range of handlers, each called where it is told apart: compiled with the loop, which is quickest in the end. */
export const singles = (plan: Plan, handlers: Handlers, range: Range): Leaf[] =>
  numbersIn(handlers, range).map((n) => leaf(n, weightOf(plan, n), (f, _op, args) => f.call(handlers[n], args, I32)));

/** Leaves for a range of handlers, so many in a function of their own: what a guest never meets is never compiled. */
export const groups = (m: ModuleBuilder, plan: Plan, handlers: Handlers, range: Range, together: number): Leaf[] => {
  const numbers = numbersIn(handlers, range);
  const leaves: Leaf[] = [];
  for (let first = 0; first < numbers.length; first += together) {
    const some = numbers.slice(first, first + together);
    const group = writeGroup(m, handlers, some);
    const heaviest = Math.max(...some.map((n) => weightOf(plan, n)));
    leaves.push(leaf(some[0], heaviest, (f, op, args) => f.call(group, [op, ...args], I32)));
  }
  return leaves;
};

/** Records whose instruction is a routine: the loop is left. */
export const toTypeScript: Leaf = {
  from: OP_CALL,
  weight: CALL_WEIGHT,
  write: (f) => f.return(c32(status.EXIT_CALL)),
};

/** All vector rows: their handlers are in the table, once a guest met the first of them. */
export const vectors = (m: ModuleBuilder, plan: Plan): Leaf =>
  leaf(plan.vectors, VECTOR_WEIGHT, (f, op, args) => {
    const group = f.op('i32.div_u', f.op('i32.sub', op, c32(plan.vectors)), c32(VECTORS_TOGETHER));
    const type = m.type(GROUP_PARAMS, HANDLER_RESULTS);
    return f.callIndirect(type, f.op('i32.add', group, c32(REGION_SLOTS)), [op, ...args], I32);
  });
