/** Near jumps, calls and returns, conditional branches, loops. */
import type { Semantics } from '../semantics.ts';
import * as S from '../state.ts';
import { c64, type Val } from '../wasm/value.ts';
import { insn, type Meaning, type Row, type RowOptions } from './row.ts';

const CONDITIONS = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G'];
const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0');

const jmp: Meaning = (s, j) => s.jumpRelative(j);
const jmpIndirect: Meaning = (s, e) => s.jump(e.get());

const pushReturn = (s: Semantics, target: Val): void => {
  s.checkTarget(target);
  s.push(s.width, s.zx(s.width, s.nextRip()));
};
const call: Meaning = (s, j) => {
  pushReturn(s, s.relative(j));
  s.jumpRelative(j);
};
const callIndirect: Meaning = (s, e) => {
  const target = e.get();
  pushReturn(s, target);
  s.jump(target);
};

const ret: Meaning = (s) => {
  const target = s.stackRead(s.width);
  s.checkTarget(target);
  s.moveStack(c64(s.width / 8));
  s.jump(target);
};
const retImmediate: Meaning = (s, imm) => {
  const target = s.stackRead(s.width);
  s.checkTarget(target);
  s.moveStack(s.f.op('i64.add', s.f.op('i64.and', imm.get(), c64(0xffffn)), c64(s.width / 8)));
  s.jump(target);
};

const branch =
  (code: number): Meaning =>
  (s, j) =>
    s.f.if(s.condition(code), () => s.jumpRelative(j));

/** LOOP, LOOPE, LOOPNE: the counter has the address size; it is written only if the jump can be made. */
const loop =
  (condition: number | undefined): Meaning =>
  (s, j) => {
    const { f } = s;
    const { mask } = s.stringSource();
    const old = s.reg(S.RCX, 64);
    const count = f.op('i64.and', f.op('i64.sub', old, c64(1n)), mask);
    const narrow = f.op('i64.eq', mask, c64(0xffffn));
    const kept = f.select(narrow, f.op('i64.and', old, c64(~0xffffn)), c64(0n));
    const next = f.op('i64.or', kept, count);
    let taken = f.op('i32.eqz', f.op('i64.eqz', count));
    if (condition !== undefined) taken = f.op('i32.and', taken, s.condition(condition));
    f.if(taken, () => s.checkTarget(s.relative(j)));
    s.setReg(S.RCX, 64, next);
    f.if(taken, () => s.jumpRelative(j));
  };

const jcxz: Meaning = (s, j) => {
  const { f } = s;
  const count = f.op('i64.and', s.reg(S.RCX, 64), s.stringSource().mask);
  f.if(f.op('i64.eqz', count), () => s.jumpRelative(j));
};

const near: RowOptions = { size64: 'f64', ends: true };

export const branchRows: readonly Row[] = [
  insn('JMP', 'EB cb', 'Jb', { ...near, weight: 30 }, jmp),
  insn('JMP', 'E9 cz', 'Jz', { ...near, weight: 15 }, jmp),
  insn('JMP', 'FF /4', 'Ev', { ...near, weight: 6 }, jmpIndirect),
  insn('CALL', 'E8 cz', 'Jz', { ...near, weight: 40 }, call),
  insn('CALL', 'FF /2', 'Ev', { ...near, weight: 8 }, callIndirect),
  insn('RET', 'C3', '', { ...near, weight: 40 }, ret),
  insn('RET', 'C2 iw', 'Iw', near, retImmediate),
  ...CONDITIONS.map((cc, code) =>
    insn(
      `J${cc}`,
      `${hex(0x70 + code)} cb`,
      'Jb',
      { ...near, weight: code === 4 || code === 5 ? 80 : 25, ref: 'sdm:Jcc' },
      branch(code),
    ),
  ),
  ...CONDITIONS.map((cc, code) =>
    insn(
      `J${cc}`,
      `0F ${hex(0x80 + code)} cz`,
      'Jz',
      { ...near, weight: code === 4 || code === 5 ? 20 : 6, ref: 'sdm:Jcc' },
      branch(code),
    ),
  ),
  insn('LOOPNE', 'E0 cb', 'Jb', { ...near, ref: 'sdm:LOOP' }, loop(5)),
  insn('LOOPE', 'E1 cb', 'Jb', { ...near, ref: 'sdm:LOOP' }, loop(4)),
  insn('LOOP', 'E2 cb', 'Jb', near, loop(undefined)),
  insn('JCXZ/JECXZ/JRCXZ', 'E3 cb', 'Jb', { ...near, ref: 'sdm:Jcc' }, jcxz),
];
