/** PUSHF, POPF, CLI and STI; virtual-8086 mode, missing privilege and what changes the mode are left to routines. */
import type { Semantics } from '../semantics.ts';
import * as S from '../state.ts';
import { FREE_FLAGS, popFlags, pushFlags, setInterruptFlag } from '../system/flags.ts';
import { c32, c64, type Val } from '../wasm/value.ts';
import { slotOf } from './operands.ts';
import { type Meaning, type Row, usual } from './row.ts';

const without = (s: Semantics, value: Val, bits: number): Val => s.f.op('i32.and', value, c32(~bits));

const hasAny = (s: Semantics, value: Val, bits: number): Val => s.f.op('i32.and', value, c32(bits));

/** CPL is at most IOPL. */
const mayMask = (s: Semantics, rest: Val): Val =>
  s.f.op('i32.le_u', s.state32(S.CPL), s.f.op('i32.shr_u', hasAny(s, rest, S.IOPL), c32(12)));

const pushf: Meaning = (s) => {
  const { f } = s;
  const rest = s.state32(S.EFLAGS_REST);
  f.if(hasAny(s, rest, S.VM), () => s.routine());
  const flags = f.op('i32.or', without(s, rest, S.RF), s.readArithmeticFlags());
  s.push(s.width, s.zx(s.width, f.op('i64.extend_i32_u', flags)));
};

const popf: Meaning = (s) => {
  const { f } = s;
  const rest = s.state32(S.EFLAGS_REST);
  f.if(hasAny(s, rest, S.VM), () => s.routine());
  const image = f.op('i32.wrap_i64', s.stackRead(s.width));
  let mask = f.op('i32.or', c32(FREE_FLAGS), f.select(mayMask(s, rest), c32(S.IF), c32(0)));
  mask = f.op('i32.or', mask, f.select(f.op('i32.eqz', s.state32(S.CPL)), c32(S.IOPL), c32(0)));
  if (s.width === 16) mask = hasAny(s, mask, 0xffff);
  const cleared = S.RF | (s.width === 16 ? 0 : S.VIF | S.VIP);
  const kept = f.op('i32.and', without(s, rest, cleared), f.op('i32.xor', mask, c32(-1)));
  const next = f.op('i32.or', kept, f.op('i32.and', image, mask));
  const changed = f.op('i32.xor', next, rest);
  // Another AC may need another TLB set, and TF begins single steps.
  f.if(f.op('i32.or', hasAny(s, changed, S.AC), hasAny(s, next, S.TF)), () => s.routine());
  s.moveStack(c64(s.width / 8));
  s.writeArithmeticFlags(image);
  s.setState32(S.EFLAGS_REST, without(s, next, S.ARITHMETIC));
  f.if(f.op('i32.and', hasAny(s, changed, S.IF), hasAny(s, next, S.IF)), () => s.leave());
};

const cli: Meaning = (s) => {
  const { f } = s;
  const rest = s.state32(S.EFLAGS_REST);
  f.if(f.op('i32.eqz', mayMask(s, rest)), () => s.routine());
  s.setState32(S.EFLAGS_REST, without(s, rest, S.IF));
};

/** Interrupts are held off for one more instruction, which runs in a slice of its own. */
const sti: Meaning = (s) => {
  const { f } = s;
  const rest = s.state32(S.EFLAGS_REST);
  f.if(f.op('i32.eqz', mayMask(s, rest)), () => s.routine());
  f.if(f.op('i32.eqz', hasAny(s, rest, S.IF)), () => {
    s.setState32(S.EFLAGS_REST, f.op('i32.or', rest, c32(S.IF)));
    s.setState32(S.SHADOW, c32(1));
    s.leave();
  });
};

export const flagRows: readonly Row[] = [
  usual('PUSHF', '9C', '', { size64: 'd64', weight: 6, ref: 'sdm:PUSHF/PUSHFD/PUSHFQ' }, pushf, (cpu, insn) => {
    pushFlags(cpu, slotOf(insn));
    return undefined;
  }),
  usual('POPF', '9D', '', { size64: 'd64', weight: 6, ref: 'sdm:POPF/POPFD/POPFQ' }, popf, (cpu, insn) => {
    popFlags(cpu, slotOf(insn));
    return undefined;
  }),
  usual('CLI', 'FA', '', { weight: 4 }, cli, (cpu) => {
    setInterruptFlag(cpu, false);
    return undefined;
  }),
  usual('STI', 'FB', '', { weight: 4 }, sti, (cpu) => {
    setInterruptFlag(cpu, true);
    return undefined;
  }),
];
