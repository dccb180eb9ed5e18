/** Whether flags that stand before an instruction can be seen by anybody: registers only, so that nothing can leave the region in between. */
import type { Decoded } from '../decode/decoder.ts';

/** Set all arithmetic flags without looking at them. */
const SETTERS: ReadonlySet<string> = new Set(['ADD', 'SUB', 'AND', 'OR', 'XOR', 'CMP', 'TEST', 'NEG']);
/** The same, by a count that is not zero. */
const SHIFTS: ReadonlySet<string> = new Set(['SHL', 'SHR', 'SAL', 'SAR']);
/** Neither look at flags nor leave the region. INC and DEC hand CF on to whoever sets it next. */
const BLIND: ReadonlySet<string> = new Set(
  ['MOV', 'MOVZX', 'MOVSX', 'MOVSXD', 'LEA', 'XCHG', 'NOP', 'NOT', 'BSWAP', 'INC', 'DEC'].concat([
    'CBW/CWDE/CDQE',
    'CWD/CDQ/CQO',
  ]),
);
/** Operands that are memory without a ModRM byte, or registers of the system. */
const FOREIGN = /[OCDS]/;

const isShift = (d: Decoded): boolean => {
  if (!SHIFTS.has(d.row.name)) return false;
  const by = d.parsed.operands[1];
  if (by?.letter === 'I') return (d.immediate & 31n) !== 0n;
  return by?.fixed === '1';
};

/** Are the flags before the instruction at `from` overwritten, within the block, before anybody can see them? */
export const flagsDie = (instructions: readonly Decoded[], from: number): boolean => {
  for (let i = from; i < instructions.length; i++) {
    const d = instructions[i];
    const { name } = d.row;
    if (d.memory !== undefined && name !== 'LEA' && name !== 'NOP') return false;
    if (SETTERS.has(name) || isShift(d) || (name === 'IMUL' && d.parsed.operands.length > 1)) return true;
    if (!BLIND.has(name) || d.parsed.operands.some((o) => FOREIGN.test(o.letter))) return false;
  }
  return false;
};
