/**
 * Common parts of control transfers as WebAssembly: descriptors, stacks and the state that follows.
 *
 * They serve the plain case: flat segments, tables and stacks in plain memory of one page, nothing armed that watches. Each function checks
 * everything before its first effect and answers 0 when the routines in TypeScript have to do it, which then start from the beginning.
 */
import type { InterpreterSemantics } from '../interpret/semantics.ts';
import { FILL_IMPLICIT, FILL_WRITE } from '../mmu/emitted-walk.ts';
import * as S from '../state.ts';
import type { FunctionBody } from '../wasm/function.ts';
import { c32, c64, I32, I64, type Val } from '../wasm/value.ts';

/** Present, of code or data type, accessed: what is compared of access rights, and what it is for code that does not conform. */
const TYPE_MASK = 0x9d,
  CODE = 0x99;
/** The same for data segments that may be written and grow upwards, with 32-bit stack pointers. */
const STACK_MASK = 0x409f,
  STACK = 0x4093;
/** Base 0 and a limit of 4 GiB, in a descriptor's eight bytes. */
const FLAT_MASK = 0xff8f_00ff_ffff_ffffn,
  FLAT = 0x008f_0000_0000_ffffn;

export class Transfer {
  readonly f: FunctionBody;
  readonly s: InterpreterSemantics;
  readonly cpu: Val;
  private readonly fill: number;

  constructor(s: InterpreterSemantics, fill: number) {
    this.s = s;
    this.f = s.f;
    this.cpu = s.cpu;
    this.fill = fill;
  }

  has(value: Val, bits: number): Val {
    return this.f.op('i32.and', value, c32(bits));
  }
  not(value: Val): Val {
    return this.f.op('i32.eqz', value);
  }
  differs(value: Val, mask: number, from: number): Val {
    return this.f.op('i32.ne', this.has(value, mask), c32(from));
  }
  state(offset: number): Val {
    return this.f.load('i32.load', this.cpu, offset);
  }
  /** A variable with a first value. */
  keep(value: Val): Val {
    const v = this.f.variable(value.type);
    this.f.assign(v, value);
    return v;
  }
  /** Bits of an i64 from a position on, as i32. */
  part(value: Val, from: number, mask: number): Val {
    return this.has(this.f.op('i32.wrap_i64', from === 0 ? value : this.f.op('i64.shr_u', value, c64(from))), mask);
  }
  wide(value: Val): Val {
    return this.f.op('i64.extend_i32_u', value);
  }
  giveUp(condition: Val): void {
    this.f.if(condition, () => this.f.return(c32(0)));
  }

  /** Protected mode, no flags that change what a transfer does, no breakpoints, nobody who takes the traps. Answers EFLAGS_REST. */
  begin(flags: number): Val {
    this.giveUp(this.state(S.INTERCEPTED));
    this.giveUp(this.not(this.has(this.state(S.CR0), 1)));
    const rest = this.keep(this.state(S.EFLAGS_REST));
    this.giveUp(this.has(rest, S.VM | S.AC | S.TF | flags));
    this.giveUp(this.has(this.state(S.DR7), 0xff));
    return rest;
  }

  /** Address of plain memory with supervisor rights; `bytes` must lie in one page. */
  place(linear: Val, bytes: number, rights: number): Val {
    const { f, cpu } = this;
    const at = f.variable(I32);
    const index = this.has(f.op('i32.wrap_i64', f.op('i64.shr_u', linear, c64(7n))), (S.TLB_ENTRIES - 1) * S.TLB_ENTRY);
    const entry = f.op('i32.add', cpu, index);
    const set = S.TLB_SETS + S.TLB_SUPERVISOR * S.TLB_SET;
    const tag = f.load('i64.load', entry, set + ((rights & FILL_WRITE) !== 0 ? S.TLB_WRITE : S.TLB_READ));
    const distance = f.op('i64.sub', linear, tag);
    f.if(
      f.op('i64.le_u', distance, c64(4096 - bytes)),
      () => f.assign(at, f.op('i32.add', f.load('i32.load', entry, set + S.TLB_HOST), f.op('i32.wrap_i64', distance))),
      () => {
        this.giveUp(f.op('i32.gt_u', this.part(linear, 0, 4095), c32(4096 - bytes)));
        f.assign(at, f.call(this.fill, [cpu, linear, f.op('i32.add', cpu, c32(set)), c32(rights)], I32));
        this.giveUp(this.not(at));
      },
    );
    return at;
  }

  /** Like {@link place} for a frame of a stack, whose size is a value. */
  frame(bottom: Val, bytes: Val, slot: number, rights: number): Val {
    const { f } = this;
    this.giveUp(f.op('i32.gt_u', f.op('i32.add', this.part(bottom, 0, 4095), bytes), c32(4096)));
    return this.place(bottom, slot, rights);
  }

  /** The eight bytes of a descriptor in the global table. */
  descriptor(selector: Val, long: boolean): Val {
    const { f } = this;
    this.giveUp(this.has(selector, 4));
    this.giveUp(this.not(this.has(selector, 0xfffc)));
    const index = this.has(selector, 0xfff8);
    this.giveUp(f.op('i32.gt_u', f.op('i32.add', index, c32(7)), this.state(S.GDTR + 8)));
    const linear = f.op('i64.add', f.load('i64.load', this.cpu, S.GDTR), this.wide(index));
    const at = this.place(long ? linear : f.op('i64.and', linear, c64(0xffff_ffffn)), 8, FILL_IMPLICIT);
    const d = this.keep(f.load('i64.load', at));
    this.giveUp(f.op('i64.ne', f.op('i64.and', d, c64(FLAT_MASK)), c64(FLAT)));
    return d;
  }

  /** Access rights of a descriptor as the hidden part has them. */
  attributes(descriptor: Val): Val {
    return this.keep(this.part(descriptor, 40, 0xf0ff));
  }

  /** Gives up unless these are access rights of code at a level (i32) that does not conform. */
  mustBeCode(attr: Val, level: Val): void {
    const { f } = this;
    this.giveUp(this.differs(attr, TYPE_MASK, CODE));
    this.giveUp(f.op('i32.ne', this.has(f.op('i32.shr_u', attr, c32(5)), 3), level));
  }

  /** Gives up unless selector and access rights are those of a stack at a level (i32). */
  mustBeStack(selector: Val, attr: Val, level: Val): void {
    const { f } = this;
    this.giveUp(this.differs(attr, STACK_MASK, STACK));
    this.giveUp(f.op('i32.ne', this.has(selector, 3), level));
    this.giveUp(f.op('i32.ne', this.has(f.op('i32.shr_u', attr, c32(5)), 3), level));
  }

  mustBeCanonical(address: Val): void {
    const { f } = this;
    const top = f.op('i64.add', f.op('i64.shr_s', address, c64(47n)), c64(1n));
    this.giveUp(f.op('i64.gt_u', top, c64(1n)));
  }

  /** Writes a segment register with a flat segment. */
  setFlat(n: number, selector: Val, attr: Val): void {
    this.setSegment(n, selector, attr, c32(-1));
  }

  setSegment(n: number, selector: Val, attr: Val, limit: Val): void {
    const { f, cpu } = this;
    const at = S.seg(n);
    f.store('i64.store', cpu, c64(0n), at + S.SEG_BASE);
    f.store('i32.store', cpu, limit, at + S.SEG_LIMIT);
    f.store('i32.store', cpu, attr, at + S.SEG_ATTR);
    f.store('i32.store16', cpu, selector, at + S.SEG_SELECTOR);
  }

  /** A null selector in SS, as 64-bit code below level 3 may have it. */
  setNullStack(selector: Val): void {
    const level = this.f.op('i32.shl', this.has(selector, 3), c32(5));
    this.setSegment(S.SS, selector, this.f.op('i32.or', level, c32(S.ATTR_UNUSABLE)), c32(0));
  }

  /** What follows from a privilege level (i32) and flat segments: see mode.ts, which says the same. */
  setMode(level: Val, code64: boolean): void {
    const { f, cpu } = this;
    const user = f.op('i32.eq', level, c32(3));
    const size = code64 ? S.MODE_64 : S.MODE_32 | S.MODE_STACK32;
    f.store('i32.store', cpu, level, S.CPL);
    f.store('i32.store', cpu, f.op('i32.or', c32(size), f.op('i32.shl', user, c32(Math.log2(S.MODE_USER)))), S.MODE);
    const mask = c64(code64 ? -1n : 0xffff_ffffn);
    for (const offset of [S.LINEAR_MASK, S.STACK_MASK]) f.store('i64.store', cpu, mask, offset);
    for (const offset of [S.STACK_BASE, S.STRING_BASE, S.CS_BASE]) f.store('i64.store', cpu, c64(0n), offset);
    const set = f.select(user, c32(S.TLB_USER * S.TLB_SET), c32(S.TLB_SUPERVISOR * S.TLB_SET));
    f.store('i32.store', cpu, f.op('i32.add', f.op('i32.add', cpu, c32(S.TLB_SETS)), set), S.TLB);
  }

  /** Gives up unless DS and ES are flat data segments, which {@link setMode} takes for granted outside 64-bit code. */
  mustHaveFlatData(): void {
    const { f } = this;
    for (const n of [S.ES, S.DS]) {
      const at = S.seg(n);
      this.giveUp(this.state(at));
      this.giveUp(f.op('i32.ne', this.state(at + S.SEG_LIMIT), c32(-1)));
      this.giveUp(this.differs(this.state(at + S.SEG_ATTR), S.ATTR_UNUSABLE | 0x9e, 0x92));
    }
  }

  /** All flags, with EFLAGS_REST given. */
  flags(rest: Val): Val {
    return this.f.op('i32.or', rest, this.s.readArithmeticFlags());
  }

  /** Stores the slots of a frame, lowest first. */
  storeSlots(at: Val, slot: 4 | 8, values: readonly Val[]): void {
    values.forEach((value, i) => {
      const narrow = value.type === I64 ? value : this.wide(value);
      this.f.store(slot === 8 ? 'i64.store' : 'i64.store32', at, narrow, i * slot);
    });
  }
}

/** (cpu, operand, next, code) -> status bits, 0 when a routine has to do it. */
export const TRANSFER_PARAMS = [I32, I32, I64, I32] as const;
