/**
 * The exact form of every SSE floating-point operation. Translated code calls it (through helpers.ts) when its own fast path
 * does not apply: special operands, another rounding mode, unmasked exceptions, flush-to-zero.
 *
 * Operands are at SCRATCH (first) and SCRATCH+16 (second); the result goes to SCRATCH+32, sixteen bytes, of which scalar
 * operations define the low element.
 */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { UD, XM } from '../system/fault.ts';
import { DE, Environment, IE, ROUND_ZERO, ZE } from './environment.ts';
import {
  BINARY32,
  BINARY64,
  FINITE,
  type Float,
  type Format,
  fromNumber,
  INFINITY,
  infinity,
  isNan,
  pack32,
  pack64,
  quieted,
  unpack32,
  unpack64,
  ZERO,
  zero,
} from './format.ts';
import { round } from './round.ts';
import {
  ADD,
  ADDSUB,
  CMP,
  COMI,
  DIV,
  DP,
  FROM_I32,
  FROM_I64,
  HADD,
  HSUB,
  MAX,
  MUL,
  NARROW,
  RCP,
  ROUND,
  RSQRT,
  SQRT,
  SUB,
  TO_I32,
  TO_I32_TRUNCATED,
  TO_I64,
  TO_I64_TRUNCATED,
  UCOMI,
  WIDEN,
} from './simd-operations.ts';
import * as soft from './softfloat.ts';

const FIRST = S.SCRATCH,
  SECOND = S.SCRATCH + 16,
  RESULT = S.SCRATCH + 32;
const CR4_OSXMMEXCPT = 0x400;
const ALL_ONES = 0xffff_ffff_ffff_ffffn;

const env = new Environment();
/** Denormals-are-zeros of the operation in progress. */
let daz = false;

const flush = (a: Float): Float => (daz && a.denormal ? zero(a.negative) : a);

/** Element access of one shape. */
interface Elements {
  readonly format: Format;
  readonly count: number;
  read(cpu: Cpu, at: number, index: number): Float;
  write(cpu: Cpu, index: number, value: Float): void;
  mask(cpu: Cpu, index: number, value: boolean): void;
}

const singles = (count: number): Elements => ({
  format: BINARY32,
  count,
  read: (cpu, at, index) => flush(unpack32(cpu.get32(at + index * 4))),
  write: (cpu, index, value) => cpu.set32(RESULT + index * 4, pack32(value)),
  mask: (cpu, index, value) => cpu.set32(RESULT + index * 4, value ? 0xffff_ffff : 0),
});

const doubles = (count: number): Elements => ({
  format: BINARY64,
  count,
  read: (cpu, at, index) => flush(unpack64(cpu.get64(at + index * 8))),
  write: (cpu, index, value) => cpu.set64(RESULT + index * 8, pack64(value)),
  mask: (cpu, index, value) => cpu.set64(RESULT + index * 8, value ? ALL_ONES : 0n),
});

const SHAPES: readonly Elements[] = [singles(1), doubles(1), singles(4), doubles(2)];

const arithmetic = (kind: number, f: Format, a: Float, b: Float): Float => {
  switch (kind) {
    case ADD:
      return soft.add(env, f, a, b);
    case SUB:
      return soft.add(env, f, a, b, true);
    case MUL:
      return soft.mul(env, f, a, b);
    case DIV:
      return soft.div(env, f, a, b);
    case SQRT:
      return soft.sqrt(env, f, b);
    default:
      return extremum(kind === MAX, a, b);
  }
};

/** The second operand, unchanged, whenever either is a NaN or both are zero. */
const extremum = (max: boolean, a: Float, b: Float): Float => {
  const order = soft.compare(env, a, b, false);
  return order === (max ? soft.GREATER : soft.LESS) ? a : b;
};

/** Predicates 0..7: EQ LT LE UNORD NEQ NLT NLE ORD (key `sdm:CMPPD`). */
const predicate = (code: number, a: Float, b: Float): boolean => {
  const quiet = (code & 3) === 0 || (code & 3) === 3;
  const order = soft.compare(env, a, b, quiet);
  const base = code & 3;
  const holds =
    base === 0
      ? order === soft.EQUAL
      : base === 1
        ? order === soft.LESS
        : base === 2
          ? order === soft.LESS || order === soft.EQUAL
          : order === soft.UNORDERED;
  return holds !== ((code & 4) !== 0);
};

/** Flags of the finished steps of an operation that has several; an unmasked exception ends it at its step. */
let earlier = 0;

/** Flags of the present step: those found before anything is computed suppress those of results when one is unmasked. */
const stageFlags = (): number => {
  const before = IE | DE | ZE;
  return (env.flags & ~env.masks & before) !== 0 ? env.flags & before : env.flags;
};

/** True when the step raised an unmasked exception; otherwise begins the next step. */
const endStage = (): boolean => {
  if ((env.flags & ~env.masks) !== 0) return true;
  earlier |= env.flags;
  env.flags = 0;
  return false;
};

const dot = (cpu: Cpu, e: Elements, imm: number): void => {
  const products: Float[] = [];
  for (let i = 0; i < e.count; i++) {
    const on = ((imm >> (4 + i)) & 1) !== 0;
    products.push(on ? soft.mul(env, e.format, e.read(cpu, FIRST, i), e.read(cpu, SECOND, i)) : zero(false));
  }
  // Each step is an operation of its own: a denormal product is a denormal operand of the sum.
  const operand = (v: Float): Float => flush(e.format === BINARY32 ? unpack32(pack32(v)) : unpack64(pack64(v)));
  while (products.length > 1) {
    if (endStage()) return;
    const sums: Float[] = [];
    for (let i = 0; i < products.length; i += 2)
      sums.push(soft.add(env, e.format, operand(products[i]), operand(products[i + 1])));
    products.splice(0, products.length, ...sums);
  }
  for (let i = 0; i < e.count; i++) e.write(cpu, i, ((imm >> i) & 1) !== 0 ? products[0] : zero(false));
};

/** RCPSS and RSQRTSS promise 12 bits; the project delivers exactly that many, rounded to nearest, on every host. */
const approximate = (root: boolean, a: Float): Float => {
  const quiet = new Environment();
  if (isNan(a)) return quieted(a);
  if (a.kind === ZERO || a.denormal) return infinity(a.negative);
  if (a.negative && root) return quiet.invalid();
  if (a.kind === INFINITY) return zero(a.negative);
  const exact = root
    ? soft.div(quiet, BINARY64, fromNumber(1), soft.sqrt(quiet, BINARY64, a))
    : soft.div(quiet, BINARY64, fromNumber(1), a);
  if (exact.kind !== FINITE || soft.exponentOf(exact) < BINARY32.emin) return zero(a.negative);
  return round(quiet, { ...BINARY32, precision: 12 }, exact.negative, exact.significand, exact.exponent);
};

const convertElements = (cpu: Cpu, kind: number, e: Elements): void => {
  const wide = kind === TO_I64 || kind === TO_I64_TRUNCATED;
  const rounding = kind === TO_I32_TRUNCATED || kind === TO_I64_TRUNCATED ? ROUND_ZERO : env.rounding;
  // Results land where operands may still be unread, so all are computed first.
  const values: Float[] = [];
  const integers: bigint[] = [];
  for (let i = 0; i < e.count; i++) {
    switch (kind) {
      case FROM_I32:
        values.push(soft.fromInteger(env, e.format, BigInt(cpu.get32(SECOND + i * 4) | 0)));
        break;
      case FROM_I64:
        values.push(soft.fromInteger(env, e.format, BigInt.asIntN(64, cpu.get64(SECOND))));
        break;
      case WIDEN:
        values.push(soft.convert(env, BINARY64, e.read(cpu, SECOND, i)));
        break;
      case NARROW:
        values.push(soft.convert(env, BINARY32, e.read(cpu, SECOND, i)));
        break;
      default: {
        const bits = wide ? 64 : 32;
        integers.push(soft.toInteger(env, e.read(cpu, SECOND, i), bits, rounding) ?? 1n << BigInt(bits - 1));
      }
    }
  }
  cpu.set64(RESULT, 0n);
  cpu.set64(RESULT + 8, 0n);
  for (const [i, n] of integers.entries()) {
    if (wide) cpu.set64(RESULT, BigInt.asUintN(64, n));
    else cpu.set32(RESULT + i * 4, Number(n & 0xffff_ffffn));
  }
  const single = kind === NARROW || (kind !== WIDEN && e.format === BINARY32);
  for (const [i, v] of values.entries()) {
    if (single) cpu.set32(RESULT + i * 4, pack32(v));
    else cpu.set64(RESULT + i * 8, pack64(v));
  }
};

const compute = (cpu: Cpu, kind: number, e: Elements, imm: number): void => {
  const f = e.format;
  if (kind >= TO_I32) {
    // Two singles fill a register of doubles.
    convertElements(cpu, kind, kind === WIDEN && e.count === 4 ? { ...e, count: 2 } : e);
    return;
  }
  switch (kind) {
    case COMI:
    case UCOMI: {
      const order = soft.compare(env, e.read(cpu, FIRST, 0), e.read(cpu, SECOND, 0), kind === UCOMI);
      const flags =
        order === soft.UNORDERED ? S.ZF | S.PF | S.CF : order === soft.EQUAL ? S.ZF : order === soft.LESS ? S.CF : 0;
      cpu.set32(RESULT, flags);
      return;
    }
    case DP:
      dot(cpu, e, imm);
      return;
    case HADD:
    case HSUB: {
      const values: Float[] = [];
      for (const at of [FIRST, SECOND]) {
        for (let i = 0; i < e.count; i += 2)
          values.push(soft.add(env, f, e.read(cpu, at, i), e.read(cpu, at, i + 1), kind === HSUB));
      }
      for (const [i, v] of values.entries()) e.write(cpu, i, v);
      return;
    }
    default:
  }
  for (let i = 0; i < e.count; i++) {
    const b = e.read(cpu, SECOND, i);
    switch (kind) {
      case CMP:
        e.mask(cpu, i, predicate(imm & 7, e.read(cpu, FIRST, i), b));
        break;
      case ROUND:
        e.write(cpu, i, soft.roundToIntegral(env, b, (imm & 4) !== 0 ? env.rounding : imm & 3, (imm & 8) !== 0));
        break;
      case ADDSUB:
        e.write(cpu, i, soft.add(env, f, e.read(cpu, FIRST, i), b, (i & 1) === 0));
        break;
      case RCP:
      case RSQRT:
        e.write(cpu, i, approximate(kind === RSQRT, b));
        break;
      default:
        e.write(cpu, i, arithmetic(kind, f, e.read(cpu, FIRST, i), b));
    }
  }
};

/**
 * Executes one operation under MXCSR. Returns 0, or 1 with #XM (or #UD without CR4.OSXMMEXCPT) recorded in FAULT_*; MXCSR then
 * has the flags and nothing else may be changed (key `sdm:1 "SIMD Floating-Point Exceptions"`).
 */
export const simdFloat = (cpu: Cpu, operation: number, imm: number): number => {
  const mxcsr = cpu.get32(S.MXCSR);
  env.flags = 0;
  earlier = 0;
  env.rounding = (mxcsr >> 13) & 3;
  env.masks = (mxcsr >> 7) & 0x3f;
  env.flushToZero = (mxcsr & 0x8000) !== 0;
  daz = (mxcsr & 0x40) !== 0;
  compute(cpu, operation & 0xff, SHAPES[operation >> 8], imm);
  cpu.set32(S.MXCSR, mxcsr | earlier | stageFlags());
  if ((env.flags & ~env.masks) === 0) return 0;
  cpu.set32(S.FAULT_VECTOR, (cpu.get32(S.CR4) & CR4_OSXMMEXCPT) !== 0 ? XM : UD);
  cpu.set32(S.FAULT_HAS_CODE, 0);
  return 1;
};
