/**
 * TypeScript functions that emitted meanings may call. Arguments and results are 32-bit; wider data goes through the state
 * block's SCRATCH area. A nonzero result means that a fault is recorded in FAULT_*.
 */
import type { Cpu } from '../cpu.ts';
import { simdFloat } from './simd-float.ts';
import { simdInteger } from './simd-integer.ts';

export type Helper = (cpu: Cpu, a: number, b: number) => number;

/** Positions in {@link HELPERS}. */
export const HELPER_SIMD_FLOAT = 0,
  HELPER_SIMD_INTEGER = 1;

export const HELPERS: readonly Helper[] = [simdFloat, simdInteger];
