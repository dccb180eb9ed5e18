/**
 * Random programs with the shape of real ones: functions that call each other, counted loops in loops, branches on flags that were set
 * blocks before, partial registers, stores to data and now and then to their own code. Little faults, so loops get hot.
 */
import * as S from '../../../src/cpu/state.ts';
import { shapes } from './cases.ts';
import { encodeRow, type Shape } from './encode-row.ts';
import { CODE_BASE, CODE_PAGES, DATA_BASE, DATA_PAGES } from './lockstep.ts';
import type { Random } from './random.ts';

type Bits = 32 | 64;

const PAGE = 4096;
const CODE_BYTES = CODE_PAGES * PAGE;
/** Counters of loops: in a page that nothing else is aimed at. */
const COUNTERS = DATA_BASE + (DATA_PAGES - 1) * PAGE + 0x800;

const ORDINARY =
  /^(ADD|OR|ADC|SBB|AND|SUB|XOR|CMP|TEST|INC|DEC|NEG|NOT|MOV|MOVZX|MOVSX|MOVSXD|LEA|XCHG|SHL|SAL|SHR|SAR|ROL|ROR|RCL|RCR|SHLD|SHRD|I?MUL|BT[SRC]?|BS[FR]|SET\w+|CMOV\w+|CBW|CWDE?|CDQ|CQO|XADD|CMPXCHG|BSWAP|LAHF|SAHF|CLC|STC|CMC|CLD|STD|POPCNT)$/;

const every = shapes().filter(({ parsed }) => !parsed.operands.some((o) => o.letter === 'J'));
const ordinary = every.filter(({ parsed: { row } }) => ORDINARY.test(row.name) && row.ends !== true);
const vector = every.filter(({ parsed: { row } }) => row.unit === 'sse' || row.unit === 'mmx');
const shapesFor = (bits: Bits, from: readonly Shape[]): Shape[] => from.filter((shape) => shape.bits === bits);
const POOLS = {
  32: { ordinary: shapesFor(32, ordinary), vector: shapesFor(32, vector), every: shapesFor(32, every) },
  64: { ordinary: shapesFor(64, ordinary), vector: shapesFor(64, vector), every: shapesFor(64, every) },
} as const;

const dword = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);

class Program {
  readonly code = new Uint8Array(CODE_BYTES).fill(0xcc);
  /** Where immediates of ordinary instructions are: what code that changes itself changes. */
  private readonly immediates: number[] = [];
  private readonly functions: number[] = [];
  private at: number;
  private counters = 0;
  private readonly random: Random;
  private readonly bits: Bits;
  /** This program changes itself. */
  private readonly changing: boolean;

  constructor(random: Random, bits: Bits) {
    this.random = random;
    this.bits = bits;
    this.changing = random.once(3);
    // Behind the jump to the main function; at times so that functions cross pages.
    this.at = random.once(2) ? 5 : PAGE - 200 - random.below(400);
    const count = 2 + random.below(4);
    for (let n = 0; n < count; n++) {
      this.functions.push(this.at);
      this.body(3 + random.below(10), n === 0 ? 2 : 1);
      this.emit(0xc3);
    }
    const main = this.at;
    this.body(40, 3);
    // For ever, through all of it.
    this.emit(0xe9, ...dword(main - (this.at + 5)));
    this.code.set([0xe9, ...dword(main - 5)]);
  }

  private emit(...bytes: number[]): void {
    if (this.at + bytes.length < CODE_BYTES - 32) this.code.set(bytes, this.at);
    this.at = Math.min(this.at + bytes.length, CODE_BYTES - 32);
  }

  private body(length: number, depth: number): void {
    const { random } = this;
    for (let n = 0; n < length; n++) {
      const kind = random.below(24);
      if (kind < 2 && depth > 0) this.loop(2 + random.below(8), depth - 1);
      else if (kind < 5) this.skip();
      else if (kind === 5 && this.functions.length > 0)
        this.emit(0xe8, ...dword(random.pick(this.functions) - (this.at + 5)));
      else if (kind === 6) this.stackPair();
      else if (kind === 7 && this.changing && this.immediates.length > 0) this.change();
      else if (kind === 8) this.instruction(random.pick(POOLS[this.bits].vector));
      else if (kind === 9 && random.once(8)) this.instruction(random.pick(POOLS[this.bits].every));
      else this.instruction(random.pick(POOLS[this.bits].ordinary));
    }
  }

  /** Counted in memory, so that the body may use every register. */
  private loop(length: number, depth: number): void {
    const counter = COUNTERS + (this.counters++ % 128) * 4;
    const absolute = this.bits === 64 ? [0x04, 0x25] : [0x05];
    const decrement = this.bits === 64 ? [0x0c, 0x25] : [0x0d];
    // Loops in loops are short, or the rest of the program would never be reached.
    const times = 1 + this.random.below(depth === 0 ? 20 : 3);
    this.emit(0xc7, ...absolute, ...dword(counter), ...dword(times));
    const top = this.at;
    this.body(length, depth);
    this.emit(0xff, ...decrement, ...dword(counter));
    this.emit(0x0f, 0x85, ...dword(top - (this.at + 6)));
  }

  /** A conditional jump over some instructions, or a JMP over the other branch. */
  private skip(): void {
    const { random } = this;
    const condition = random.below(16);
    const from = this.at + 6;
    this.emit(0x0f, 0x80 | condition, 0, 0, 0, 0);
    for (let n = random.below(4); n >= 0; n--) this.instruction(random.pick(POOLS[this.bits].ordinary));
    if (random.once(2)) {
      this.link(from, this.at);
      return;
    }
    const over = this.at + 5;
    this.emit(0xe9, 0, 0, 0, 0);
    this.link(from, this.at);
    for (let n = random.below(3); n >= 0; n--) this.instruction(random.pick(POOLS[this.bits].ordinary));
    this.link(over, this.at);
  }

  private link(end: number, target: number): void {
    if (end < CODE_BYTES - 32) this.code.set(dword(target - end), end - 4);
  }

  private stackPair(): void {
    const push = this.random.below(8),
      pop = this.random.below(8);
    if (push === S.RSP || pop === S.RSP) return;
    this.emit(0x50 | push);
    this.instruction(this.random.pick(POOLS[this.bits].ordinary));
    this.emit(0x58 | pop);
  }

  /** Stores the low byte of a register over an immediate. */
  private change(): void {
    const target = CODE_BASE + this.random.pick(this.immediates);
    const absolute =
      this.bits === 64 ? [0x04 | (this.random.below(4) << 3), 0x25] : [0x05 | (this.random.below(4) << 3)];
    this.emit(0x88, ...absolute, ...dword(target));
  }

  private instruction(shape: Shape): void {
    const { random } = this;
    const page = random.below(3);
    const offset = random.once(20) ? 0xff8 + random.below(8) : random.below(0x1f0) * 8;
    const target = BigInt(DATA_BASE + page * PAGE + offset);
    const { code, base, index, scale, displacement, reg, rm } = encodeRow(random, shape, {
      target,
      reserved: new Set([S.RSP]),
    });
    // The stack pointer stays where it is.
    const touchesStack = shape.parsed.operands.some(
      ({ letter }) => (letter === 'G' && reg === S.RSP) || ('ER'.includes(letter) && !shape.memory && rm === S.RSP),
    );
    if (touchesStack || (shape.parsed.encoding.plusR && (code[code.length - 1]! & 7) === S.RSP)) return;
    const rest = target - displacement;
    if (index >= 0) {
      const own = base >= 0 ? BigInt(random.below(64)) : rest >> BigInt(scale);
      this.emit(...this.load(index, own));
      if (base >= 0) this.emit(...this.load(base, rest - (own << BigInt(scale))));
    } else if (base >= 0) this.emit(...this.load(base, rest));
    this.emit(...code);
    if (shape.parsed.operands.some((o) => o.letter === 'I')) this.immediates.push(this.at - 1);
  }

  /** MOV register, value. */
  private load(register: number, value: bigint): number[] {
    const bytes = this.bits === 64 ? 8 : 4;
    const immediate = Array.from({ length: bytes }, (_, i) =>
      Number((BigInt.asUintN(64, value) >> BigInt(i * 8)) & 0xffn),
    );
    return [...(this.bits === 64 ? [0x48 | (register >> 3)] : []), 0xb8 | (register & 7), ...immediate];
  }
}

export const structuredProgram = (random: Random, bits: Bits): Uint8Array => new Program(random, bits).code;
