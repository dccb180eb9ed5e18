/** Every row of the MMX and SSE generations that the processor offers (SSE to SSE4.2, without MONITOR and MWAIT). */
import { mmxRows, ssse3Rows } from './mmx.ts';
import type { Row } from './row.ts';
import { sse3FloatRows, sse41FloatRows, sseFloatRows } from './sse-float.ts';
import { sse3MoveRows, sseMoveRows } from './sse-move.ts';
import { sseStringRows } from './sse-string.ts';
import { sse41Rows, sse42Rows } from './sse4.ts';

export const sseRows = (): readonly Row[] => [
  ...mmxRows(),
  ...sseMoveRows(),
  ...sseFloatRows(),
  ...sse3MoveRows(),
  ...sse3FloatRows(),
  ...ssse3Rows(),
  ...sse41Rows(),
  ...sse41FloatRows(),
  ...sse42Rows(),
  ...sseStringRows(),
];
