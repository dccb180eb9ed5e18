/**
 * Builds the interpreter: one WebAssembly module with a function per instruction variant and a dispatch loop.
 *
 * The loop keeps the record and the instruction pointer in locals and writes RIP, RECORD and BUDGET before each
 * instruction, so the state block is exact whenever a handler calls out. Dispatch is a tree of comparisons, weighted by how often rows
 * are met: an indirect jump would be mispredicted on almost every instruction (docs/adr/0003).
 */

import * as R from '../decode/record.ts';
import { HELPERS } from '../helpers.ts';
import { FLAG_WIDTHS, flagKind, flagOperations, isPending, PENDING_KINDS } from '../isa/flag-operations.ts';
import { instructionPlan, OP_CALL, OP_END } from '../isa/plan.ts';
import { unitCheck } from '../isa/unit.ts';
import { defineWalk } from '../mmu/emitted-walk.ts';
import * as S from '../state.ts';
import { DELIVER_CODE, DELIVER_FAULT } from '../system/emitted-gates.ts';
import { c32, c64, type FunctionBody, type Label, type Val } from '../wasm/function.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import { ARRIVALS, isRegion, tableEntry, writeChain } from './arrive.ts';
import { HANDLER_PARAMS, HANDLER_RESULTS, type Imports, InterpreterSemantics } from './semantics.ts';
import { REGION_SLOTS } from './slots.ts';
import * as status from './status.ts';
import { defineTransfers } from './transfers.ts';

export const buildInterpreter = (): Uint8Array<ArrayBuffer> => {
  const plan = instructionPlan();
  const m = new ModuleBuilder();
  const slow = m.import('env', 'slow', [I32, I32], [I32]);
  const commit = m.import('env', 'commit', [I32], [I32]);
  const segment = m.import('env', 'segment', [I32, I32, I32, I32], [I32]);
  const helpers = HELPERS.map((_, i) => m.import('helpers', String(i), [I32, I32, I32], [I32]));
  const walk = defineWalk(m, slow);
  const simple: Imports = { slow: walk.slow, fill: walk.fill, commit, segment, helpers };
  const transfers = defineTransfers(m, simple, walk.fill);
  const imports: Imports = { ...simple, transfers };
  const run = m.define([I32, I32], [I32]);
  m.export('run', run.index);
  m.export('slow', walk.slow);
  m.export('deliver', transfers.deliver);
  m.exportTable('regions', REGION_SLOTS);
  const handlers: number[] = [];
  plan.variants.forEach((variant, op) => {
    if (variant === undefined) return;
    const { index, body } = m.define(HANDLER_PARAMS, HANDLER_RESULTS);
    handlers[op] = index;
    const s = new InterpreterSemantics(body, variant, imports);
    const { row, operands } = variant.parsed;
    try {
      unitCheck(s, row);
      row.mean!(s, ...operands.map((o) => s.operand(o)));
    } catch (e) {
      throw new Error(`row ${row.name} ${row.encoding}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
    }
    s.finish();
  });
  const flags = writeFlags(m, imports);
  m.export('flags', flags);
  writeLoop(m, run.body, handlers, {
    weights: plan.variants.map((v) => v?.parsed.row.weight ?? 1),
    chain: writeChain(m),
    flags,
    deliver: transfers.deliver,
    confirm: walk.confirm,
  });
  return m.finish();
};

/**
 * (cpu, kind, a, b): stores the flags of an operation that translated code left for later. The carry that INC and DEC left alone is computed
 * first when it is that of another operation.
 */
const writeFlags = (m: ModuleBuilder, imports: Imports): number => {
  const { index, body: f } = m.define([I32, I32, I64, I64], []);
  const cpu = f.param(0),
    kind = f.param(1),
    b = f.param(3);
  f.if(isPending(f, kind), () => {
    const before = f.load('i32.load', cpu, S.FLAG_BEFORE);
    f.assign(b, f.load('i64.load', cpu, S.FLAG_BEFORE_OPERAND));
    f.if(before, () => {
      f.call(index, [cpu, before, f.load('i64.load', cpu, S.FLAG_BEFORE_RESULT), b]);
      f.assign(b, f.load('i64.load32_u', cpu, S.FLAG_BITS));
    });
    f.assign(b, f.op('i64.and', b, c64(1n)));
    f.assign(kind, f.op('i32.sub', kind, c32(PENDING_KINDS)));
  });
  f.release();
  const kinds = flagOperations
    .flatMap((operation) => FLAG_WIDTHS.map((width) => ({ operation, width, kind: flagKind(operation, width) })))
    .sort((x, y) => x.kind - y.kind);
  const among = (from: number, to: number): void => {
    const half = (from + to) >> 1;
    if (to - from > 1) {
      f.if(
        f.op('i32.lt_u', kind, c32(kinds[half].kind)),
        () => among(from, half),
        () => among(half, to),
      );
      return;
    }
    const s = new InterpreterSemantics(f, instructionPlan().variants[OP_CALL + 1]!, imports);
    s.width = kinds[from].width;
    kinds[from].operation.flags(s, f.param(2), b);
    f.release();
  };
  among(0, kinds.length);
  return index;
};

const writeLoop = (
  m: ModuleBuilder,
  f: FunctionBody,
  handlers: readonly number[],
  use: { weights: readonly number[]; chain: number; flags: number; deliver: number; confirm: number },
): void => {
  const { weights, chain, flags, deliver, confirm } = use;
  const cpu = f.param(0);
  const rec = f.variable(I32),
    ip = f.variable(I64),
    budget = f.variable(I32),
    st = f.variable(I32),
    op = f.variable(I32),
    plain = f.variable(I32);
  f.assign(rec, f.param(1));
  f.assign(ip, f.load('i64.load', cpu, S.RIP));
  f.assign(budget, f.load('i32.load', cpu, S.BUDGET));
  // A region leaves flags to whoever looks: the next region does not.
  const settleFlags = () => {
    const kind = f.load('i32.load', cpu, S.FLAG_KIND);
    f.if(kind, () => {
      f.call(flags, [cpu, kind, f.load('i64.load', cpu, S.FLAG_RESULT), f.load('i64.load', cpu, S.FLAG_OPERAND)]);
      f.store('i32.store', cpu, c32(0), S.FLAG_KIND);
    });
  };
  const advance = () => f.assign(ip, f.op('i64.add', ip, f.load('i64.load8_u', rec, R.R_LENGTH)));
  // A fault goes straight to its handler; what is not plain, and #DB that waits, is looked at outside. #DB, #BP and #OF are no faults.
  const deliverFault = (again: Label) =>
    f.if(f.op('i32.eqz', f.load('i32.load', cpu, S.PENDING_DEBUG)), () => {
      const code = f.select(f.load('i32.load', cpu, S.FAULT_HAS_CODE), c32(DELIVER_CODE), c32(0));
      const what = f.op('i32.or', f.op('i32.or', f.load('i32.load', cpu, S.FAULT_VECTOR), code), c32(DELIVER_FAULT));
      const args = [cpu, what, f.load('i64.load', cpu, S.RIP), f.load('i32.load', cpu, S.FAULT_CODE)];
      f.if(f.call(deliver, args, I32), () => {
        f.assign(ip, f.load('i64.load', cpu, S.RIP));
        f.assign(rec, c32(0));
        f.br(again);
      });
    });
  f.loop((again) => {
    f.if(f.op('i32.eqz', rec), () => {
      const mask = f.load('i64.load', cpu, S.LINEAR_MASK);
      f.assign(ip, f.op('i64.and', ip, mask));
      const leave = () => {
        settleFlags();
        f.store('i64.store', cpu, ip, S.RIP);
        f.return(c32(status.EXIT_LOOKUP));
      };
      const place = tableEntry(f, cpu, ip, mask, leave, confirm);
      f.assign(rec, f.load('i32.load', place));
      f.if(f.op('i32.eqz', rec), leave);
      const arrivals = f.load('i32.load', place, ARRIVALS);
      f.if(
        isRegion(f, arrivals),
        () => {
          f.if(
            plain,
            () => f.assign(plain, c32(0)),
            () => {
              f.store('i64.store', cpu, ip, S.RIP);
              f.assign(st, f.call(chain, [cpu, arrivals], I32));
              f.assign(ip, f.load('i64.load', cpu, S.RIP));
              f.assign(budget, f.load('i32.load', cpu, S.BUDGET));
              f.assign(rec, c32(0));
              f.brIf(f.op('i32.eq', st, c32(status.JUMPED)), again);
              settleFlags();
              f.if(f.op('i32.ge_u', st, c32(status.INTERPRET)), () => {
                f.assign(plain, c32(1));
                f.br(again);
              });
              f.if(f.op('i32.eq', st, c32(status.FAULT)), () => deliverFault(again));
              f.return(f.select(f.op('i32.ge_u', st, c32(status.FAULT)), st, c32(status.EXIT_LEAVE)));
            },
          );
        },
        () => {
          f.assign(plain, c32(0));
          settleFlags();
          const threshold = f.load('i32.load', cpu, S.HOT_THRESHOLD);
          f.if(f.op('i32.lt_u', arrivals, threshold), () => {
            const count = f.op('i32.add', arrivals, c32(1));
            f.store('i32.store', place, count, ARRIVALS);
            f.if(f.op('i32.eq', count, threshold), () => {
              f.store('i64.store', cpu, ip, S.RIP);
              f.return(c32(status.EXIT_HOT));
            });
          });
        },
      );
    });
    f.assign(op, f.load('i32.load16_u', rec, R.R_OP));
    f.if(f.op('i32.eq', op, c32(OP_END)), () => {
      f.assign(rec, c32(0));
      f.br(again);
    });
    f.store('i64.store', cpu, ip, S.RIP);
    f.if(f.op('i32.eqz', budget), () => f.return(c32(status.EXIT_BUDGET)));
    f.assign(budget, f.op('i32.sub', budget, c32(1)));
    f.store('i32.store', cpu, budget, S.BUDGET);
    f.store('i32.store', cpu, rec, S.RECORD);
    f.release();
    writeTree(f, op, dispatchLeaves(m, handlers, weights, [cpu, rec, ip], op, st));
    f.if(f.op('i32.eqz', st), () => {
      advance();
      f.assign(rec, f.op('i32.add', rec, c32(R.RECORD_SIZE)));
      f.br(again);
    });
    f.if(f.op('i32.ge_u', st, c32(status.FAULT)), () => {
      f.if(f.op('i32.eq', st, c32(status.FAULT)), () => deliverFault(again));
      f.return(st);
    });
    f.if(
      f.op('i32.and', st, c32(status.JUMPED)),
      () => {
        f.assign(ip, f.load('i64.load', cpu, S.RIP));
        f.assign(budget, f.load('i32.load', cpu, S.BUDGET));
        f.assign(rec, c32(0));
      },
      () =>
        f.if(
          f.op('i32.and', st, c32(status.AGAIN)),
          // The handler may have made several repetitions.
          () => f.assign(budget, f.load('i32.load', cpu, S.BUDGET)),
          () => {
            advance();
            f.assign(rec, f.op('i32.add', rec, c32(R.RECORD_SIZE)));
          },
        ),
    );
    f.if(f.op('i32.and', st, c32(status.LEAVE)), () => {
      f.store('i64.store', cpu, ip, S.RIP);
      f.return(c32(status.EXIT_LEAVE));
    });
    f.br(again);
  });
  f.unreachable();
};

/** A range of dispatch numbers that is served by one piece of code. */
interface Leaf {
  readonly from: number;
  readonly to: number;
  readonly weight: number;
  readonly write: (f: FunctionBody) => void;
}

/** Comparison tree over neighbouring leaves, split where the weights balance. */
const writeTree = (f: FunctionBody, op: Val, leaves: readonly Leaf[]): void => {
  const total: number[] = [0];
  for (const { weight } of leaves) total.push(total[total.length - 1] + weight);
  const emit = (from: number, to: number): void => {
    if (to - from === 1) {
      leaves[from].write(f);
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

/** How often records lead to TypeScript, on the scale of row weights. */
const CALL_WEIGHT = 20;

/**
 * Leaves of the main tree: one per common handler, and one per stretch of rare ones, which have a tree in a function of their
 * own. The main function stays small, and stretches that a guest never meets are never compiled.
 */
const dispatchLeaves = (
  m: ModuleBuilder,
  handlers: readonly number[],
  weights: readonly number[],
  args: readonly Val[],
  op: Val,
  st: Val,
): Leaf[] => {
  const leaves: Leaf[] = [
    { from: OP_CALL, to: OP_CALL + 1, weight: CALL_WEIGHT, write: (f) => f.return(c32(status.EXIT_CALL)) },
  ];
  const handled = (index: number, to: Val, from: readonly Val[]) => (f: FunctionBody) =>
    f.assign(to, f.call(index, from, I32));
  for (let from = OP_CALL + 1; from < handlers.length; ) {
    let to = from + 1;
    if (weights[from] <= 1) while (to < handlers.length && weights[to] <= 1) to++;
    if (to - from === 1) leaves.push({ from, to, weight: weights[from], write: handled(handlers[from], st, args) });
    else {
      const { index, body } = m.define([I32, ...HANDLER_PARAMS], HANDLER_RESULTS);
      const result = body.variable(I32);
      const own = HANDLER_PARAMS.map((_, i) => body.param(i + 1));
      const rare: Leaf[] = [];
      for (let n = from; n < to; n++)
        rare.push({ from: n, to: n + 1, weight: 1, write: handled(handlers[n], result, own) });
      writeTree(body, body.param(0), rare);
      body.push(result);
      leaves.push({ from, to, weight: Math.sqrt(to - from), write: handled(index, st, [op, ...args]) });
    }
    from = to;
  }
  return leaves;
};
