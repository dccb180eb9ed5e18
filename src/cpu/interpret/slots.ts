/** Regions that can exist at a time: size of the interpreter's function table. */
export const REGION_SLOTS = 4096;
