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
import { anyVariant, firstVector, instructionPlan, OP_CALL, OP_END, type Plan } from '../isa/plan.ts';
import { unitCheck } from '../isa/unit.ts';
import { defineWalk } from '../mmu/emitted-walk.ts';
import * as S from '../state.ts';
import { DELIVER_CODE, DELIVER_FAULT } from '../system/emitted-gates.ts';
import { c32, c64, type FunctionBody, type Label, type Val } from '../wasm/function.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { I32, I64, type ValType } from '../wasm/opcodes.ts';
import { ARRIVALS, isRegion, tableEntry, writeChain } from './arrive.ts';
import { HANDLER_PARAMS, HANDLER_RESULTS, type Imports } from './handler.ts';
import { InterpreterSemantics } from './semantics.ts';
import { REGION_SLOTS, VECTOR_SLOTS } from './slots.ts';
import * as status from './status.ts';
import { defineTransfers } from './transfers.ts';

/** Handlers of vector rows that share a function, and how many such functions there may be. */
const VECTORS_TOGETHER = 64;

/** Place in the function table of the function that has a vector row's handler. */
export const vectorSlot = (op: number): number => REGION_SLOTS + Math.floor((op - firstVector()) / VECTORS_TOGETHER);

/** What handlers call, imported or written here. */
const common = (m: ModuleBuilder): Omit<Imports, 'fill'> => ({
  slow: m.import('env', 'slow', [I32, I32], [I32]),
  commit: m.import('env', 'commit', [I32], [I32]),
  segment: m.import('env', 'segment', [I32, I32, I32, I32], [I32]),
  helpers: HELPERS.map((_, i) => m.import('helpers', String(i), [I32, I32, I32], [I32])),
});

/** The main module: the loop and everything but the handlers of vector rows, which it finds in the table behind the regions. */
export const buildInterpreter = (): Uint8Array<ArrayBuffer> => {
  const plan = instructionPlan(false);
  const m = new ModuleBuilder();
  const { slow, ...rest } = common(m);
  const absentVectors = m.import('env', 'vectors', GROUP_PARAMS, HANDLER_RESULTS);
  const walk = defineWalk(m, slow);
  const simple: Imports = { ...rest, slow: walk.slow, fill: walk.fill };
  const transfers = defineTransfers(m, simple, walk.fill);
  const imports: Imports = { ...simple, transfers };
  const run = m.define([I32, I32], [I32]);
  m.export('run', run.index);
  m.export('slow', walk.slow);
  m.export('fill', walk.fill);
  m.export('refill', walk.refill);
  m.export('deliver', transfers.deliver);
  m.exportTable('functions', REGION_SLOTS + VECTOR_SLOTS);
  // Stands in the table until the vector module is there.
  const absent = m.define(GROUP_PARAMS, HANDLER_RESULTS);
  const params = GROUP_PARAMS.map((_, i) => absent.body.param(i));
  absent.body.push(absent.body.call(absentVectors, params, I32));
  m.export('absentVectors', absent.index);
  const flags = writeFlags(m, imports);
  m.export('flags', flags);
  writeLoop(m, run.body, writeHandlers(m, plan.variants, 0, imports), {
    plan,
    chain: writeChain(m),
    flags,
    deliver: transfers.deliver,
    confirm: walk.confirm,
  });
  return m.finish();
};

/** The vector module: functions '0', '1'... with the handlers of vector rows, for the table behind the regions. */
export const buildVectors = (): Uint8Array<ArrayBuffer> => {
  const plan = instructionPlan(true);
  const m = new ModuleBuilder();
  const rest = common(m);
  const fill = m.import('env', 'fill', [I32, I64, I32, I32], [I32]);
  const handlers = writeHandlers(m, plan.variants, plan.vectors, { ...rest, fill });
  for (let from = plan.vectors, n = 0; from < handlers.length; from += VECTORS_TOGETHER, n++) {
    if (n === VECTOR_SLOTS) throw new Error('more vector rows than slots in the function table');
    m.export(String(n), writeGroup(m, handlers, from, Math.min(from + VECTORS_TOGETHER, handlers.length)));
  }
  return m.finish();
};

/** One function per variant from a dispatch number on; their indices by dispatch number. */
const writeHandlers = (m: ModuleBuilder, variants: Plan['variants'], from: number, imports: Imports): number[] => {
  const handlers: number[] = [];
  variants.forEach((variant, op) => {
    if (variant === undefined || op < from) return;
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
  return handlers;
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
    const s = new InterpreterSemantics(f, anyVariant(), imports);
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
  use: { plan: Plan; chain: number; flags: number; deliver: number; confirm: number },
): void => {
  const { plan, chain, flags, deliver, confirm } = use;
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
    f.ifRarely(kind, () => {
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
    f.ifRarely(f.op('i32.eqz', budget), () => f.return(c32(status.EXIT_BUDGET)));
    f.assign(budget, f.op('i32.sub', budget, c32(1)));
    f.store('i32.store', cpu, budget, S.BUDGET);
    f.store('i32.store', cpu, rec, S.RECORD);
    f.release();
    writeTree(f, op, dispatchLeaves(m, handlers, plan, [cpu, rec, ip], op, st));
    f.if(f.op('i32.eqz', st), () => {
      advance();
      f.assign(rec, f.op('i32.add', rec, c32(R.RECORD_SIZE)));
      f.br(again);
    });
    f.ifRarely(f.op('i32.ge_u', st, c32(status.FAULT)), () => {
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
    f.ifRarely(f.op('i32.and', st, c32(status.LEAVE)), () => {
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

/** How often records lead to TypeScript, and to vector rows, on the scale of row weights. */
const CALL_WEIGHT = 20,
  VECTOR_WEIGHT = 20;

/** Rare handlers that share a tree in a function of their own. */
const RARE_TOGETHER = 64;

/** A function of a group of handlers: the dispatch number, then what handlers take. */
const GROUP_PARAMS: readonly ValType[] = [I32, ...HANDLER_PARAMS];

const writeGroup = (m: ModuleBuilder, handlers: readonly number[], from: number, to: number): number => {
  const { index, body } = m.define(GROUP_PARAMS, HANDLER_RESULTS);
  const result = body.variable(I32);
  const own = HANDLER_PARAMS.map((_, i) => body.param(i + 1));
  const leaves = Array.from(
    { length: to - from },
    (_, i): Leaf => ({
      from: from + i,
      to: from + i + 1,
      weight: 1,
      write: (f) => f.assign(result, f.call(handlers[from + i], own, I32)),
    }),
  );
  writeTree(body, body.param(0), leaves);
  body.push(result);
  return index;
};

/**
 * Leaves of the main tree: one per common handler, one per stretch of rare ones, and one for all vector rows. The main function stays
 * small enough to be compiled in a moment, and stretches that a guest never meets are never compiled.
 */
const dispatchLeaves = (
  m: ModuleBuilder,
  handlers: readonly number[],
  plan: Plan,
  args: readonly Val[],
  op: Val,
  st: Val,
): Leaf[] => {
  const weight = (n: number): number => plan.variants[n]!.parsed.row.weight ?? 1;
  const leaf = (from: number, to: number, heavy: number, call: (f: FunctionBody) => Val): Leaf => ({
    from,
    to,
    weight: heavy,
    write: (f) => f.assign(st, call(f)),
  });
  const leaves: Leaf[] = [
    { from: OP_CALL, to: OP_CALL + 1, weight: CALL_WEIGHT, write: (f) => f.return(c32(status.EXIT_CALL)) },
  ];
  for (let n = OP_CALL + 1; n < plan.commonEnd; n++)
    leaves.push(leaf(n, n + 1, weight(n), (f) => f.call(handlers[n], args, I32)));
  for (let from = plan.commonEnd; from < plan.vectors; from += RARE_TOGETHER) {
    const to = Math.min(from + RARE_TOGETHER, plan.vectors);
    const group = writeGroup(m, handlers, from, to);
    const heaviest = Math.max(...Array.from({ length: to - from }, (_, i) => weight(from + i)));
    leaves.push(leaf(from, to, heaviest, (f) => f.call(group, [op, ...args], I32)));
  }
  const vectors = (f: FunctionBody): Val => {
    const group = f.op('i32.div_u', f.op('i32.sub', op, c32(plan.vectors)), c32(VECTORS_TOGETHER));
    const type = m.type(GROUP_PARAMS, HANDLER_RESULTS);
    return f.callIndirect(type, f.op('i32.add', group, c32(REGION_SLOTS)), [op, ...args], I32);
  };
  leaves.push(leaf(plan.vectors, plan.vectors + VECTOR_SLOTS * VECTORS_TOGETHER, VECTOR_WEIGHT, vectors));
  return leaves;
};
