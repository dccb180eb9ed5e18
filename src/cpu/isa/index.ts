/** All instruction rows, by family. A row added to one of these lists is decoded, interpreted, translated and documented. */
import { aluRows, cmpxchgPairRows } from './alu.ts';
import { bitRows } from './bit.ts';
import { branchRows } from './branch.ts';
import { moveRows } from './move.ts';
import { multiplyRows } from './muldiv.ts';
import type { Row } from './row.ts';
import { shiftRows } from './shift.ts';
import { stackRows } from './stack.ts';
import { stringRows } from './string.ts';

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
];
