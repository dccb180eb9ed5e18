/**
 * IRET, SYSCALL and SYSRET as WebAssembly (key `sdm:IRET/IRETD/IRETQ`, key `sdm:SYSCALL`): the plain cases of far-return.ts and fast-call.ts.
 */
import * as status from '../interpret/status.ts';
import * as S from '../state.ts';
import { c32, c64, I32, type Val } from '../wasm/value.ts';
import type { Transfer } from './emitted-transfer.ts';
import { EFER_SCE, FLAT_CODE64, FLAT_DATA, SYSRET_FLAGS } from './fast-call.ts';
import { FREE_FLAGS } from './flags.ts';

/** Flags an IRET at level 0 takes from its image; RF has no meaning without breakpoints. */
const RETURN_FLAGS = FREE_FLAGS | S.IF | S.IOPL | S.VIF | S.VIP;

/** Status of a transfer after which EFLAGS_REST is `next`: events are looked at when IF has come on. */
const statusAfter = (t: Transfer, before: Val, next: Val): Val => {
  const { f } = t;
  const on = t.has(f.op('i32.and', f.op('i32.xor', before, c32(-1)), next), S.IF);
  return f.select(on, c32(status.JUMPED | status.LEAVE), c32(status.JUMPED));
};

/** EFLAGS from an image, of which the mask counts; gives up when that would begin single steps or alignment checks. */
const checkImage = (t: Transfer, image: Val): void => t.giveUp(t.has(image, S.TF | S.AC));

const setFlags = (t: Transfer, rest: Val, image: Val, mask: number): Val => {
  const { f, cpu } = t;
  t.s.writeArithmeticFlags(image);
  const others = mask & ~S.ARITHMETIC;
  const kept = t.has(rest, ~(others | S.RF));
  const next = f.op('i32.or', f.op('i32.or', kept, t.has(image, others)), c32(2));
  f.store('i32.store', cpu, next, S.EFLAGS_REST);
  return next;
};

/** Gives up when a data segment would have to become null because the outer level may not use it. */
const mustKeepData = (t: Transfer, outward: Val): void => {
  const { f } = t;
  f.if(outward, () => {
    for (const n of [S.ES, S.DS, S.FS, S.GS]) {
      const attr = t.state(S.seg(n) + S.SEG_ATTR);
      const usable = t.not(t.has(attr, S.ATTR_UNUSABLE));
      t.giveUp(f.op('i32.and', usable, t.differs(attr, 0x60, 0x60)));
    }
  });
};

/** The code segment popped, at level 0 or 3; answers its access rights. */
const returnCode = (t: Transfer, selector: Val, long: boolean): { attr: Val; level: Val } => {
  const { f } = t;
  const level = t.keep(t.has(selector, 3));
  t.giveUp(f.op('i32.and', f.op('i32.ne', level, c32(0)), f.op('i32.ne', level, c32(3))));
  const attr = t.attributes(t.descriptor(selector, long));
  t.mustBeCode(attr, level);
  t.giveUp(t.differs(attr, long ? 0x6000 : 0x4000, long ? 0x2000 : 0x4000));
  return { attr, level };
};

/** IRETQ in 64-bit code: five slots, to 64-bit code. */
const returnLong = (t: Transfer, rest: Val): void => {
  const { f, cpu } = t;
  const rsp = f.load('i64.load', cpu, S.gpr(S.RSP));
  const at = t.frame(rsp, c32(40), 8, 0);
  const rip = t.keep(f.load('i64.load', at)),
    selector = t.keep(t.has(f.load('i32.load', at, 8), 0xffff)),
    image = t.keep(f.load('i32.load', at, 16)),
    target = t.keep(f.load('i64.load', at, 24)),
    stack = t.keep(t.has(f.load('i32.load', at, 32), 0xffff));
  checkImage(t, image);
  const { attr, level } = returnCode(t, selector, true);
  const stackAttr = f.variable(I32);
  const isNull = t.keep(t.not(t.has(stack, 0xfffc)));
  f.if(
    isNull,
    () => {
      t.giveUp(level);
      t.giveUp(stack);
    },
    () => {
      f.assign(stackAttr, t.attributes(t.descriptor(stack, true)));
      t.mustBeStack(stack, stackAttr, level);
    },
  );
  t.mustBeCanonical(rip);
  mustKeepData(t, level);
  f.if(
    isNull,
    () => t.setNullStack(stack),
    () => t.setFlat(S.SS, stack, stackAttr),
  );
  f.store('i64.store', cpu, target, S.gpr(S.RSP));
  finish(t, rest, { selector, attr, level, rip, image, code64: true });
};

/** IRETD outside long mode: three slots, and two more when the level changes. */
const returnProtected = (t: Transfer, rest: Val): void => {
  const { f, cpu } = t;
  t.giveUp(t.differs(t.state(S.MODE), S.MODE_SEGMENTED | S.MODE_STACK32, S.MODE_STACK32));
  const esp = t.keep(f.load('i64.load32_u', cpu, S.gpr(S.RSP)));
  const at = t.frame(esp, c32(12), 4, 0);
  const rip = t.keep(f.load('i64.load32_u', at)),
    selector = t.keep(t.has(f.load('i32.load', at, 4), 0xffff)),
    image = t.keep(f.load('i32.load', at, 8));
  checkImage(t, image);
  t.giveUp(t.has(image, S.VM));
  const { attr, level } = returnCode(t, selector, false);
  const target = t.keep(f.op('i64.and', f.op('i64.add', esp, c64(12n)), c64(0xffff_ffffn)));
  const stack = f.variable(I32),
    stackAttr = f.variable(I32);
  f.if(level, () => {
    t.frame(esp, c32(20), 4, 0);
    f.assign(target, f.load('i64.load32_u', at, 12));
    f.assign(stack, t.has(f.load('i32.load', at, 16), 0xffff));
    f.assign(stackAttr, t.attributes(t.descriptor(stack, false)));
    t.mustBeStack(stack, stackAttr, level);
  });
  mustKeepData(t, level);
  f.if(level, () => t.setFlat(S.SS, stack, stackAttr));
  f.store('i64.store', cpu, target, S.gpr(S.RSP));
  finish(t, rest, { selector, attr, level, rip, image, code64: false });
};

interface Returned {
  readonly selector: Val;
  readonly attr: Val;
  readonly level: Val;
  readonly rip: Val;
  readonly image: Val;
  readonly code64: boolean;
}

const finish = (t: Transfer, rest: Val, { selector, attr, level, rip, image, code64 }: Returned): void => {
  const { f, cpu } = t;
  t.setFlat(S.CS, selector, attr);
  f.store('i64.store', cpu, rip, S.RIP);
  const next = setFlags(t, rest, image, RETURN_FLAGS);
  t.setMode(level, code64);
  f.return(statusAfter(t, rest, next));
};

/** IRET at level 0: (cpu, 64 or 32, -, -). NMIs that wait for it and the return from a task are left to the routine. */
export const writeReturn = (t: Transfer): void => {
  const { f } = t;
  const rest = t.begin(S.NT);
  t.giveUp(t.state(S.CPL));
  t.giveUp(t.state(S.NMI_BLOCKED));
  const mode = t.has(t.state(S.MODE), S.MODE_SIZE);
  f.if(
    f.op('i32.eq', f.param(1), c32(64)),
    () => {
      t.giveUp(f.op('i32.ne', mode, c32(S.MODE_64)));
      returnLong(t, rest);
    },
    () => {
      t.giveUp(f.op('i32.ne', mode, c32(S.MODE_32)));
      t.giveUp(t.has(t.state(S.EFER), 0x400));
      returnProtected(t, rest);
    },
  );
  f.push(c32(0));
};

/** Segments of SYSCALL and SYSRET: a selector from STAR, with a level. */
const setFast = (t: Transfer, n: number, selector: Val, attr: number, level: 0 | 3): void => {
  const { f } = t;
  t.setFlat(n, f.op('i32.or', t.has(selector, 0xfffc), c32(level)), c32(attr | (level << 5)));
};

const mustBeEnabled = (t: Transfer): void => {
  const { f } = t;
  t.giveUp(f.op('i32.ne', t.has(t.state(S.MODE), S.MODE_SIZE), c32(S.MODE_64)));
  t.giveUp(t.not(t.has(t.state(S.EFER), EFER_SCE)));
};

/** SYSCALL: (cpu, -, return offset, -). */
export const writeSyscall = (t: Transfer): void => {
  const { f, cpu } = t;
  const rest = t.begin(0);
  mustBeEnabled(t);
  const flags = t.keep(t.flags(rest));
  const next = t.keep(f.op('i32.and', flags, f.op('i32.xor', f.op('i32.or', t.state(S.SFMASK), c32(S.RF)), c32(-1))));
  f.store('i64.store', cpu, f.param(2), S.gpr(S.RCX));
  f.store('i64.store', cpu, t.wide(flags), S.gpr(11));
  const selector = t.keep(t.state(S.STAR + 4));
  setFast(t, S.CS, selector, FLAT_CODE64, 0);
  setFast(t, S.SS, f.op('i32.add', selector, c32(8)), FLAT_DATA, 0);
  f.store('i64.store', cpu, f.load('i64.load', cpu, S.LSTAR), S.RIP);
  t.s.writeArithmeticFlags(next);
  f.store('i32.store', cpu, f.op('i32.or', t.has(next, ~S.ARITHMETIC), c32(2)), S.EFLAGS_REST);
  t.setMode(c32(0), true);
  f.push(c32(status.JUMPED));
};

/** SYSRET with 64-bit operand size: (cpu, -, -, -). */
export const writeSysret = (t: Transfer): void => {
  const { f, cpu } = t;
  const rest = t.begin(0);
  mustBeEnabled(t);
  t.giveUp(t.state(S.CPL));
  const rcx = t.keep(f.load('i64.load', cpu, S.gpr(S.RCX)));
  t.mustBeCanonical(rcx);
  const image = t.keep(t.has(f.load('i32.load', cpu, S.gpr(11)), SYSRET_FLAGS));
  checkImage(t, image);
  const selector = t.keep(f.op('i32.shr_u', t.state(S.STAR + 4), c32(16)));
  setFast(t, S.CS, f.op('i32.add', selector, c32(16)), FLAT_CODE64, 3);
  setFast(t, S.SS, f.op('i32.add', selector, c32(8)), FLAT_DATA, 3);
  f.store('i64.store', cpu, rcx, S.RIP);
  t.s.writeArithmeticFlags(image);
  const next = t.keep(f.op('i32.or', t.has(image, ~S.ARITHMETIC), c32(2)));
  f.store('i32.store', cpu, next, S.EFLAGS_REST);
  t.setMode(c32(3), true);
  f.push(statusAfter(t, rest, next));
};
