/** All instruction rows, by family. A row added to one of these lists is decoded, interpreted, translated and documented. */
import { fxsaveRows, xcrRows } from '../system/fxsave.ts';
import { aluRows, cmpxchgPairRows } from './alu.ts';
import { bitRows } from './bit.ts';
import { branchRows } from './branch.ts';
import { farRows } from './far.ts';
import { flagRows } from './flags.ts';
import { ioRows } from './io.ts';
import { moveRows } from './move.ts';
import { multiplyRows } from './muldiv.ts';
import type { Row } from './row.ts';
import { segmentRows } from './segment.ts';
import { shiftRows } from './shift.ts';
import { sseRows } from './sse.ts';
import { hintRows, mxcsrRows } from './sse-control.ts';
import { stackRows } from './stack.ts';
import { stringRows } from './string.ts';
import { systemRows } from './system.ts';
import { x87Rows } from './x87.ts';

/** Rows of the units whose opcodes others share, fences for one. */
const sharedRows: readonly Row[] = [...fxsaveRows, ...mxcsrRows, ...hintRows];

/** What every guest runs. */
export const integerRows: readonly Row[] = [
  ...aluRows,
  ...cmpxchgPairRows,
  ...moveRows,
  ...shiftRows,
  ...multiplyRows,
  ...bitRows,
  ...stackRows,
  ...branchRows,
  ...stringRows,
  ...segmentRows,
  ...farRows,
  ...flagRows,
  ...ioRows,
  ...systemRows,
  ...xcrRows,
  ...sharedRows,
];

/** x87, MMX and SSE: more than half of all rows, so they are made when the first of them is met. */
export const vectorRows = (): readonly Row[] => [...x87Rows(), ...sseRows()].filter((row) => !sharedRows.includes(row));

/** Opcodes of the 0F map, first and last, among which vector rows are. */
const VECTOR_0F = [
  [0x10, 0x17],
  [0x28, 0x2f],
  [0x50, 0x7f],
  [0xc2, 0xc6],
  [0xd0, 0xff],
] as const;

/** A row of this map (0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A) and opcode may be among {@link vectorRows}. */
export const mayBeVector = (map: number, opcode: number): boolean => {
  if (map === 0) return (opcode >= 0xd8 && opcode <= 0xdf) || opcode === 0x9b;
  return map > 1 || VECTOR_0F.some(([first, last]) => opcode >= first && opcode <= last);
};
