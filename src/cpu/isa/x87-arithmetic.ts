/** x87 arithmetic, comparison and the transcendental instructions. */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import { EXTENDED, type Float, INDEFINITE, INFINITY, isNan, NAN, ONE, UNSUPPORTED, ZERO, zero } from '../fpu/format.ts';
import * as soft from '../fpu/softfloat.ts';
import * as series from '../fpu/transcendental.ts';
import * as math from '../fpu/x87-math.ts';
import * as fpu from '../fpu/x87-state.ts';
import { C0, C1, C2, C3, env } from '../fpu/x87-state.ts';
import * as S from '../state.ts';
import { type Routine, type Row, routine } from './row.ts';
import { loaders } from './x87-memory.ts';

const X87 = { unit: 'x87' } as const;
const row = (name: string, encoding: string, call: Routine): Row => routine(name, encoding, '', X87, call);

/** Starts an instruction that touches registers only. */
const start = (cpu: Cpu, insn: Insn): void => {
  fpu.begin(cpu);
  fpu.remember(cpu, insn);
};

// ---- arithmetic ----

type Operation = (a: Float, b: Float) => Float;
const OPERATIONS: Readonly<Record<string, Operation>> = {
  FADD: (a, b) => soft.add(env, EXTENDED, a, b),
  FMUL: (a, b) => soft.mul(env, EXTENDED, a, b),
  FSUB: (a, b) => soft.add(env, EXTENDED, a, b, true),
  FSUBR: (a, b) => soft.add(env, EXTENDED, b, a, true),
  FDIV: (a, b) => soft.div(env, EXTENDED, a, b),
  FDIVR: (a, b) => soft.div(env, EXTENDED, b, a),
};

/** ST(destination) = ST(destination) op ST(source); with `popping` the stack is popped when the instruction completes. */
const registers = (cpu: Cpu, destination: number, source: number, operation: Operation, popping: boolean): void => {
  let done: boolean;
  if (fpu.isEmpty(cpu, destination) || fpu.isEmpty(cpu, source)) {
    done = fpu.stackFault(cpu, false);
    if (done) fpu.write(cpu, destination, INDEFINITE);
  } else {
    const value = operation(fpu.read(cpu, destination), fpu.read(cpu, source));
    done = fpu.finish(cpu);
    if (done) fpu.write(cpu, destination, value);
  }
  if (done && popping) fpu.pop(cpu);
};

const NAMES = ['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUB', 'FSUBR', 'FDIV', 'FDIVR'] as const;
/** With ST(i) as the destination the reversed forms trade places. */
const REVERSED = ['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUBR', 'FSUB', 'FDIVR', 'FDIV'] as const;

const arithmeticRows = (): readonly Row[] =>
  NAMES.flatMap((name, digit) => {
    const operation = OPERATIONS[name];
    if (operation === undefined) return [];
    const reversed = OPERATIONS[REVERSED[digit]];
    const memory = loaders.map(({ opcode, integer, read }) =>
      row(integer ? name.replace('F', 'FI') : name, `${opcode} /${digit}m`, (cpu, insn) => {
        fpu.begin(cpu);
        const operand = read(cpu, insn);
        fpu.remember(cpu, insn);
        if (fpu.isEmpty(cpu, 0)) {
          if (fpu.stackFault(cpu, false)) fpu.write(cpu, 0, INDEFINITE);
          return undefined;
        }
        const value = operation(fpu.read(cpu, 0), operand);
        if (fpu.finish(cpu)) fpu.write(cpu, 0, value);
        return undefined;
      }),
    );
    return [
      ...memory,
      row(name, `D8 /${digit}r`, (cpu, insn) => {
        start(cpu, insn);
        registers(cpu, 0, insn.rm & 7, operation, false);
        return undefined;
      }),
      row(REVERSED[digit], `DC /${digit}r`, (cpu, insn) => {
        start(cpu, insn);
        registers(cpu, insn.rm & 7, 0, reversed, false);
        return undefined;
      }),
      row(`${REVERSED[digit]}P`, `DE /${digit}r`, (cpu, insn) => {
        start(cpu, insn);
        registers(cpu, insn.rm & 7, 0, reversed, true);
        return undefined;
      }),
    ];
  });

// ---- comparison ----

const CODES: Readonly<Record<number, number>> = {
  [soft.LESS]: C0,
  [soft.EQUAL]: C3,
  [soft.GREATER]: 0,
  [soft.UNORDERED]: C0 | C2 | C3,
};

/** Compares ST(0) with a value (undefined: an empty register); pops `pops` times when the instruction completes. */
const compare = (cpu: Cpu, b: Float | undefined, quiet: boolean, pops: number, eflags = false): void => {
  let order: number = soft.UNORDERED;
  let done: boolean;
  if (b === undefined || fpu.isEmpty(cpu, 0)) done = fpu.stackFault(cpu, false);
  else {
    order = soft.compare(env, fpu.read(cpu, 0), b, quiet);
    done = fpu.finish(cpu);
  }
  // The outcome is delivered even when an unmasked exception keeps the operands on the stack.
  if (!eflags) fpu.setConditions(cpu, CODES[order]);
  else {
    fpu.setConditions(cpu, 0, C1);
    const bits =
      order === soft.UNORDERED ? S.ZF | S.PF | S.CF : order === soft.EQUAL ? S.ZF : order === soft.LESS ? S.CF : 0;
    cpu.setArithmeticFlags(bits);
  }
  for (let i = 0; done && i < pops; i++) fpu.pop(cpu);
};

const register = (cpu: Cpu, i: number): Float | undefined => (fpu.isEmpty(cpu, i) ? undefined : fpu.read(cpu, i));

const compareRow = (name: string, encoding: string, quiet: boolean, pops: number, eflags = false): Row =>
  row(name, encoding, (cpu, insn) => {
    start(cpu, insn);
    compare(cpu, register(cpu, insn.rm & 7), quiet, pops, eflags);
    return undefined;
  });

const comparisonRows = (): readonly Row[] => [
  ...loaders.flatMap(({ opcode, integer, read }) =>
    [0, 1].map((pops) =>
      row(`F${integer ? 'I' : ''}COM${pops === 1 ? 'P' : ''}`, `${opcode} /${2 + pops}m`, (cpu, insn) => {
        fpu.begin(cpu);
        const operand = read(cpu, insn);
        fpu.remember(cpu, insn);
        compare(cpu, operand, false, pops);
        return undefined;
      }),
    ),
  ),
  compareRow('FCOM', 'D8 /2r', false, 0),
  compareRow('FCOMP', 'D8 /3r', false, 1),
  // Aliases that every processor decodes.
  compareRow('FCOM', 'DC /2r', false, 0),
  compareRow('FCOMP', 'DC /3r', false, 1),
  compareRow('FCOMP', 'DE /2r', false, 1),
  compareRow('FCOMPP', 'DE /D9', false, 2),
  compareRow('FUCOM', 'DD /4r', true, 0),
  compareRow('FUCOMP', 'DD /5r', true, 1),
  compareRow('FUCOMPP', 'DA /E9', true, 2),
  compareRow('FCOMI', 'DB /6r', false, 0, true),
  compareRow('FCOMIP', 'DF /6r', false, 1, true),
  compareRow('FUCOMI', 'DB /5r', true, 0, true),
  compareRow('FUCOMIP', 'DF /5r', true, 1, true),
  row('FTST', 'D9 /E4', (cpu, insn) => {
    start(cpu, insn);
    compare(cpu, zero(false), false, 0);
    return undefined;
  }),
  row('FXAM', 'D9 /E5', (cpu, insn) => {
    start(cpu, insn);
    const a = fpu.read(cpu, 0);
    let code = C2;
    if (fpu.isEmpty(cpu, 0)) code = C3 | C0;
    else if (a.kind === UNSUPPORTED) code = 0;
    else if (a.kind === NAN) code = C0;
    else if (a.kind === INFINITY) code = C2 | C0;
    else if (a.kind === ZERO) code = C3;
    else if (a.denormal) code = C3 | C2;
    fpu.setConditions(cpu, code | (a.negative ? C1 : 0));
    return undefined;
  }),
];

// ---- one operand ----

/** ST(0) = f(ST(0)). */
const unary = (name: string, encoding: string, operation: (a: Float) => Float): Row =>
  row(name, encoding, (cpu, insn) => {
    start(cpu, insn);
    if (fpu.isEmpty(cpu, 0)) {
      if (fpu.stackFault(cpu, false)) fpu.write(cpu, 0, INDEFINITE);
      return undefined;
    }
    const value = operation(fpu.read(cpu, 0));
    if (fpu.finish(cpu)) fpu.write(cpu, 0, value);
    return undefined;
  });

/** FCHS and FABS change the sign bit of anything, NaNs and unsupported encodings included. */
const signRow = (name: string, encoding: string, change: (negative: boolean) => boolean): Row =>
  row(name, encoding, (cpu, insn) => {
    start(cpu, insn);
    if (fpu.isEmpty(cpu, 0)) {
      if (fpu.stackFault(cpu, false)) fpu.write(cpu, 0, INDEFINITE);
      return undefined;
    }
    fpu.setConditions(cpu, 0, C1);
    const at = S.fpr(fpu.top(cpu)) + 8;
    const bits = cpu.get16(at);
    cpu.set16(at, (bits & 0x7fff) | (change((bits & 0x8000) !== 0) ? 0x8000 : 0));
    return undefined;
  });

/** ST(1) = f(ST(1), ST(0)), then pop. */
const binaryPop = (name: string, encoding: string, operation: Operation): Row =>
  row(name, encoding, (cpu, insn) => {
    start(cpu, insn);
    registers(cpu, 1, 0, operation, true);
    return undefined;
  });

/** FSIN, FCOS and the two that push a second result. C2 says that the argument is out of range. */
const trigonometricRow = (
  name: string,
  encoding: string,
  first: math.Trigonometric,
  atZero: (a: Float) => Float,
  second?: (a: Float, result: Float) => Float,
): Row =>
  row(name, encoding, (cpu, insn) => {
    start(cpu, insn);
    fpu.setConditions(cpu, 0, C2);
    if (fpu.isEmpty(cpu, 0) || (second !== undefined && !fpu.isEmpty(cpu, 7))) {
      const overflow = !fpu.isEmpty(cpu, 0);
      if (fpu.stackFault(cpu, overflow)) {
        fpu.write(cpu, 0, INDEFINITE);
        if (second !== undefined) fpu.push(cpu, INDEFINITE);
      }
      return undefined;
    }
    const a = fpu.read(cpu, 0);
    const value = math.trigonometric(env, a, first, atZero);
    if (value === undefined) {
      fpu.setConditions(cpu, C2, C1 | C2);
      return undefined;
    }
    const other = second?.(a, value);
    if (!fpu.finish(cpu)) return undefined;
    fpu.write(cpu, 0, value);
    if (other !== undefined) fpu.push(cpu, other);
    return undefined;
  });

const remainderRow = (name: string, encoding: string, nearest: boolean): Row =>
  row(name, encoding, (cpu, insn) => {
    start(cpu, insn);
    if (fpu.isEmpty(cpu, 0) || fpu.isEmpty(cpu, 1)) {
      if (fpu.stackFault(cpu, false)) fpu.write(cpu, 0, INDEFINITE);
      return undefined;
    }
    env.precision = 64;
    const r = soft.remainder(env, fpu.read(cpu, 0), fpu.read(cpu, 1), nearest);
    if (!fpu.finish(cpu)) return undefined;
    fpu.write(cpu, 0, r.value);
    const q = r.quotient;
    const bits = r.complete ? ((q & 4) !== 0 ? C0 : 0) | ((q & 2) !== 0 ? C3 : 0) | ((q & 1) !== 0 ? C1 : 0) : C2;
    fpu.setConditions(cpu, bits);
    return undefined;
  });

const mathRows = (): readonly Row[] => [
  signRow('FCHS', 'D9 /E0', (negative) => !negative),
  signRow('FABS', 'D9 /E1', () => false),
  unary('F2XM1', 'D9 /F0', (a) => math.exp2m1(env, a)),
  binaryPop('FYL2X', 'D9 /F1', (y, x) => math.yLog2(env, y, x)),
  trigonometricRow(
    'FPTAN',
    'D9 /F2',
    series.tangent,
    (a) => a,
    (_a, result) => (isNan(result) ? result : ONE),
  ),
  binaryPop('FPATAN', 'D9 /F3', (y, x) => math.arctangent2(env, y, x)),
  row('FXTRACT', 'D9 /F4', (cpu, insn) => {
    start(cpu, insn);
    const empty = fpu.isEmpty(cpu, 0);
    if (empty || !fpu.isEmpty(cpu, 7)) {
      if (fpu.stackFault(cpu, !empty)) {
        fpu.write(cpu, 0, INDEFINITE);
        fpu.push(cpu, INDEFINITE);
      }
      return undefined;
    }
    const [exponent, significand] = math.extract(env, fpu.read(cpu, 0));
    if (!fpu.finish(cpu)) return undefined;
    fpu.write(cpu, 0, exponent);
    fpu.push(cpu, significand);
    return undefined;
  }),
  remainderRow('FPREM1', 'D9 /F5', true),
  remainderRow('FPREM', 'D9 /F8', false),
  binaryPop('FYL2XP1', 'D9 /F9', (y, x) => math.yLog2p1(env, y, x)),
  unary('FSQRT', 'D9 /FA', (a) => soft.sqrt(env, EXTENDED, a)),
  trigonometricRow(
    'FSINCOS',
    'D9 /FB',
    series.sine,
    (a) => a,
    (a, result) =>
      isNan(result) ? result : a.kind === ZERO ? ONE : (math.trigonometric(env, a, series.cosine, () => ONE) ?? ONE),
  ),
  unary('FRNDINT', 'D9 /FC', (a) => {
    if (a.kind < NAN) env.operands(a);
    const value = soft.roundToIntegral(env, a, env.rounding);
    return value;
  }),
  row('FSCALE', 'D9 /FD', (cpu, insn) => {
    start(cpu, insn);
    registers(cpu, 0, 1, (a, b) => math.scaleBy(env, a, b), false);
    return undefined;
  }),
  trigonometricRow('FSIN', 'D9 /FE', series.sine, (a) => a),
  trigonometricRow('FCOS', 'D9 /FF', series.cosine, () => ONE),
];

export const x87ArithmeticRows = (): readonly Row[] => [...arithmeticRows(), ...comparisonRows(), ...mathRows()];
