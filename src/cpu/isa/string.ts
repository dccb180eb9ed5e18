/**
 * String instructions: one repetition at a time, restartable at each (key `sdm:REP`).
 *
 * A repeated instruction is executed again by the dispatch loop until its count is used up, so interrupts, faults and
 * instruction counts fall between repetitions as they do on a processor.
 */
import type { Semantics, Width } from '../semantics.ts';
import * as S from '../state.ts';
import { c32, c64, type Val } from '../wasm/function.ts';
import { insn, type Meaning, type Row } from './row.ts';

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

  /** Wraps one repetition: nothing happens for a count of zero, and the instruction repeats while the count lasts. */
  repeated(body: () => void, goOn?: (f3: Val) => Val): void {
    const { s } = this;
    const { f } = s;
    const prefix = s.prefix();
    const f3 = prefix.f3();
    const any = f.op('i32.or', f3, prefix.f2());
    f.if(
      any,
      () => {
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
    step.repeated(() => {
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
    step.repeated(() => {
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
