/** All operations whose flags the translator may leave for later. */
import { ADD, DEC, type FlagOperation, INC, LOGIC, SUB } from '../flags.ts';
import type { FunctionBody } from '../wasm/function.ts';
import { c32, type Val } from '../wasm/value.ts';
import { IMUL } from './muldiv.ts';
import { SAR, SHL, SHR } from './shift.ts';

export const flagOperations: readonly FlagOperation[] = [ADD, SUB, LOGIC, INC, DEC, SHL, SHR, SAR, IMUL];

export const FLAG_WIDTHS = [8, 16, 32, 64] as const;
type FlagWidth = (typeof FLAG_WIDTHS)[number];

/** Names an operation at a width in translated code; 0 is never one. */
export const flagKind = (operation: FlagOperation, width: FlagWidth): number =>
  operation.number * FLAG_WIDTHS.length + FLAG_WIDTHS.indexOf(width);

/** Kinds from here on are those of INC and DEC whose carry is that of FLAG_BEFORE. */
export const PENDING_KINDS = 64;
export const pendingKind = (operation: FlagOperation, width: FlagWidth): number =>
  PENDING_KINDS + flagKind(operation, width);
export const isPending = (f: FunctionBody, kind: Val): Val => f.op('i32.ge_u', kind, c32(PENDING_KINDS));
