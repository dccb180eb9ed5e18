/** x87 loads, stores and register moves. */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import { IE, PE, ROUND_ZERO } from '../fpu/environment.ts';
import {
  BINARY32,
  BINARY64,
  bitLength,
  EXTENDED,
  FINITE,
  type Float,
  finite,
  INDEFINITE,
  pack32,
  pack64,
  pack80,
  unpack32,
  unpack64,
  unpack80,
  ZERO,
  zero,
} from '../fpu/format.ts';
import { roundToInteger } from '../fpu/round.ts';
import * as soft from '../fpu/softfloat.ts';
import { CONSTANTS } from '../fpu/transcendental.ts';
import * as fpu from '../fpu/x87-state.ts';
import { C1, env } from '../fpu/x87-state.ts';
import * as S from '../state.ts';
import { type Routine, type Row, routine } from './row.ts';

const X87 = { unit: 'x87' } as const;
const row = (name: string, encoding: string, call: Routine): Row => routine(name, encoding, '', X87, call);

const integer = (value: bigint): Float => finite(value < 0n, value < 0n ? -value : value, 0);

const load16 = (cpu: Cpu, insn: Insn): Float =>
  integer(BigInt.asIntN(16, BigInt(cpu.readLinear16(cpu.effectiveAddress(insn, 2, false)))));
const load32 = (cpu: Cpu, insn: Insn): Float =>
  integer(BigInt(cpu.readLinear32(cpu.effectiveAddress(insn, 4, false)) | 0));
const load64 = (cpu: Cpu, insn: Insn): Float =>
  integer(BigInt.asIntN(64, cpu.readLinear64(cpu.effectiveAddress(insn, 8, false))));
const loadSingle = (cpu: Cpu, insn: Insn): Float => unpack32(cpu.readLinear32(cpu.effectiveAddress(insn, 4, false)));
const loadDouble = (cpu: Cpu, insn: Insn): Float => unpack64(cpu.readLinear64(cpu.effectiveAddress(insn, 8, false)));

/** The four memory operands of arithmetic and comparison. */
export const loaders = [
  { opcode: 'D8', integer: false, read: loadSingle },
  { opcode: 'DA', integer: true, read: load32 },
  { opcode: 'DC', integer: false, read: loadDouble },
  { opcode: 'DE', integer: true, read: load16 },
] as const;

// ---- loads ----

/** `checked`: the conversion may raise IE and DE (singles and doubles). */
const load = (name: string, encoding: string, read: (cpu: Cpu, insn: Insn) => Float, checked: boolean): Row =>
  row(name, encoding, (cpu, insn) => {
    fpu.begin(cpu);
    const operand = read(cpu, insn);
    fpu.remember(cpu, insn);
    if (!fpu.isEmpty(cpu, 7)) {
      fpu.pushChecked(cpu, operand);
      return undefined;
    }
    let value = operand;
    if (checked) {
      env.precision = 64;
      value = soft.convert(env, EXTENDED, operand);
    }
    fpu.pushChecked(cpu, value);
    return undefined;
  });

const loadExtended: Routine = (cpu, insn) => {
  fpu.begin(cpu);
  const at = cpu.effectiveAddress(insn, 10, false);
  const significand = cpu.readLinear64(at);
  const signExponent = cpu.readLinear16(at + 8n);
  fpu.remember(cpu, insn);
  const full = !fpu.isEmpty(cpu, 7);
  fpu.pushChecked(cpu, unpack80(significand, signExponent));
  // Unnormalised encodings are kept to the bit.
  if (!full) {
    const n = S.fpr(fpu.top(cpu));
    cpu.set64(n, significand);
    cpu.set16(n + 8, signExponent);
  }
  return undefined;
};

/** Packed decimal: eighteen digits, low first, and a sign byte. */
const loadDecimal = (cpu: Cpu, insn: Insn): Float => {
  const at = cpu.effectiveAddress(insn, 10, false);
  const low = cpu.readLinear64(at);
  const high = cpu.readLinear16(at + 8n);
  let value = 0n;
  const digits = (BigInt(high & 0xff) << 64n) | low;
  for (let shift = 68n; shift >= 0n; shift -= 4n) value = value * 10n + ((digits >> shift) & 15n);
  const negative = (high & 0x8000) !== 0;
  return value === 0n ? zero(negative) : finite(negative, value, 0);
};

/** Constants are kept with more bits and rounded by the control word, without reporting it. */
const constantRow = (name: string, encoding: string, make: ((bits: number) => bigint) | undefined): Row =>
  row(name, encoding, (cpu, insn) => {
    fpu.begin(cpu);
    fpu.remember(cpu, insn);
    let value = zero(false);
    if (make !== undefined) {
      const bits = 192;
      const exact = make(bits);
      const drop = bitLength(exact) - 64;
      value = finite(false, roundToInteger(exact, -drop, env.rounding, false).value, drop - bits);
    }
    fpu.pushChecked(cpu, value);
    return undefined;
  });

// ---- stores ----

/** Common part of stores: checks the destination, takes care of an empty ST(0), pops. `convert` gives undefined when nothing is stored. */
const store = (
  name: string,
  encoding: string,
  size: number,
  pops: boolean,
  empty: (cpu: Cpu, at: bigint) => void,
  full: (cpu: Cpu, at: bigint, a: Float) => (() => void) | undefined,
): Row =>
  row(name, encoding, (cpu, insn) => {
    fpu.begin(cpu);
    const at = cpu.effectiveAddress(insn, size, true);
    cpu.probeLinear(at, size, true);
    fpu.remember(cpu, insn);
    if (fpu.isEmpty(cpu, 0)) {
      if (!fpu.stackFault(cpu, false)) return undefined;
      empty(cpu, at);
    } else {
      const commit = full(cpu, at, fpu.read(cpu, 0));
      if (!fpu.finish(cpu, true)) return undefined;
      commit?.();
    }
    if (pops) fpu.pop(cpu);
    return undefined;
  });

const storeSingle = (name: string, encoding: string, pops: boolean): Row =>
  store(
    name,
    encoding,
    4,
    pops,
    (cpu, at) => cpu.writeLinear32(at, pack32(INDEFINITE)),
    (cpu, at, a) => {
      const value = soft.convert(env, BINARY32, fpu.withoutDenormal(a), true);
      return () => cpu.writeLinear32(at, pack32(value));
    },
  );

const storeDouble = (name: string, encoding: string, pops: boolean): Row =>
  store(
    name,
    encoding,
    8,
    pops,
    (cpu, at) => cpu.writeLinear64(at, pack64(INDEFINITE)),
    (cpu, at, a) => {
      const value = soft.convert(env, BINARY64, fpu.withoutDenormal(a), true);
      return () => cpu.writeLinear64(at, pack64(value));
    },
  );

const write80 = (cpu: Cpu, at: bigint, significand: bigint, signExponent: number): void => {
  cpu.writeLinear64(at, significand);
  cpu.writeLinear16(at + 8n, signExponent);
};

const storeExtended: Row = store(
  'FSTP',
  'DB /7m',
  10,
  true,
  (cpu, at) => write80(cpu, at, ...pack80(INDEFINITE)),
  (cpu, at) => {
    const n = S.fpr(fpu.top(cpu));
    return () => write80(cpu, at, cpu.get64(n), cpu.get16(n + 8));
  },
);

const storeInteger = (name: string, encoding: string, bits: 16 | 32 | 64, pops: boolean, truncate = false): Row => {
  const put = (cpu: Cpu, at: bigint, value: bigint) => {
    if (bits === 64) cpu.writeLinear64(at, BigInt.asUintN(64, value));
    else if (bits === 32) cpu.writeLinear32(at, Number(BigInt.asUintN(32, value)));
    else cpu.writeLinear16(at, Number(BigInt.asUintN(16, value)));
  };
  const indefinite = 1n << BigInt(bits - 1);
  return store(
    name,
    encoding,
    bits / 8,
    pops,
    (cpu, at) => put(cpu, at, indefinite),
    (cpu, at, a) => {
      const value = soft.toInteger(env, a, bits, truncate ? ROUND_ZERO : env.rounding) ?? indefinite;
      return () => put(cpu, at, value);
    },
  );
};

const DECIMAL_LIMIT = 10n ** 18n;
const decimalIndefinite = (cpu: Cpu, at: bigint): void => write80(cpu, at, 0xc000_0000_0000_0000n, 0xffff);

const storeDecimal: Row = store('FBSTP', 'DF /6m', 10, true, decimalIndefinite, (cpu, at, a) => {
  const value =
    a.kind === ZERO
      ? 0n
      : a.kind === FINITE
        ? roundToInteger(a.significand, a.exponent, env.rounding, a.negative)
        : undefined;
  const magnitude = typeof value === 'bigint' ? value : value?.value;
  if (magnitude === undefined || magnitude >= DECIMAL_LIMIT) {
    env.raise(IE);
    return () => decimalIndefinite(cpu, at);
  }
  if (typeof value === 'object') {
    if (value.inexact) env.raise(PE);
    env.roundedUp = value.increased;
  }
  let digits = 0n;
  let rest = magnitude;
  for (let shift = 0n; shift < 72n; shift += 4n) {
    digits |= (rest % 10n) << shift;
    rest /= 10n;
  }
  return () => write80(cpu, at, digits & 0xffff_ffff_ffff_ffffn, Number(digits >> 64n) | (a.negative ? 0x8000 : 0));
});

// ---- register moves ----

/** Copies a register to the bit. */
const copy = (cpu: Cpu, from: number, to: number): void => {
  const top = fpu.top(cpu);
  const source = S.fpr((top + from) & 7),
    destination = S.fpr((top + to) & 7);
  const significand = cpu.get64(source),
    exponent = cpu.get16(source + 8);
  fpu.write(cpu, to, fpu.read(cpu, from));
  cpu.set64(destination, significand);
  cpu.set16(destination + 8, exponent);
};

const storeRegister = (name: string, encoding: string, pops: boolean): Row =>
  row(name, encoding, (cpu, insn) => {
    fpu.begin(cpu);
    fpu.remember(cpu, insn);
    const to = insn.rm & 7;
    if (fpu.isEmpty(cpu, 0)) {
      if (!fpu.stackFault(cpu, false)) return undefined;
      fpu.write(cpu, to, INDEFINITE);
    } else {
      fpu.setConditions(cpu, 0, C1);
      copy(cpu, 0, to);
    }
    if (pops) fpu.pop(cpu);
    return undefined;
  });

const exchange: Routine = (cpu, insn) => {
  fpu.begin(cpu);
  fpu.remember(cpu, insn);
  const i = insn.rm & 7;
  if (fpu.isEmpty(cpu, 0) || fpu.isEmpty(cpu, i)) {
    if (!fpu.stackFault(cpu, false)) return undefined;
    for (const n of [0, i]) if (fpu.isEmpty(cpu, n)) fpu.write(cpu, n, INDEFINITE);
  } else fpu.setConditions(cpu, 0, C1);
  const top = fpu.top(cpu);
  const a = S.fpr(top),
    b = S.fpr((top + i) & 7);
  const significand = cpu.get64(a),
    signExponent = cpu.get16(a + 8);
  cpu.set64(a, cpu.get64(b));
  cpu.set16(a + 8, cpu.get16(b + 8));
  cpu.set64(b, significand);
  cpu.set16(b + 8, signExponent);
  return undefined;
};

const loadRegister: Routine = (cpu, insn) => {
  fpu.begin(cpu);
  fpu.remember(cpu, insn);
  const i = insn.rm & 7;
  const overflow = !fpu.isEmpty(cpu, 7);
  if (overflow || fpu.isEmpty(cpu, i)) {
    if (fpu.stackFault(cpu, overflow)) fpu.push(cpu, INDEFINITE);
    return undefined;
  }
  fpu.setConditions(cpu, 0, C1);
  fpu.push(cpu, INDEFINITE);
  copy(cpu, i + 1, 0);
  return undefined;
};

/** FCMOVcc: the condition is read from EFLAGS. */
const conditional = (name: string, encoding: string, holds: (flags: number) => boolean): Row =>
  row(name, encoding, (cpu, insn) => {
    fpu.begin(cpu);
    fpu.remember(cpu, insn);
    const i = insn.rm & 7;
    if (fpu.isEmpty(cpu, 0) || fpu.isEmpty(cpu, i)) {
      if (fpu.stackFault(cpu, false)) fpu.write(cpu, 0, INDEFINITE);
      return undefined;
    }
    fpu.setConditions(cpu, 0, C1);
    if (holds(cpu.eflags)) copy(cpu, i, 0);
    return undefined;
  });

const conditionalRows = (): readonly Row[] =>
  (['B', 'E', 'BE', 'U'] as const).flatMap((cc, digit) => {
    const bits = [S.CF, S.ZF, S.CF | S.ZF, S.PF][digit];
    return [
      conditional(`FCMOV${cc}`, `DA /${digit}r`, (flags) => (flags & bits) !== 0),
      conditional(`FCMOVN${cc}`, `DB /${digit}r`, (flags) => (flags & bits) === 0),
    ];
  });

export const x87MemoryRows = (): readonly Row[] => [
  load('FLD', 'D9 /0m', loadSingle, true),
  load('FLD', 'DD /0m', loadDouble, true),
  row('FLD', 'DB /5m', loadExtended),
  row('FLD', 'D9 /0r', loadRegister),
  load('FILD', 'DF /0m', load16, false),
  load('FILD', 'DB /0m', load32, false),
  load('FILD', 'DF /5m', load64, false),
  load('FBLD', 'DF /4m', loadDecimal, false),
  constantRow('FLD1', 'D9 /E8', CONSTANTS.one),
  constantRow('FLDL2T', 'D9 /E9', CONSTANTS.log2Of10),
  constantRow('FLDL2E', 'D9 /EA', CONSTANTS.log2OfE),
  constantRow('FLDPI', 'D9 /EB', CONSTANTS.pi),
  constantRow('FLDLG2', 'D9 /EC', CONSTANTS.log10Of2),
  constantRow('FLDLN2', 'D9 /ED', CONSTANTS.ln2),
  constantRow('FLDZ', 'D9 /EE', undefined),
  storeSingle('FST', 'D9 /2m', false),
  storeSingle('FSTP', 'D9 /3m', true),
  storeDouble('FST', 'DD /2m', false),
  storeDouble('FSTP', 'DD /3m', true),
  storeExtended,
  storeInteger('FIST', 'DF /2m', 16, false),
  storeInteger('FISTP', 'DF /3m', 16, true),
  storeInteger('FISTTP', 'DF /1m', 16, true, true),
  storeInteger('FIST', 'DB /2m', 32, false),
  storeInteger('FISTP', 'DB /3m', 32, true),
  storeInteger('FISTTP', 'DB /1m', 32, true, true),
  storeInteger('FISTP', 'DF /7m', 64, true),
  storeInteger('FISTTP', 'DD /1m', 64, true, true),
  storeDecimal,
  storeRegister('FST', 'DD /2r', false),
  storeRegister('FSTP', 'DD /3r', true),
  // Aliases that every processor decodes.
  storeRegister('FSTP', 'D9 /3r', true),
  storeRegister('FSTP', 'DF /2r', true),
  storeRegister('FSTP', 'DF /3r', true),
  row('FXCH', 'D9 /1r', exchange),
  row('FXCH', 'DD /1r', exchange),
  row('FXCH', 'DF /1r', exchange),
  ...conditionalRows(),
];
