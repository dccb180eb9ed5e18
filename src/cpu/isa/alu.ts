/** Two-operand arithmetic and logic, INC/DEC/NEG/NOT, compare and test, exchange-and-add, decimal adjustment. */
import type { Operand, Semantics } from '../semantics.ts';
import * as S from '../state.ts';
import { c32, c64, type Val } from '../wasm/value.ts';
import { insn, type Meaning, type Row, type RowOptions } from './row.ts';

const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0');

/** The six encodings every binary ALU operation has, and its three immediate forms. */
const family = (name: string, base: number, digit: number, mean: Meaning, options: RowOptions): Row[] => {
  const hot = { ...options, weight: 20 };
  const still: RowOptions = { ...hot, lock: false };
  return [
    insn(name, `${hex(base)} /r`, 'Eb,Gb', hot, mean),
    insn(name, `${hex(base + 1)} /r`, 'Ev,Gv', { ...hot, weight: 60 }, mean),
    insn(name, `${hex(base + 2)} /r`, 'Gb,Eb', still, mean),
    insn(name, `${hex(base + 3)} /r`, 'Gv,Ev', { ...still, weight: 40 }, mean),
    insn(name, `${hex(base + 4)} ib`, 'AL,Ib', { ...still, weight: 5 }, mean),
    insn(name, `${hex(base + 5)} iz`, 'rAX,Iz', { ...still, weight: 5 }, mean),
    insn(name, `80 /${digit} ib`, 'Eb,Ib', hot, mean),
    insn(name, `81 /${digit} iz`, 'Ev,Iz', hot, mean),
    insn(name, `82 /${digit} ib`, 'Eb,Ib', { ...options, not64: true }, mean),
    insn(name, `83 /${digit} ib`, 'Ev,Ib', { ...hot, signed: true, weight: 60 }, mean),
  ];
};

type Binary = 'add' | 'or' | 'adc' | 'sbb' | 'and' | 'sub' | 'xor';
const binary =
  (op: Binary): Meaning =>
  (s, d, src) => {
    const b = src.get();
    d.set(s[op](d.update(), b));
  };

const xadd: Meaning = (s, d, src) => {
  const a = d.update(),
    b = src.get();
  const sum = s.add(a, b);
  // With equal registers the sum wins: the source is written first.
  if (d.isMemory) {
    d.set(sum);
    src.set(a);
  } else {
    src.set(a);
    d.set(sum);
  }
};

const cmpxchg: Meaning = (s, d, src) => {
  const { f } = s;
  const old = d.update();
  const acc = s.reg(S.RAX, s.width);
  s.sub(acc, old);
  const equal = f.op('i64.eq', acc, old);
  if (d.isMemory) {
    d.set(f.select(equal, src.get(), old));
    f.if(
      equal,
      () => {},
      () => s.setReg(S.RAX, s.width, old),
    );
  } else {
    // A register destination is not written when the comparison fails: its upper half stays.
    f.if(
      equal,
      () => d.set(src.get()),
      () => s.setReg(S.RAX, s.width, old),
    );
  }
};

const negate: Meaning = (s, d) => d.set(s.sub(c64(0n), d.update()));
const invert: Meaning = (s, d) => d.set(s.zx(s.width, s.f.op('i64.xor', d.update(), c64(-1n))));
const compare: Meaning = (s, a, b) => {
  const right = b.get();
  s.sub(a.get(), right);
};
const test: Meaning = (s, a, b) => {
  const right = b.get();
  s.and(a.get(), right);
};

/** CMPXCHG8B / CMPXCHG16B: compares the pair d:a with memory; a write cycle happens either way. */
const cmpxchg8b: Meaning = (s, d) => {
  const { f } = s;
  const old = d.update();
  const shift = c64(32n);
  const pair = (high: number, low: number) => f.op('i64.or', f.op('i64.shl', s.reg(high, 32), shift), s.reg(low, 32));
  const equal = f.op('i64.eq', old, pair(S.RDX, S.RAX));
  d.set(f.select(equal, pair(S.RCX, S.RBX), old));
  f.if(
    equal,
    () => {},
    () => {
      s.setReg(S.RAX, 32, s.zx(32, old));
      s.setReg(S.RDX, 32, f.op('i64.shr_u', old, shift));
    },
  );
  setZero(s, equal);
};

const cmpxchg16b: Meaning = (s, d) => {
  const { f } = s;
  const old = d.update();
  const low = f.lane('i64x2.extract_lane', 0, old),
    high = f.lane('i64x2.extract_lane', 1, old);
  const equal = f.op('i32.and', f.op('i64.eq', low, s.reg(S.RAX, 64)), f.op('i64.eq', high, s.reg(S.RDX, 64)));
  const swapped = f.lane('i64x2.replace_lane', 1, f.op('i64x2.splat', s.reg(S.RBX, 64)), s.reg(S.RCX, 64));
  d.set(f.select(equal, swapped, old));
  f.if(
    equal,
    () => {},
    () => {
      s.setReg(S.RAX, 64, low);
      s.setReg(S.RDX, 64, high);
    },
  );
  setZero(s, equal);
};

/** ZF from an i32 condition; the other flags stay. */
export const setZero = (s: Semantics, zero: Val): void => {
  const { f } = s;
  const others = f.op('i32.and', s.readArithmeticFlags(), c32(~S.ZF));
  s.writeArithmeticFlags(f.op('i32.or', others, f.op('i32.shl', zero, c32(6))));
};

// ---- decimal adjustment: rare, but their flags are visible ----

const flag = (s: Semantics, bit: number): Val =>
  s.f.op('i32.ne', s.f.op('i32.and', s.readArithmeticFlags(), c32(bit)), c32(0));

/** DAA / DAS. */
const decimalAdjust =
  (subtract: boolean): Meaning =>
  (s) => {
    const { f } = s;
    const old = s.reg(S.RAX, 8);
    const oldCarry = s.carry();
    const low = f.op('i32.or', f.op('i64.gt_u', f.op('i64.and', old, c64(15n)), c64(9n)), flag(s, S.AF));
    const step = subtract ? 'i64.sub' : 'i64.add';
    const six = f.op('i64.mul', f.op('i64.extend_i32_u', low), c64(6n));
    const first = f.op(step, old, six);
    const high = f.op('i32.or', f.op('i64.gt_u', old, c64(0x99n)), oldCarry);
    const sixty = f.op('i64.mul', f.op('i64.extend_i32_u', high), c64(0x60n));
    const result = s.zx(8, f.op(step, first, sixty));
    const borrow = subtract ? f.op('i32.and', low, f.op('i64.lt_u', old, c64(6n))) : c32(0);
    s.setReg(S.RAX, 8, result);
    const carry = f.op('i32.or', high, borrow);
    s.setFlags(result, f.op('i32.or', carry, f.op('i32.shl', low, c32(4))), 8);
  };

/** AAA / AAS. */
const asciiAdjust =
  (subtract: boolean): Meaning =>
  (s) => {
    const { f } = s;
    const ax = s.reg(S.RAX, 16);
    const adjust = f.op('i32.or', f.op('i64.gt_u', f.op('i64.and', ax, c64(15n)), c64(9n)), flag(s, S.AF));
    const amount = f.op('i64.mul', f.op('i64.extend_i32_u', adjust), c64(0x106n));
    const moved = f.op(subtract ? 'i64.sub' : 'i64.add', ax, amount);
    const result = f.op('i64.and', moved, c64(0xff0fn));
    s.setReg(S.RAX, 16, result);
    s.setFlags(s.zx(8, result), f.op('i32.or', adjust, f.op('i32.shl', adjust, c32(4))), 8);
  };

const aam: Meaning = (s, divisor) => {
  const { f } = s;
  const d = f.op('i64.and', divisor.get(), c64(0xffn));
  s.faultIf(f.op('i64.eqz', d), 0);
  const al = s.reg(S.RAX, 8);
  const low = f.op('i64.rem_u', al, d);
  s.setReg(S.RAX, 16, f.op('i64.or', f.op('i64.shl', f.op('i64.div_u', al, d), c64(8n)), low));
  s.setFlags(low, c32(0), 8);
};

const aad: Meaning = (s, multiplier) => {
  const { f } = s;
  const ax = s.reg(S.RAX, 16);
  const high = f.op('i64.mul', f.op('i64.shr_u', ax, c64(8n)), f.op('i64.and', multiplier.get(), c64(0xffn)));
  const low = s.zx(8, f.op('i64.add', ax, high));
  s.setReg(S.RAX, 16, low);
  s.setFlags(low, c32(0), 8);
};

/** ADCX / ADOX: add with one flag as carry, touching only that flag. */
const addWith =
  (bit: number, shift: number): Meaning =>
  (s, d, src) => {
    const { f, width } = s;
    const flags = s.readArithmeticFlags();
    const carry = f.op('i64.extend_i32_u', f.op('i32.and', f.op('i32.shr_u', flags, c32(shift)), c32(1)));
    const a = d.get(),
      b = src.get();
    const r = s.zx(width, f.op('i64.add', f.op('i64.add', a, b), carry));
    const out = f.op(
      'i64.or',
      f.op('i64.and', a, b),
      f.op('i64.and', f.op('i64.or', a, b), f.op('i64.xor', r, c64(-1n))),
    );
    const top = f.op('i32.and', f.op('i32.wrap_i64', f.op('i64.shr_u', out, c64(width - 1))), c32(1));
    d.set(r);
    s.writeArithmeticFlags(f.op('i32.or', f.op('i32.and', flags, c32(~bit)), f.op('i32.shl', top, c32(shift))));
  };

const locked: RowOptions = { lock: true, weight: 4 };
const incDec =
  (op: 'inc' | 'dec'): Meaning =>
  (s, d: Operand) =>
    d.set(s[op](d.update()));

export const aluRows: readonly Row[] = [
  ...family('ADD', 0x00, 0, binary('add'), { lock: true }),
  ...family('OR', 0x08, 1, binary('or'), { lock: true }),
  ...family('ADC', 0x10, 2, binary('adc'), { lock: true }),
  ...family('SBB', 0x18, 3, binary('sbb'), { lock: true }),
  ...family('AND', 0x20, 4, binary('and'), { lock: true }),
  ...family('SUB', 0x28, 5, binary('sub'), { lock: true }),
  ...family('XOR', 0x30, 6, binary('xor'), { lock: true }),
  ...family('CMP', 0x38, 7, compare, {}),
  insn('TEST', '84 /r', 'Eb,Gb', { weight: 20 }, test),
  insn('TEST', '85 /r', 'Ev,Gv', { weight: 40 }, test),
  insn('TEST', 'A8 ib', 'AL,Ib', { weight: 8 }, test),
  insn('TEST', 'A9 iz', 'rAX,Iz', {}, test),
  insn('TEST', 'F6 /0 ib', 'Eb,Ib', { weight: 10 }, test),
  insn('TEST', 'F6 /1 ib', 'Eb,Ib', {}, test),
  insn('TEST', 'F7 /0 iz', 'Ev,Iz', { weight: 4 }, test),
  insn('TEST', 'F7 /1 iz', 'Ev,Iz', {}, test),
  insn('NOT', 'F6 /2', 'Eb', locked, invert),
  insn('NOT', 'F7 /2', 'Ev', locked, invert),
  insn('NEG', 'F6 /3', 'Eb', locked, negate),
  insn('NEG', 'F7 /3', 'Ev', locked, negate),
  insn('INC', 'FE /0', 'Eb', locked, incDec('inc')),
  insn('DEC', 'FE /1', 'Eb', locked, incDec('dec')),
  insn('INC', 'FF /0', 'Ev', { ...locked, weight: 10 }, incDec('inc')),
  insn('DEC', 'FF /1', 'Ev', { ...locked, weight: 10 }, incDec('dec')),
  insn('INC', '40+r', 'Zv', { not64: true, weight: 10 }, incDec('inc')),
  insn('DEC', '48+r', 'Zv', { not64: true, weight: 10 }, incDec('dec')),
  insn('XADD', '0F C0 /r', 'Eb,Gb', { lock: true }, xadd),
  insn('XADD', '0F C1 /r', 'Ev,Gv', { lock: true }, xadd),
  insn('CMPXCHG', '0F B0 /r', 'Eb,Gb', { lock: true }, cmpxchg),
  insn('CMPXCHG', '0F B1 /r', 'Ev,Gv', { lock: true }, cmpxchg),
  insn('DAA', '27', '', { not64: true }, decimalAdjust(false)),
  insn('DAS', '2F', '', { not64: true }, decimalAdjust(true)),
  insn('AAA', '37', '', { not64: true }, asciiAdjust(false)),
  insn('AAS', '3F', '', { not64: true }, asciiAdjust(true)),
  insn('AAM', 'D4 ib', 'Ib', { not64: true }, aam),
  insn('AAD', 'D5 ib', 'Ib', { not64: true }, aad),
  insn('ADCX', '66 0F 38 F6 /r', 'Gy,Ey', {}, addWith(S.CF, 0)),
  insn('ADOX', 'F3 0F 38 F6 /r', 'Gy,Ey', {}, addWith(S.OF, 11)),
];

/** CMPXCHG8B and CMPXCHG16B share an opcode and are told apart by REX.W. */
export const cmpxchgPairRows: readonly Row[] = [
  insn('CMPXCHG16B', '0F C7 /1m', 'Mdq', { lock: true, only64: true, wide: true }, cmpxchg16b),
  insn('CMPXCHG8B', '0F C7 /1m', 'Mq', { lock: true }, cmpxchg8b),
];
