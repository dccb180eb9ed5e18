/** Regions that can exist at a time: they have the first slots of the interpreter's function table. */
export const REGION_SLOTS = 4096;
/** Slots behind them, for functions of the vector module. */
export const VECTOR_SLOTS = 32;
