/**
 * TypeScript functions that emitted meanings may call. Arguments and results are 32-bit; wider data goes through the state
 * block's SCRATCH area.
 *
 * The helpers of the floating-point units answer nonzero when a fault is recorded in FAULT_*. System helpers see the outside world, so they
 * are called with the state block exact ({@link Semantics.callSystem}); they answer status bits (interpret/status.ts).
 */
import type { Cpu } from './cpu.ts';
import { simdFloat } from './fpu/simd-float.ts';
import { simdInteger } from './fpu/simd-integer.ts';
import { invalidate, loadCr3 } from './system/control.ts';
import { portIn, portOut } from './system/port-access.ts';

export type Helper = (cpu: Cpu, a: number, b: number) => number;

/** Positions in {@link HELPERS}. */
export const HELPER_SIMD_FLOAT = 0,
  HELPER_SIMD_INTEGER = 1,
  HELPER_PORT_IN = 2,
  HELPER_PORT_OUT = 3,
  HELPER_INVALIDATE = 4,
  HELPER_WRITE_CR3 = 5;

export const HELPERS: readonly Helper[] = [simdFloat, simdInteger, portIn, portOut, invalidate, loadCr3];
