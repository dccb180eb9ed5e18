/** What a handler takes and gives, and whom it may call. */

import { I32, I64, type ValType } from '../wasm/value.ts';
import type { TransferName } from './transfers.ts';

/** (cpu, record, instruction pointer) -> status. */
export const HANDLER_PARAMS: readonly ValType[] = [I32, I32, I64];
export const HANDLER_RESULTS: readonly ValType[] = [I32];

/** Functions a handler may call, by index in the module. */
export interface Imports {
  /** (cpu, descriptor) -> host address or 0. */
  readonly slow: number;
  /** (cpu, linear, set, flags) -> host address of plain memory or 0: mmu/emitted-walk.ts. Not in regions. */
  readonly fill?: number;
  /** Control transfers: interpret/transfers.ts. Not in regions. */
  readonly transfers?: Readonly<Record<TransferName, number>>;
  /** (cpu) -> status bits. */
  readonly commit: number;
  /** (cpu, segment, offset, descriptor) -> 0 when allowed. */
  readonly segment: number;
  readonly helpers: readonly number[];
  /** (cpu, kind, a, b): stores the flags of an operation; translated code only. */
  readonly flags?: number;
  /** (cpu, linear, size and REFILL_WRITE) -> host address or 0: mmu/emitted-walk.ts; translated code only. */
  readonly refill?: number;
}
