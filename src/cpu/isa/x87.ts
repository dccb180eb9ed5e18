/** All x87 rows. Their meaning is in routines: guests of this age use SSE where speed matters. */
import type { Row } from './row.ts';
import { x87ArithmeticRows } from './x87-arithmetic.ts';
import { x87ControlRows } from './x87-control.ts';
import { x87MemoryRows } from './x87-memory.ts';

export const x87Rows = (): readonly Row[] => [...x87MemoryRows(), ...x87ArithmeticRows(), ...x87ControlRows()];
