/** Numbers of the operations that emitted code leaves to simd-float.ts and simd-integer.ts. */

/** Shapes: which elements an operation works on. */
export const SS = 0,
  SD = 1,
  PS = 2,
  PD = 3;

/** Operations; an operation number is `kind | shape << 8`. */
export const ADD = 0,
  SUB = 1,
  MUL = 2,
  DIV = 3,
  SQRT = 4,
  MIN = 5,
  MAX = 6,
  CMP = 7,
  ROUND = 8,
  ADDSUB = 9,
  HADD = 10,
  HSUB = 11;
export const DP = 12,
  COMI = 13,
  UCOMI = 14,
  RCP = 15,
  RSQRT = 16;
/** Conversions: elements of the destination are written from element 0 up, the rest is zero. */
export const TO_I32 = 17,
  TO_I32_TRUNCATED = 18,
  TO_I64 = 19,
  TO_I64_TRUNCATED = 20;
export const FROM_I32 = 21,
  FROM_I64 = 22,
  WIDEN = 23,
  NARROW = 24;

/** Integer operations. */
export const MPSADBW = 0,
  PHMINPOSUW = 1,
  INSERTPS = 2,
  CRC32 = 3;
