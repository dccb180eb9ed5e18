/** The interpreter's function table. */
import { firstVector } from '../isa/plan.ts';

/** Regions that can exist at a time: they have the first slots of the interpreter's function table. */
export const REGION_SLOTS = 4096;
/** Slots behind them, for functions of the vector module. */
export const VECTOR_SLOTS = 64;

/** Dispatch numbers of vector rows that share a function. */
export const VECTORS_TOGETHER = 64;

/** Place in the function table of the function that has a vector row's handler. */
export const vectorSlot = (op: number): number => REGION_SLOTS + Math.floor((op - firstVector()) / VECTORS_TOGETHER);
