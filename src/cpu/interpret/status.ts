/** What a handler tells the dispatch loop (bit set), and why the interpreter returned to TypeScript. */

/** The instruction is complete; go on with the next one. */
export const NEXT = 0;
/** RIP was written, and BUDGET may have been charged. */
export const JUMPED = 1;
/** Execute the same record again (one repetition of a string instruction is done). */
export const AGAIN = 2;
/** Complete, but let TypeScript look at events first; combines with the above. */
export const LEAVE = 4;
/** A fault is recorded in FAULT_*; RIP stays. */
export const FAULT = 8;
/** A TypeScript routine has to run this record. */
export const CALL = 9;

export const EXIT_BUDGET = 0;
/** No record is known for the address RIP points at. */
export const EXIT_LOOKUP = 1;
export const EXIT_FAULT = FAULT;
export const EXIT_CALL = CALL;
/** An instruction asked to leave; it is complete. */
export const EXIT_LEAVE = 4;
/** A region is entered often enough to be translated. */
export const EXIT_HOT = 10;
/** From a region only: interpret the instruction at RIP without entering a region there. */
export const INTERPRET = 16;
