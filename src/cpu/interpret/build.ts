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
import { anyVariant, instructionPlan, OP_CALL, OP_END, type Plan } from '../isa/plan.ts';
import { unitCheck } from '../isa/unit.ts';
import { defineWalk } from '../mmu/emitted-walk.ts';
import * as S from '../state.ts';
import { DELIVER_CODE, DELIVER_FAULT } from '../system/plain-delivery.ts';
import type { FunctionBody } from '../wasm/function.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { c32, c64, I32, I64, type Label } from '../wasm/value.ts';
import { ARRIVALS, isRegion, tableEntry, writeChain } from './arrive.ts';
import {
  GROUP_PARAMS,
  groups,
  type Leaf,
  numbersIn,
  singles,
  toTypeScript,
  vectors,
  writeGroup,
  writeTree,
} from './dispatch.ts';
import { HANDLER_PARAMS, HANDLER_RESULTS, type Imports } from './handler.ts';
import { InterpreterSemantics } from './semantics.ts';
import { REGION_SLOTS, VECTOR_SLOTS, VECTORS_TOGETHER } from './slots.ts';
import * as status from './status.ts';
import { defineTransfers } from './transfers.ts';

/** Instructions of a machine that its first loop executes. */
const FIRST_INSTRUCTIONS = 100_000;
/** Handlers that share a function: those of common rows in the first loop, and those of rare ones. */
const COMMON_TOGETHER = 16,
  RARE_TOGETHER = 64;

/** What handlers call, imported or written here. */
const common = (m: ModuleBuilder): Omit<Imports, 'fill'> => ({
  slow: m.import('env', 'slow', [I32, I32], [I32]),
  commit: m.import('env', 'commit', [I32], [I32]),
  segment: m.import('env', 'segment', [I32, I32, I32, I32], [I32]),
  helpers: HELPERS.map((_, i) => m.import('helpers', String(i), [I32, I32, I32], [I32])),
});

/** The main module: the loop and everything but the handlers of vector rows, which it finds in the table behind the regions. */
export const buildInterpreter = (firstInstructions = FIRST_INSTRUCTIONS): Uint8Array<ArrayBuffer> => {
  const plan = instructionPlan(false);
  const m = new ModuleBuilder();
  const { slow, ...rest } = common(m);
  const absentVectors = m.import('env', 'vectors', GROUP_PARAMS, HANDLER_RESULTS);
  const walk = defineWalk(m, slow);
  const simple: Imports = { ...rest, slow: walk.slow, fill: walk.fill };
  const transfers = defineTransfers(m, simple, walk.fill);
  const imports: Imports = { ...simple, transfers };
  const [enter, first, main] = [1, 2, 3].map(() => m.define([I32, I32], [I32]));
  m.export('run', enter.index);
  m.export('slow', walk.slow);
  m.export('fill', walk.fill);
  m.export('refill', walk.refill);
  m.export('deliver', transfers.deliver);
  m.export('count', writeCount(m));
  m.exportTable('functions', REGION_SLOTS + VECTOR_SLOTS);
  // Stands in the table until the vector module is there.
  const absent = m.define(GROUP_PARAMS, HANDLER_RESULTS);
  const params = GROUP_PARAMS.map((_, i) => absent.body.param(i));
  absent.body.push(absent.body.call(absentVectors, params, I32));
  m.export('absentVectors', absent.index);
  const flags = writeFlags(m, imports);
  m.export('flags', flags);
  const handlers = writeHandlers(m, plan.variants, 0, imports);
  const parts = { chain: writeChain(m), flags, deliver: transfers.deliver, confirm: walk.confirm };
  const rare = groups(m, plan, handlers, [plan.commonEnd, plan.vectors], RARE_TOGETHER);
  const left = m.global(firstInstructions);
  writeLoop(first.body, {
    ...parts,
    leaves: [...groups(m, plan, handlers, [OP_CALL + 1, plan.commonEnd], COMMON_TOGETHER), ...rare, vectors(m, plan)],
    until: { left, next: main.index },
  });
  writeLoop(main.body, {
    ...parts,
    leaves: [...singles(plan, handlers, [OP_CALL + 1, plan.commonEnd]), ...rare, vectors(m, plan)],
  });
  const { body } = enter;
  const args = [body.param(0), body.param(1)];
  body.if(body.global(left), () => body.return(body.call(first.index, args, I32)));
  body.push(body.call(main.index, args, I32));
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
    const numbers = numbersIn(handlers, [from, from + VECTORS_TOGETHER]);
    if (numbers.length > 0) m.export(String(n), writeGroup(m, handlers, numbers));
  }
  return m.finish();
};

/** (at, words, first): writes first, first + 1... to so many 32-bit words. */
const writeCount = (m: ModuleBuilder): number => {
  const { index, body: f } = m.define([I32, I32, I32], []);
  const [at, words, value] = [0, 1, 2].map((i) => f.param(i));
  f.block((done) =>
    f.loop((again) => {
      f.brIf(f.op('i32.eqz', words), done);
      f.store('i32.store', at, value);
      f.assign(at, f.op('i32.add', at, c32(4)));
      f.assign(words, f.op('i32.sub', words, c32(1)));
      f.assign(value, f.op('i32.add', value, c32(1)));
      f.br(again);
    }),
  );
  return index;
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

/** What a loop calls, by function index. */
interface LoopParts {
  readonly chain: number;
  readonly flags: number;
  readonly deliver: number;
  readonly confirm: number;
  readonly leaves: readonly Leaf[];
  /** A global that counts instructions down; at 0 another function, with the same parameters, goes on. */
  readonly until?: { readonly left: number; readonly next: number };
}

const writeLoop = (f: FunctionBody, parts: LoopParts): void => {
  const { chain, flags, deliver, confirm, leaves, until } = parts;
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
    if (until !== undefined) {
      const left = f.global(until.left);
      f.ifRarely(f.op('i32.eqz', left), () => f.return(f.call(until.next, [cpu, rec], I32)));
      f.setGlobal(until.left, f.op('i32.sub', left, c32(1)));
    }
    f.ifRarely(f.op('i32.eqz', budget), () => f.return(c32(status.EXIT_BUDGET)));
    f.assign(budget, f.op('i32.sub', budget, c32(1)));
    f.store('i32.store', cpu, budget, S.BUDGET);
    f.store('i32.store', cpu, rec, S.RECORD);
    f.release();
    writeTree(f, op, [toTypeScript, ...leaves], { args: [cpu, rec, ip], status: st });
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
