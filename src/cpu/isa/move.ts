/** Data movement: MOV, MOVZX/MOVSX, LEA, XCHG, CMOVcc, SETcc, BSWAP, MOVBE, sign extension of the accumulator, XLAT, flag moves. */
import type { Operand, Semantics, Width } from '../semantics.ts';
import * as S from '../state.ts';
import { c32, c64, type Val } from '../wasm/value.ts';
import { insn, type Meaning, type Row } from './row.ts';

const move: Meaning = (_s, d, src) => d.set(src.get());

const CONDITIONS = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G'];
const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0');

const extend =
  (signed: boolean): Meaning =>
  (s, d, src) => {
    const v = src.get();
    d.set(signed ? s.zx(d.width, s.sx(src.width, v)) : v);
  };

const exchange: Meaning = (_s, a, b) => {
  const left = a.update(),
    right = b.get();
  a.set(right);
  b.set(left);
};

const conditionalMove =
  (code: number): Meaning =>
  (s, d, src) => {
    const value = src.get();
    // Written either way: a 32-bit destination is zero-extended even when the condition is false.
    d.set(s.f.select(s.condition(code), value, d.get()));
  };

/** Reverses the bytes of a value of a width. */
export const swapBytes = (s: Semantics, v: Val, width: Width): Val => {
  const { f } = s;
  const half = (x: Val, mask: bigint, shift: bigint) =>
    f.op(
      'i64.or',
      f.op('i64.and', f.op('i64.shr_u', x, c64(shift)), c64(mask)),
      f.op('i64.shl', f.op('i64.and', x, c64(mask)), c64(shift)),
    );
  let x = half(v, 0x00ff_00ff_00ff_00ffn, 8n);
  if (width === 16) return x;
  x = half(x, 0x0000_ffff_0000_ffffn, 16n);
  return width === 32 ? x : f.op('i64.rotl', x, c64(32n));
};

const bswap: Meaning = (s, d) => {
  // A 16-bit operand is undefined by the manual; processors clear the register's low half.
  d.set(d.width === 16 ? c64(0n) : swapBytes(s, d.get(), d.width));
};

const movbe: Meaning = (s, d, src) => d.set(swapBytes(s, src.get(), s.width));

const lea: Meaning = (s, d, m) => d.set(s.zx(d.width, m.address()));

/** CBW CWDE CDQE: the accumulator's lower half sign-extended into the whole. */
const convert: Meaning = (s, d) => d.set(s.zx(d.width, s.sx((d.width / 2) as Width, d.get())));
/** CWD CDQ CQO: the accumulator's sign fills rDX. */
const convertDouble: Meaning = (s, a) => {
  s.setReg(S.RDX, a.width, s.zx(a.width, s.f.op('i64.shr_s', s.sx(a.width, a.get()), c64(63n))));
};

const xlat: Meaning = (s, d) => {
  const { f } = s;
  const source = s.stringSource();
  const offset = f.op('i64.and', f.op('i64.add', s.reg(S.RBX, 64), s.reg(S.RAX, 8)), source.mask);
  s.segmentCheck(source.segment, offset, 1, false);
  const linear = f.op('i64.and', f.op('i64.add', offset, source.base), s.state64(S.LINEAR_MASK));
  d.set(s.memory(linear, 8).get());
};

const lahf: Meaning = (s) => {
  const { f } = s;
  const flags = f.op('i32.or', f.op('i32.and', s.readArithmeticFlags(), c32(0xd5)), c32(2));
  const kept = f.op('i64.and', s.reg(S.RAX, 64), c64(~0xff00n));
  s.setReg(S.RAX, 64, f.op('i64.or', kept, f.op('i64.extend_i32_u', f.op('i32.shl', flags, c32(8)))));
};
const sahf: Meaning = (s) => {
  const { f } = s;
  const ah = f.op('i32.and', f.op('i32.wrap_i64', f.op('i64.shr_u', s.reg(S.RAX, 64), c64(8n))), c32(0xd5));
  s.writeArithmeticFlags(f.op('i32.or', f.op('i32.and', s.readArithmeticFlags(), c32(S.OF)), ah));
};

const salc: Meaning = (s, al) =>
  al.set(s.f.op('i64.and', s.f.op('i64.sub', c64(0n), s.f.op('i64.extend_i32_u', s.carry())), c64(0xffn)));

const nothing: Meaning = () => {};
const carryTo =
  (make: (s: Semantics) => Val): Meaning =>
  (s) =>
    s.setCarry(make(s));
const direction =
  (set: boolean): Meaning =>
  (s) => {
    const rest = s.state32(S.EFLAGS_REST);
    s.setState32(S.EFLAGS_REST, set ? s.f.op('i32.or', rest, c32(S.DF)) : s.f.op('i32.and', rest, c32(~S.DF)));
  };

export const moveRows: readonly Row[] = [
  insn('MOV', '88 /r', 'Eb,Gb', { weight: 40 }, move),
  insn('MOV', '89 /r', 'Ev,Gv', { weight: 200 }, move),
  insn('MOV', '8A /r', 'Gb,Eb', { weight: 30 }, move),
  insn('MOV', '8B /r', 'Gv,Ev', { weight: 200 }, move),
  insn('MOV', 'A0 mo', 'AL,Ob', {}, move),
  insn('MOV', 'A1 mo', 'rAX,Ov', {}, move),
  insn('MOV', 'A2 mo', 'Ob,AL', {}, move),
  insn('MOV', 'A3 mo', 'Ov,rAX', {}, move),
  insn('MOV', 'B0+r ib', 'Zb,Ib', { weight: 8 }, move),
  insn('MOV', 'B8+r iv', 'Zv,Iv', { weight: 30 }, move),
  insn('MOV', 'C6 /0 ib', 'Eb,Ib', { weight: 10 }, move),
  insn('MOV', 'C7 /0 iz', 'Ev,Iz', { weight: 20 }, move),
  insn('MOVZX', '0F B6 /r', 'Gv,Eb', { weight: 40 }, extend(false)),
  insn('MOVZX', '0F B7 /r', 'Gv,Ew', { weight: 20 }, extend(false)),
  insn('MOVSX', '0F BE /r', 'Gv,Eb', { weight: 10 }, extend(true)),
  insn('MOVSX', '0F BF /r', 'Gv,Ew', { weight: 10 }, extend(true)),
  insn('MOVSXD', '63 /r', 'Gv,Ez', { only64: true, weight: 10, ref: 'sdm:MOVSX' }, extend(true)),
  insn('LEA', '8D /r', 'Gv,M', { weight: 100 }, lea),
  insn('XCHG', '86 /r', 'Eb,Gb', { lock: true }, exchange),
  insn('XCHG', '87 /r', 'Ev,Gv', { lock: true }, exchange),
  insn('XCHG', '90+r', 'Zv,rAX', {}, exchange),
  insn('NOP', '90', '', { weight: 20 }, nothing),
  ...[0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f]
    .filter((n) => n !== 0x18)
    .map((n) => insn('NOP', `0F ${hex(n)} /r`, 'Ev', { weight: n === 0x1f ? 8 : 1 }, nothing)),
  ...[4, 5, 6, 7].map((n) => insn('NOP', `0F 18 /${n}`, 'Ev', {}, nothing)),
  ...[0, 1, 2, 3].map((n) => insn('NOP', `0F 18 /${n}r`, 'Rv', {}, nothing)),
  insn('NOP', '0F 0D /r', 'Ev', {}, nothing),
  insn('BSWAP', '0F C8+r', 'Zv', {}, bswap),
  insn('MOVBE', 'NP 0F 38 F0 /r', 'Gv,Mv', {}, movbe),
  insn('MOVBE', 'NP 0F 38 F1 /r', 'Mv,Gv', {}, movbe),
  insn('MOVBE', '66 0F 38 F0 /r', 'Gw,Mw', {}, movbe),
  insn('MOVBE', '66 0F 38 F1 /r', 'Mw,Gw', {}, movbe),
  insn('CBW/CWDE/CDQE', '98', 'rAX', { weight: 4, ref: 'sdm:CBW' }, convert),
  insn('CWD/CDQ/CQO', '99', 'rAX', { weight: 4, ref: 'sdm:CWD' }, convertDouble),
  insn('XLAT', 'D7', 'AL', { rep: 'rep' }, xlat),
  insn('LAHF', '9F', '', {}, lahf),
  insn('SAHF', '9E', '', {}, sahf),
  insn('SALC', 'D6', 'AL', { not64: true, ref: 'sdm:2 "Opcode Map"' }, salc),
  insn(
    'CLC',
    'F8',
    '',
    {},
    carryTo(() => c32(0)),
  ),
  insn(
    'STC',
    'F9',
    '',
    {},
    carryTo(() => c32(1)),
  ),
  insn(
    'CMC',
    'F5',
    '',
    {},
    carryTo((s) => s.f.op('i32.xor', s.carry(), c32(1))),
  ),
  insn('CLD', 'FC', '', {}, direction(false)),
  insn('STD', 'FD', '', {}, direction(true)),
  ...CONDITIONS.map((cc, code) =>
    insn(`CMOV${cc}`, `0F ${hex(0x40 + code)} /r`, 'Gv,Ev', { weight: 8, ref: 'sdm:CMOVcc' }, conditionalMove(code)),
  ),
  ...CONDITIONS.map((cc, code) =>
    insn(`SET${cc}`, `0F ${hex(0x90 + code)} /r`, 'Eb', { weight: 8, ref: 'sdm:SETcc' }, (s: Semantics, d: Operand) =>
      d.set(s.f.op('i64.extend_i32_u', s.condition(code))),
    ),
  ),
];
