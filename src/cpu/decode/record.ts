/**
 * Decoded records: the form in which the interpreter executes instructions. 32 bytes each, in the code cache.
 *
 * | at | width | field |
 * |---|---|---|
 * | 0 | u16 | dispatch number (isa/plan.ts) |
 * | 2 | u8 | length in bytes |
 * | 3 | u8 | RECORD_* bits |
 * | 4 | u16 | state offset of the ModRM.reg (or opcode) register; number of a control, debug or segment register |
 * | 6 | u16 | state offset of the ModRM.rm register |
 * | 8, 10 | u16 | state offsets of base and index |
 * | 12 | u8 | scale |
 * | 13 | u8 | segment number |
 * | 14 | u16 | state offset of the address mask |
 * | 16 | s32 | displacement |
 * | 20 | u16 | state offset of the segment base |
 * | 22 | u16 | state offset of the VEX.vvvv register |
 * | 24 | s64 | immediate |
 */
import type { OperandSpec } from '../isa/encoding.ts';
import { OP_CALL, variantNumber } from '../isa/plan.ts';
import * as S from '../state.ts';
import type { Decoded } from './decoder.ts';
import type { Insn } from './insn.ts';

export const RECORD_SIZE = 32;
export const R_OP = 0,
  R_LENGTH = 2,
  R_FLAGS = 3,
  R_REG = 4,
  R_RM = 6,
  R_BASE = 8,
  R_INDEX = 10,
  R_SCALE = 12,
  R_SEGMENT = 13;
export const R_MASK = 14,
  R_DISPLACEMENT = 16,
  R_SEGMENT_BASE = 20,
  R_VVVV = 22,
  R_IMMEDIATE = 24;
/** Memory operands need segment checks; F3; F2; LOCK. */
export const RECORD_SEGMENTED = 1,
  RECORD_F3 = 2,
  RECORD_F2 = 4,
  RECORD_LOCK = 8;

/** State offset of a register operand. */
export const registerOffset = (letter: string, width: string, number: number, rex: boolean): number => {
  if (letter === 'V' || letter === 'W' || letter === 'U') return S.xmm(number);
  if (letter === 'P' || letter === 'Q' || letter === 'N') return S.fpr(number & 7);
  if (width === 'b' && !rex && number >= 4 && number < 8) return S.gpr(number - 4) + 1;
  return S.gpr(number);
};

const MASKS = { 16: S.MASK16, 32: S.MASK32, 64: S.MASK64 } as const;

/** Segment base slot: in 64-bit mode only FS and GS have one. */
const segmentBase = (segment: number, codeSize: number): number =>
  codeSize === 64 && segment < S.FS ? S.ZERO : S.seg(segment) + S.SEG_BASE;

/**
 * Memory operands are checked against their segments: when the data segments are not flat, and always outside 64-bit mode for those that
 * flatness says nothing about (CS, which is never writable, FS and GS).
 */
export const isSegmented = (d: Insn, mode: number): boolean =>
  (mode & S.MODE_SEGMENTED) !== 0 ||
  (d.codeSize !== 64 && d.memory !== undefined && (d.memory.segment === S.CS || d.memory.segment >= S.FS));

export const writeRecord = (view: DataView, at: number, d: Decoded, mode: number): void => {
  const { parsed, memory, row } = d;
  const isCall = row.mean === undefined;
  const op = isCall ? OP_CALL : variantNumber(parsed, d.operandSize, memory !== undefined);
  view.setUint16(at + R_OP, op, true);
  view.setUint8(at + R_LENGTH, d.length);
  view.setUint8(
    at + R_FLAGS,
    (isSegmented(d, mode) ? RECORD_SEGMENTED : 0) |
      (d.repeat === 0xf3 ? RECORD_F3 : d.repeat === 0xf2 ? RECORD_F2 : 0) |
      (d.lock ? RECORD_LOCK : 0),
  );
  let reg: number = S.ZERO,
    rm: number = S.ZERO,
    vvvv: number = S.ZERO;
  for (const o of parsed.operands) {
    const place = registerPlace(o, d);
    if (place === undefined) continue;
    if (place.slot === 'reg') reg = place.offset;
    else if (place.slot === 'rm') rm = place.offset;
    else vvvv = place.offset;
  }
  // Control, debug and segment registers are operands by number.
  if (parsed.operands.some((o) => 'CDS'.includes(o.letter))) reg = d.reg;
  view.setUint16(at + R_REG, reg, true);
  view.setUint16(at + R_RM, rm, true);
  view.setUint16(at + R_VVVV, vvvv, true);
  let base: number = S.ZERO,
    index: number = S.ZERO,
    displacement = 0,
    scale = 0,
    segment: number = S.DS;
  let { immediate } = d;
  if (memory !== undefined) {
    ({ scale, segment } = memory);
    if (memory.base === 16) base = S.RIP;
    else if (memory.base >= 0) base = S.gpr(memory.base);
    if (memory.index >= 0) index = S.gpr(memory.index);
    if (memory.base < 0 && memory.index < 0 && !isCall && parsed.operands.some((o) => o.letter === 'O'))
      immediate = memory.displacement;
    else displacement = Number(memory.displacement) + (memory.base === 16 ? d.length : 0);
    // POP to memory addressed by rSP uses the value rSP has after the pop.
    if (row.name === 'POP' && memory.base === S.RSP) displacement += d.operandSize / 8;
  }
  view.setUint16(at + R_BASE, base, true);
  view.setUint16(at + R_INDEX, index, true);
  view.setUint8(at + R_SCALE, scale);
  view.setUint8(at + R_SEGMENT, segment);
  view.setUint16(at + R_MASK, MASKS[d.addressSize], true);
  view.setInt32(at + R_DISPLACEMENT, displacement, true);
  view.setUint16(at + R_SEGMENT_BASE, segmentBase(segment, d.codeSize), true);
  view.setBigInt64(at + R_IMMEDIATE, immediate, true);
};

/** Which record slot holds a register operand, and the register's place in the state block. */
export const registerPlace = (
  o: OperandSpec,
  d: Decoded,
): { slot: 'reg' | 'rm' | 'vvvv'; offset: number } | undefined => {
  switch (o.letter) {
    case 'G':
    case 'V':
    case 'P':
      return { slot: 'reg', offset: registerOffset(o.letter, o.width, d.reg, d.rex) };
    case 'Z':
      return { slot: 'reg', offset: registerOffset('Z', o.width, d.opcodeRegister, d.rex) };
    case 'E':
    case 'R':
    case 'W':
    case 'U':
    case 'Q':
    case 'N':
      return d.memory === undefined
        ? { slot: 'rm', offset: registerOffset(o.letter, o.width, d.rm, d.rex) }
        : undefined;
    case 'B':
      return { slot: 'vvvv', offset: registerOffset('B', o.width, d.vvvv, true) };
    default:
      return undefined;
  }
};
