/**
 * String instructions: one repetition at a time, restartable at each (key `sdm:REP`).
 *
 * A repeated instruction is executed again by the dispatch loop until its count is used up, so interrupts, faults and
 * instruction counts fall between repetitions as they do on a processor. Where nothing can come between them, in plain memory, many are
 * made at once, page by page, and the budget is charged for them.
 */
import type { Semantics, Width } from '../semantics.ts';
import * as S from '../state.ts';
import { c32, c64, I32, I64, type Val } from '../wasm/value.ts';
import { insn, type Meaning, type Row } from './row.ts';

const LOAD = { 8: 'i64.load8_u', 16: 'i64.load16_u', 32: 'i64.load32_u', 64: 'i64.load' } as const;
const STORE = { 8: 'i64.store8', 16: 'i64.store16', 32: 'i64.store32', 64: 'i64.store' } as const;
type ElementWidth = keyof typeof LOAD;

/** An index register, and whether its memory is written. */
interface Place {
  readonly register: number;
  readonly write: boolean;
}

/** What a chunk did: elements (i64), and nonzero (i32) when the instruction ends with it. */
interface Done {
  readonly elements: Val;
  readonly stop: Val | undefined;
}

/** Fewer bytes than this are moved by a loop: calling the engine's copy costs more. */
const BULK_BYTES = 96;

/** A place of several elements in plain memory. */
interface Stretch {
  /** Address in linear memory of the first, valid when `elements` is not 0. */
  readonly host: Val;
  /** How many lie in the page, as i64; 0 when it is not plain memory. */
  readonly elements: Val;
}

class StringStep {
  readonly s: Semantics;
  readonly bytes: number;
  readonly mask: Val;
  private readonly base: Val;
  private readonly segment: Val;
  private readonly checked: Val;

  constructor(s: Semantics, bytes: number) {
    this.s = s;
    this.bytes = bytes;
    const { mask, base, segment, checked } = s.stringSource();
    this.mask = mask;
    this.base = base;
    this.segment = segment;
    this.checked = checked;
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

  private stretch(linear: Val, write: boolean): Stretch {
    const { s, bytes } = this;
    const { f } = s;
    const host = s.plainMemory(linear, bytes, write);
    const room = f.op('i64.sub', c64(4096n), f.op('i64.and', linear, c64(4095n)));
    const elements = f.op('i64.shr_u', room, c64(Math.log2(bytes)));
    return { host, elements: f.select(host, elements, c64(0n)) };
  }

  /** Repetitions that the budget allows, this one (which is charged already) included, as i64. */
  private allowed(): Val {
    const { f } = this.s;
    return f.op('i64.add', f.op('i64.extend_i32_u', this.s.state32(S.BUDGET)), c64(1n));
  }

  /** Moves the index registers over `n` elements, upwards; only for addresses of 32 or 64 bits. */
  private skip(n: Val, registers: readonly number[]): void {
    const { f } = this.s;
    const distance = f.op('i64.mul', n, c64(this.bytes));
    for (const r of registers)
      this.s.setReg(r, 64, f.op('i64.and', f.op('i64.add', this.s.reg(r, 64), distance), this.mask));
  }

  /**
   * Several repetitions at once, upwards in flat segments: `chunk` handles up to `n` elements that lie in one page each of plain memory and
   * says how many it did; a nonzero second answer ends the instruction. The budget is charged for all of them. What is not
   * done here (devices, code, elements in two pages, faults) is left to single repetitions. Answers as an i32 whether
   * it did anything; then the instruction has its status.
   */
  private inBulk(places: readonly Place[], chunk: (n: Val, hosts: readonly Val[]) => Done): Val {
    const { s } = this;
    const { f } = s;
    const up = f.op('i32.eqz', f.op('i32.and', s.state32(S.EFLAGS_REST), c32(S.DF)));
    const flat = f.op('i32.and', f.op('i32.eqz', this.checked), f.op('i64.eqz', this.base));
    const wide = f.op('i64.gt_u', this.mask, c64(0xffffn));
    const done = f.variable(I32);
    f.if(f.op('i32.and', f.op('i32.and', up, flat), wide), () => {
      const allowed = f.variable(I64);
      const count = f.variable(I64);
      const stopped = f.variable(I32);
      f.assign(allowed, this.allowed());
      f.block((out) => {
        f.loop((next) => {
          f.assign(count, this.offset(S.RCX));
          f.brIf(f.op('i64.eqz', count), out);
          const least = (a: Val, b: Val): Val => f.select(f.op('i64.lt_u', a, b), a, b);
          let n = least(count, allowed);
          const hosts = places.map(({ register, write }) => {
            const base = register === S.RSI ? this.base : s.state64(S.STRING_BASE);
            const stretch = this.stretch(this.linear(this.offset(register), base), write);
            n = least(n, stretch.elements);
            return stretch.host;
          });
          f.brIf(f.op('i64.eqz', n), out);
          const made = chunk(n, hosts);
          this.skip(
            made.elements,
            places.map((p) => p.register),
          );
          s.setReg(S.RCX, 64, f.op('i64.sub', count, made.elements));
          f.assign(allowed, f.op('i64.sub', allowed, made.elements));
          f.assign(done, c32(1));
          if (made.stop !== undefined) {
            f.assign(stopped, made.stop);
            f.brIf(stopped, out);
          }
          f.br(next);
        });
      });
      f.if(done, () => {
        s.setState32(S.BUDGET, f.op('i32.wrap_i64', allowed));
        const over = f.op('i32.or', stopped, f.op('i64.eqz', this.offset(S.RCX)));
        f.if(
          over,
          () => s.finished(),
          () => s.again(),
        );
      });
    });
    return done;
  }

  /** MOVS and STOS: one chunk. A destination that the source runs into is written element by element, as the processor does. */
  private moveChunk(width: ElementWidth, n: Val, to: Val, from: Val | undefined): Done {
    const { s, bytes } = this;
    const { f } = s;
    const size = f.op('i32.mul', f.op('i32.wrap_i64', n), c32(bytes));
    const value = from === undefined ? s.reg(S.RAX, width) : undefined;
    const oneByOne = (): void => {
      const at = f.variable(I32);
      f.assign(at, to);
      const end = f.op('i32.add', to, size);
      const gap = from === undefined ? undefined : f.op('i32.sub', from, to);
      f.loop((next) => {
        f.store(STORE[width], at, value ?? f.load(LOAD[width], f.op('i32.add', at, gap!)));
        f.assign(at, f.op('i32.add', at, c32(bytes)));
        f.brIf(f.op('i32.ne', at, end), next);
      });
    };
    const small = f.op('i32.lt_u', size, c32(BULK_BYTES));
    if (from !== undefined) {
      const overlaps = f.op('i32.lt_u', f.op('i32.sub', to, from), size);
      f.if(f.op('i32.or', small, overlaps), oneByOne, () => f.memoryCopy(to, from, size));
    } else {
      const low = f.op('i64.and', value!, c64(0xffn));
      const pattern = f.op('i64.mul', low, c64(0x0101_0101_0101_0101n & ((1n << BigInt(width)) - 1n)));
      const varied = f.op('i64.ne', pattern, value!);
      f.if(f.op('i32.or', small, varied), oneByOne, () => f.memoryFill(to, f.op('i32.wrap_i64', low), size));
    }
    return { elements: n, stop: undefined };
  }

  /** SCAS and CMPS: one chunk, up to the first element that ends the instruction; flags are those of the last element compared. */
  private compareChunk(width: ElementWidth, n: Val, hosts: readonly Val[], whileEqual: Val): Done {
    const { s, bytes } = this;
    const { f } = s;
    const at = f.variable(I32);
    const left = f.variable(I64);
    const right = f.variable(I64);
    const stop = f.variable(I32);
    f.assign(at, c32(0));
    if (hosts.length === 1) f.assign(left, s.reg(S.RAX, width));
    const end = f.op('i32.mul', f.op('i32.wrap_i64', n), c32(bytes));
    f.loop((next) => {
      if (hosts.length === 2) f.assign(left, f.load(LOAD[width], f.op('i32.add', hosts[0], at)));
      f.assign(right, f.load(LOAD[width], f.op('i32.add', hosts[hosts.length - 1], at)));
      f.assign(at, f.op('i32.add', at, c32(bytes)));
      f.assign(stop, f.op('i32.ne', f.op('i64.eq', left, right), whileEqual));
      f.brIf(f.op('i32.and', f.op('i32.eqz', stop), f.op('i32.ne', at, end)), next);
    });
    s.sub(left, right);
    return { elements: f.op('i64.extend_i32_u', f.op('i32.shr_u', at, c32(Math.log2(bytes)))), stop };
  }

  /** {@link repeated} for MOVS (`source`) and STOS. */
  moved(width: Width, source: boolean, body: () => void): void {
    const element = elementWidth(width);
    const to = { register: S.RDI, write: true };
    const places = source ? [to, { register: S.RSI, write: false }] : [to];
    this.repeated(body, undefined, () =>
      this.inBulk(places, (n, hosts) => this.moveChunk(element, n, hosts[0], hosts[1])),
    );
  }

  /** {@link repeated} for CMPS (`source`) and SCAS: a repetition also ends when ZF no longer is what the prefix asks. */
  compared(width: Width, source: boolean, body: () => void): void {
    const element = elementWidth(width);
    const { f } = this.s;
    const to = { register: S.RDI, write: false };
    const places = source ? [{ register: S.RSI, write: false }, to] : [to];
    const equal = (f3: Val): Val => f.op('i32.ne', f3, c32(0));
    this.repeated(
      body,
      (f3) => f.op('i32.eq', this.s.condition(4), equal(f3)),
      (f3) => this.inBulk(places, (n, hosts) => this.compareChunk(element, n, hosts, equal(f3))),
    );
  }

  /** Wraps one repetition: nothing happens for a count of zero, and the instruction repeats while the count lasts. */
  repeated(body: () => void, goOn?: (f3: Val) => Val, bulk?: (f3: Val) => Val): void {
    const { s } = this;
    const { f } = s;
    const prefix = s.prefix();
    const f3 = prefix.f3(),
      f2 = prefix.f2();
    if (f3.constant === 0 && f2.constant === 0) {
      body();
      return;
    }
    f.if(
      f.op('i32.or', f3, f2),
      () => {
        const done = bulk?.(f3) ?? c32(0);
        const count = this.offset(S.RCX);
        f.if(f.op('i32.eqz', f.op('i32.or', done, f.op('i64.eqz', count))), () => {
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

const elementWidth = (width: Width): ElementWidth => {
  if (width === 128) throw new Error('strings have no 128-bit elements');
  return width;
};

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
    step.compared(width, false, () => {
      const value = s.memory(step.destination(false), width).get();
      compareWidth(s, width, accumulator(s, width), value);
      step.advance(S.RDI);
    });
  };

const cmps =
  (byte: boolean): Meaning =>
  (s) => {
    const width = bytesOf(byte, s);
    const step = new StringStep(s, width / 8);
    step.compared(width, true, () => {
      const left = s.memory(step.source(), width).get();
      const right = s.memory(step.destination(false), width).get();
      compareWidth(s, width, left, right);
      step.advance(S.RSI, S.RDI);
    });
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
