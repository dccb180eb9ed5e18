/** What the manual leaves undefined, so that two processors may differ there. */
import * as S from '../../../src/cpu/state.ts';
import type { Case } from './cases.ts';

const { CF, PF, AF, ZF, SF, OF } = S;

/** Undefined flags by instruction, whatever the operands. */
const UNDEFINED: Readonly<Record<string, number>> = {
  AND: AF,
  OR: AF,
  XOR: AF,
  TEST: AF,
  SHL: AF,
  SAL: AF,
  SHR: AF,
  SAR: AF,
  SHLD: AF,
  SHRD: AF,
  MUL: SF | ZF | AF | PF,
  IMUL: SF | ZF | AF | PF,
  DIV: S.ARITHMETIC,
  IDIV: S.ARITHMETIC,
  BT: OF | SF | AF | PF,
  BTS: OF | SF | AF | PF,
  BTR: OF | SF | AF | PF,
  BTC: OF | SF | AF | PF,
  BSF: CF | OF | SF | AF | PF,
  BSR: CF | OF | SF | AF | PF,
  TZCNT: OF | SF | AF | PF,
  LZCNT: OF | SF | AF | PF,
  ANDN: AF | PF,
  BLSR: AF | PF,
  BLSMSK: AF | PF,
  BLSI: AF | PF,
  BZHI: AF | PF,
  BEXTR: AF | SF | PF,
  AAA: OF | SF | ZF | PF,
  AAS: OF | SF | ZF | PF,
  DAA: OF,
  DAS: OF,
  AAM: OF | AF | CF,
  AAD: OF | AF | CF,
};

/** Count of a shift or rotation, cut as the processor does; undefined when the instruction has none. */
const shiftCount = (c: Case): number | undefined => {
  const { operands } = c.shape.parsed;
  const last = operands.at(-1);
  const mask = c.shape.size === 64 ? 63 : 31;
  if (last?.fixed === 'CL') return Number(c.gpr[S.RCX]! & 0xffn) & mask;
  if (last?.fixed === '1') return 1;
  return last?.letter === 'I' ? c.encoded.immediate & mask : undefined;
};

const widthOf = (c: Case): number => (c.shape.parsed.operands[0]?.width === 'b' ? 8 : c.shape.size);

export const undefinedFlags = (c: Case): number => {
  const { name } = c.shape.parsed.row;
  let flags = UNDEFINED[name] ?? 0;
  if (/^(SH[LR]D?|SA[LR]|RO[LR]|RC[LR])$/.test(name)) {
    const count = shiftCount(c) ?? 0;
    if (count === 0) return 0;
    if (count !== 1) flags |= OF;
    if (/^(SHL|SAL|SHR)$/.test(name) && count >= widthOf(c)) flags |= CF;
  }
  return flags;
};

/** Results that no manual defines: such cases are not compared at all. */
export const isUndefined = (c: Case): boolean =>
  /^SH[LR]D$/.test(c.shape.parsed.row.name) && c.shape.size === 16 && (shiftCount(c) ?? 0) > 16;
