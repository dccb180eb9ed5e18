/**
 * String instructions: one repetition at a time, restartable at each (key `sdm:REP`).
 *
 * A repeated instruction is executed again by the dispatch loop until its count is used up, so interrupts, faults and
 * instruction counts fall between repetitions as they do on a processor. Where nothing can come between them, inside a page of plain
 * memory, MOVS and STOS make many repetitions at once and charge the budget for them.
 */
import type { Semantics, Width } from '../semantics.ts';
import * as S from '../state.ts';
import { c32, c64, type Val } from '../wasm/function.ts';
import { I32 } from '../wasm/opcodes.ts';
import { insn, type Meaning, type Row } from './row.ts';

const LOAD = { 8: 'i64.load8_u', 16: 'i64.load16_u', 32: 'i64.load32_u', 64: 'i64.load' } as const;
const STORE = { 8: 'i64.store8', 16: 'i64.store16', 32: 'i64.store32', 64: 'i64.store' } as const;
type ElementWidth = keyof typeof LOAD;

/** A place of several elements in plain memory. */
interface Stretch {
  /** Address in linear memory of the first, valid when `elements` is not 0. */
  readonly host: Val;
  /** How many lie in the page, as i64; 0 when the TLB does not know it. */
  readonly elements: Val;
}

class StringStep {
  readonly s: Semantics;
  readonly bytes: number;
  readonly mask: Val;
  private readonly base: Val;
  private readonly segment: Val;

  constructor(s: Semantics, bytes: number) {
    this.s = s;
    this.bytes = bytes;
    const { mask, base, segment } = s.stringSource();
    this.mask = mask;
    this.base = base;
    this.segment = segment;
  }

  private linear(offset: Val, base: Val): Val {
    const { f } = this.s;
    return f.op('i64.and', f.op('i64.add', offset, base), this.s.state64(S.LINEAR_MASK));
  }

  private offset(register: number): Val {
    return this.s.f.op('i64.and', this.s.reg(register, 64), this.mask);
  }

  source(write = false): Val {
    const offset = this.offset(S.RSI);
    this.s.segmentCheck(this.segment, offset, this.bytes, write);
    return this.linear(offset, this.base);
  }

  destination(write: boolean): Val {
    const offset = this.offset(S.RDI);
    this.s.segmentCheck(S.ES, offset, this.bytes, write);
    return this.linear(offset, this.s.state64(S.STRING_BASE));
  }

  /** Writes an address-sized register: 16-bit addressing keeps the upper bits. */
  private write(register: number, value: Val): void {
    const { f } = this.s;
    const cut = f.op('i64.and', value, this.mask);
    const narrow = f.op('i64.eq', this.mask, c64(0xffffn));
    const kept = f.op('i64.and', this.s.reg(register, 64), c64(~0xffffn));
    this.s.setReg(register, 64, f.op('i64.or', cut, f.select(narrow, kept, c64(0n))));
  }

  /** Moves index registers by one element in the direction of DF. */
  advance(...registers: number[]): void {
    const { f } = this.s;
    const down = f.op('i32.and', this.s.state32(S.EFLAGS_REST), c32(S.DF));
    const step = f.select(down, c64(-this.bytes), c64(this.bytes));
    for (const r of registers) this.write(r, f.op('i64.add', this.s.reg(r, 64), step));
  }

  private stretch(linear: Val, tagAt: number): Stretch {
    const { s, bytes } = this;
    const { f } = s;
    const index = f.op('i32.wrap_i64', f.op('i64.shr_u', linear, c64(7n)));
    const at = f.op('i32.and', index, c32((S.TLB_ENTRIES - 1) * S.TLB_ENTRY));
    const entry = f.op('i32.add', s.state32(S.TLB), at);
    const distance = f.op('i64.sub', linear, f.load('i64.load', entry, tagAt));
    const known = f.op('i64.le_u', distance, c64(4096 - bytes));
    const room = f.op('i64.shr_u', f.op('i64.sub', c64(4096n), distance), c64(Math.log2(bytes)));
    return {
      host: f.op('i32.add', f.load('i32.load', entry, S.TLB_HOST), f.op('i32.wrap_i64', distance)),
      elements: f.select(known, room, c64(0n)),
    };
  }

  /**
   * Before a repetition of MOVS (`source`) or STOS with 64-bit addresses: makes as many as plain memory and the budget allow, but leaves
   * two, so that the instruction goes on through the dispatch loop, which takes over the budget there.
   */
  private many(count: Val, width: ElementWidth, source: boolean): void {
    const { s, bytes } = this;
    const { f } = s;
    const forward = f.op('i32.eqz', f.op('i32.and', s.state32(S.EFLAGS_REST), c32(S.DF)));
    const wide = f.op('i64.eq', this.mask, c64(-1n));
    const enough = f.op('i64.gt_u', count, c64(2n));
    f.if(f.op('i32.and', f.op('i32.and', forward, wide), enough), () => {
      const least = (a: Val, b: Val): Val => f.select(f.op('i64.lt_u', a, b), a, b);
      const to = this.stretch(this.linear(s.reg(S.RDI, 64), s.state64(S.STRING_BASE)), S.TLB_WRITE);
      const from = source ? this.stretch(this.linear(s.reg(S.RSI, 64), this.base), S.TLB_READ) : undefined;
      const budget = s.state32(S.BUDGET);
      let n = least(f.op('i64.sub', count, c64(2n)), f.op('i64.extend_i32_u', budget));
      n = least(n, to.elements);
      if (from !== undefined) n = least(n, from.elements);
      f.if(f.op('i32.eqz', f.op('i64.eqz', n)), () => {
        const value = from === undefined ? s.reg(S.RAX, width) : undefined;
        const at = f.variable(I32);
        f.assign(at, to.host);
        const elements = f.op('i32.wrap_i64', n);
        const end = f.op('i32.add', to.host, f.op('i32.mul', elements, c32(bytes)));
        const gap = from === undefined ? undefined : f.op('i32.sub', from.host, to.host);
        // One by one: a source that overlaps its destination sees what was just written.
        f.loop((next) => {
          f.store(STORE[width], at, value ?? f.load(LOAD[width], f.op('i32.add', at, gap!)));
          f.assign(at, f.op('i32.add', at, c32(bytes)));
          f.brIf(f.op('i32.ne', at, end), next);
        });
        const distance = f.op('i64.mul', n, c64(bytes));
        for (const r of source ? [S.RSI, S.RDI] : [S.RDI]) s.setReg(r, 64, f.op('i64.add', s.reg(r, 64), distance));
        s.setReg(S.RCX, 64, f.op('i64.sub', count, n));
        s.setState32(S.BUDGET, f.op('i32.sub', budget, elements));
      });
    });
  }

  /** {@link repeated} for MOVS and STOS. */
  moved(width: Width, source: boolean, body: () => void): void {
    if (width === 128) throw new Error('strings have no 128-bit elements');
    this.repeated(body, undefined, (count) => this.many(count, width, source));
  }

  /** Wraps one repetition: nothing happens for a count of zero, and the instruction repeats while the count lasts. */
  repeated(body: () => void, goOn?: (f3: Val) => Val, before?: (count: Val) => void): void {
    const { s } = this;
    const { f } = s;
    const prefix = s.prefix();
    const f3 = prefix.f3();
    const any = f.op('i32.or', f3, prefix.f2());
    f.if(
      any,
      () => {
        before?.(this.offset(S.RCX));
        const count = this.offset(S.RCX);
        f.if(f.op('i32.eqz', f.op('i64.eqz', count)), () => {
          body();
          const left = f.op('i64.sub', count, c64(1n));
          this.write(S.RCX, left);
          let more = f.op('i32.eqz', f.op('i64.eqz', left));
          if (goOn) more = f.op('i32.and', more, goOn(f3));
          f.if(more, () => s.again());
        });
      },
      body,
    );
  }
}

const accumulator = (s: Semantics, width: Width): Val => s.reg(S.RAX, width);

const bytesOf = (byte: boolean, s: Semantics): Width => (byte ? 8 : s.width);

const movs =
  (byte: boolean): Meaning =>
  (s) => {
    const width = bytesOf(byte, s);
    const step = new StringStep(s, width / 8);
    step.moved(width, true, () => {
      const value = s.memory(step.source(), width).get();
      s.memory(step.destination(true), width).set(value);
      step.advance(S.RSI, S.RDI);
    });
  };

const stos =
  (byte: boolean): Meaning =>
  (s) => {
    const width = bytesOf(byte, s);
    const step = new StringStep(s, width / 8);
    step.moved(width, false, () => {
      s.memory(step.destination(true), width).set(accumulator(s, width));
      step.advance(S.RDI);
    });
  };

const lods =
  (byte: boolean): Meaning =>
  (s) => {
    const width = bytesOf(byte, s);
    const step = new StringStep(s, width / 8);
    step.repeated(() => {
      s.setReg(S.RAX, width, s.memory(step.source(), width).get());
      step.advance(S.RSI);
    });
  };

/** Repetition of SCAS and CMPS also ends when ZF no longer is what the prefix asks. */
const whileEqual =
  (s: Semantics) =>
  (f3: Val): Val =>
    s.f.op('i32.eq', s.condition(4), s.f.op('i32.ne', f3, c32(0)));

const compareWidth = (s: Semantics, width: Width, a: Val, b: Val): void => {
  // SUB at the element's width: the operation width of these rows is that of the element.
  if (width !== s.width) throw new Error('string comparison at another width');
  s.sub(a, b);
};

const scas =
  (byte: boolean): Meaning =>
  (s) => {
    const width = bytesOf(byte, s);
    const step = new StringStep(s, width / 8);
    step.repeated(() => {
      const value = s.memory(step.destination(false), width).get();
      compareWidth(s, width, accumulator(s, width), value);
      step.advance(S.RDI);
    }, whileEqual(s));
  };

const cmps =
  (byte: boolean): Meaning =>
  (s) => {
    const width = bytesOf(byte, s);
    const step = new StringStep(s, width / 8);
    step.repeated(() => {
      const left = s.memory(step.source(), width).get();
      const right = s.memory(step.destination(false), width).get();
      compareWidth(s, width, left, right);
      step.advance(S.RSI, S.RDI);
    }, whileEqual(s));
  };

export const stringRows: readonly Row[] = [
  insn('MOVSB', 'A4', 'Xb,Yb', { rep: 'rep', weight: 6, ref: 'sdm:MOVS' }, movs(true)),
  insn('MOVS', 'A5', 'Xv,Yv', { rep: 'rep', weight: 6 }, movs(false)),
  insn('CMPSB', 'A6', 'Xb,Yb', { rep: 'repz', weight: 2, ref: 'sdm:CMPS' }, cmps(true)),
  insn('CMPS', 'A7', 'Xv,Yv', { rep: 'repz' }, cmps(false)),
  insn('STOSB', 'AA', 'Yb', { rep: 'rep', weight: 4, ref: 'sdm:STOS' }, stos(true)),
  insn('STOS', 'AB', 'Yv', { rep: 'rep', weight: 6 }, stos(false)),
  insn('LODSB', 'AC', 'Xb', { rep: 'rep', weight: 2, ref: 'sdm:LODS' }, lods(true)),
  insn('LODS', 'AD', 'Xv', { rep: 'rep' }, lods(false)),
  insn('SCASB', 'AE', 'Yb', { rep: 'repz', weight: 2, ref: 'sdm:SCAS' }, scas(true)),
  insn('SCAS', 'AF', 'Yv', { rep: 'repz' }, scas(false)),
];
