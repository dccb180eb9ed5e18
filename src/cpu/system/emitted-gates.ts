/**
 * Delivery through interrupt and trap gates as WebAssembly (key `sdm:INT n/INTO/INT3/INT1`, key `sdm:3A "64-Bit Mode Stack Frame"`): the
 * plain case of gate.ts, to privilege level 0.
 */
import * as status from '../interpret/status.ts';
import { FILL_IMPLICIT, FILL_WRITE } from '../mmu/emitted-walk.ts';
import * as S from '../state.ts';
import { c32, c64, I32, I64, type Val } from '../wasm/value.ts';
import type { Transfer } from './emitted-transfer.ts';
import { DELIVER_CODE, DELIVER_FAULT, DELIVER_SOFTWARE } from './plain-delivery.ts';

/** Flags every gate clears; interrupt gates clear IF too. */
const CLEARED = S.TF | S.NT | S.RF | S.VM;

interface Gate {
  readonly selector: Val;
  /** Access rights of the code segment. */
  readonly attr: Val;
  readonly offset: Val;
  readonly clearsIf: Val;
  /** Upper half of the first eight bytes. */
  readonly high: Val;
}

/** Reads a gate and its code segment, which must be at level 0. */
const readGate = (t: Transfer, what: Val, long: boolean): Gate => {
  const { f, cpu } = t;
  const size = long ? 16 : 8;
  const index = f.op('i32.shl', t.has(what, 0xff), c32(Math.log2(size)));
  t.giveUp(f.op('i32.gt_u', f.op('i32.add', index, c32(size - 1)), t.state(S.IDTR + 8)));
  const linear = f.op('i64.add', f.load('i64.load', cpu, S.IDTR), t.wide(index));
  const at = t.place(long ? linear : f.op('i64.and', linear, c64(0xffff_ffffn)), size, FILL_IMPLICIT);
  const gate = f.load('i64.load', at);
  const high = t.keep(t.part(gate, 32, -1));
  // A present gate of type 14 or 15.
  t.giveUp(t.differs(high, 0x9e00, 0x8e00));
  const dpl = t.has(f.op('i32.shr_u', high, c32(13)), 3);
  const below = f.op('i32.lt_u', dpl, t.state(S.CPL));
  t.giveUp(f.op('i32.and', below, f.op('i32.ne', t.has(what, DELIVER_SOFTWARE), c32(0))));
  const selector = t.keep(t.part(gate, 16, 0xffff));
  const attr = t.attributes(t.descriptor(selector, long));
  t.mustBeCode(attr, c32(0));
  // 64-bit code, or 32-bit code outside long mode.
  t.giveUp(t.differs(attr, long ? 0x6000 : 0x4000, long ? 0x2000 : 0x4000));
  const offset = f.variable(I64);
  f.assign(offset, t.wide(f.op('i32.or', t.part(gate, 0, 0xffff), t.has(high, ~0xffff))));
  if (long) {
    f.assign(offset, f.op('i64.or', offset, f.op('i64.shl', f.load('i64.load32_u', at, 8), c64(32n))));
    t.mustBeCanonical(offset);
  }
  return { selector, attr, offset, clearsIf: t.not(t.has(high, 0x100)), high };
};

/** Registers change here, after everything that may fail. */
const commit = (t: Transfer, rest: Val, { selector, attr, offset, clearsIf }: Gate, code64: boolean): void => {
  const { f, cpu } = t;
  t.setFlat(S.CS, t.has(selector, 0xfffc), attr);
  f.store('i64.store', cpu, offset, S.RIP);
  const keptIf = f.select(clearsIf, c32(~(CLEARED | S.IF)), c32(~CLEARED));
  f.store('i32.store', cpu, f.op('i32.and', rest, keptIf), S.EFLAGS_REST);
  t.setMode(c32(0), code64);
};

/** The part of the frame that all deliveries have, upwards from the instruction pointer. */
const returnSlots = (t: Transfer, rest: Val, what: Val, next: Val): Val[] => {
  const { f } = t;
  const resume = f.select(t.has(what, DELIVER_FAULT), c32(S.RF), c32(0));
  const selector = f.load('i32.load16_u', t.cpu, S.seg(S.CS) + S.SEG_SELECTOR);
  return [next, selector, f.op('i32.or', t.flags(rest), resume)];
};

const stackSelector = (t: Transfer): Val => t.f.load('i32.load16_u', t.cpu, S.seg(S.SS) + S.SEG_SELECTOR);

const deliverLong = (t: Transfer, rest: Val, what: Val, next: Val, code: Val): void => {
  const { f, cpu } = t;
  const gate = readGate(t, what, true);
  const inner = t.keep(f.op('i32.ne', t.state(S.CPL), c32(0)));
  const ist = t.keep(t.has(gate.high, 7));
  const rsp = t.keep(f.load('i64.load', cpu, S.gpr(S.RSP)));
  const top = f.variable(I64);
  f.assign(top, rsp);
  f.if(f.op('i32.or', inner, ist), () => {
    const offset = f.select(ist, f.op('i32.add', f.op('i32.shl', ist, c32(3)), c32(28)), c32(4));
    t.giveUp(f.op('i32.gt_u', f.op('i32.add', offset, c32(7)), t.state(S.seg(S.TR) + S.SEG_LIMIT)));
    const linear = f.op('i64.add', f.load('i64.load', cpu, S.seg(S.TR)), t.wide(offset));
    f.assign(top, f.load('i64.load', t.place(linear, 8, FILL_IMPLICIT)));
  });
  const hasCode = t.keep(f.op('i32.ne', t.has(what, DELIVER_CODE), c32(0)));
  const bytes = f.op('i32.add', c32(40), f.op('i32.shl', hasCode, c32(3)));
  const bottom = t.keep(f.op('i64.sub', f.op('i64.and', top, c64(~15n)), t.wide(bytes)));
  const at = t.keep(t.frame(bottom, bytes, 8, FILL_WRITE));
  f.if(hasCode, () => {
    f.store('i64.store', at, t.wide(code));
    f.assign(at, f.op('i32.add', at, c32(8)));
  });
  t.storeSlots(at, 8, [...returnSlots(t, rest, what, next), rsp, stackSelector(t)]);
  f.if(inner, () => t.setNullStack(c32(0)));
  f.store('i64.store', cpu, bottom, S.gpr(S.RSP));
  commit(t, rest, gate, true);
};

const deliverProtected = (t: Transfer, rest: Val, what: Val, next: Val, code: Val): void => {
  const { f, cpu } = t;
  // So ES, SS and DS are flat.
  t.giveUp(t.has(t.state(S.MODE), S.MODE_SEGMENTED));
  const gate = readGate(t, what, false);
  const inner = t.keep(f.op('i32.ne', t.state(S.CPL), c32(0)));
  const esp = t.keep(f.load('i64.load32_u', cpu, S.gpr(S.RSP)));
  const top = f.variable(I64),
    selector = f.variable(I32),
    attr = f.variable(I32);
  f.if(
    inner,
    () => {
      t.giveUp(t.not(t.has(t.state(S.seg(S.TR) + S.SEG_ATTR), 8)));
      t.giveUp(f.op('i32.lt_u', t.state(S.seg(S.TR) + S.SEG_LIMIT), c32(9)));
      const linear = f.op('i64.add', f.load('i64.load32_u', cpu, S.seg(S.TR)), c64(4n));
      const pointer = f.load('i64.load', t.place(f.op('i64.and', linear, c64(0xffff_ffffn)), 8, FILL_IMPLICIT));
      f.assign(top, f.op('i64.and', pointer, c64(0xffff_ffffn)));
      f.assign(selector, t.part(pointer, 32, 0xffff));
      f.assign(attr, t.attributes(t.descriptor(selector, false)));
      t.mustBeStack(selector, attr, c32(0));
    },
    () => {
      t.giveUp(t.not(t.has(t.state(S.MODE), S.MODE_STACK32)));
      f.assign(top, esp);
    },
  );
  const hasCode = t.keep(f.op('i32.ne', t.has(what, DELIVER_CODE), c32(0)));
  const slots = f.op('i32.add', f.op('i32.add', c32(3), hasCode), f.op('i32.shl', inner, c32(1)));
  const bytes = f.op('i32.shl', slots, c32(2));
  const bottom = t.keep(f.op('i64.and', f.op('i64.sub', top, t.wide(bytes)), c64(0xffff_ffffn)));
  const at = t.keep(t.frame(bottom, bytes, 4, FILL_WRITE));
  f.if(hasCode, () => {
    f.store('i32.store', at, code);
    f.assign(at, f.op('i32.add', at, c32(4)));
  });
  t.storeSlots(at, 4, returnSlots(t, rest, what, next));
  f.if(inner, () => {
    f.assign(at, f.op('i32.add', at, c32(12)));
    t.storeSlots(at, 4, [esp, stackSelector(t)]);
    t.setFlat(S.SS, selector, attr);
  });
  f.store('i64.store', cpu, bottom, S.gpr(S.RSP));
  commit(t, rest, gate, false);
};

/** (cpu, vector and DELIVER_* bits, return offset, error code) -> JUMPED when the handler's first instruction is next, else 0. */
export const writeDelivery = (t: Transfer): void => {
  const { f } = t;
  const what = f.param(1),
    next = f.param(2),
    code = f.param(3);
  const rest = t.begin(0);
  f.if(
    t.has(t.state(S.EFER), 0x400),
    () => deliverLong(t, rest, what, next, code),
    () => deliverProtected(t, rest, what, next, code),
  );
  f.push(c32(status.JUMPED));
};
