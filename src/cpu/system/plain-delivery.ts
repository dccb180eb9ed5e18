/** How delivery is asked of emitted-gates.ts. */

/** Bits of the operand above the vector: an error code is pushed; a software interrupt, for which the gate's DPL counts; RF is saved as set. */
export const DELIVER_CODE = 0x100,
  DELIVER_SOFTWARE = 0x200,
  DELIVER_FAULT = 0x400;
