/** All instruction rows, by family. A row added to one of these lists is decoded, interpreted, translated and documented. */
import { fxsaveRows } from '../system/fxsave.ts';
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
import { stackRows } from './stack.ts';
import { stringRows } from './string.ts';
import { systemRows } from './system.ts';
import { x87Rows } from './x87.ts';

export const rows: readonly Row[] = [
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
  ...x87Rows,
  ...sseRows,
  ...fxsaveRows,
];
