/** Exceptions of the guest processor. Vectors are the architecture's (key `sdm:3A "Exception and Interrupt Reference"`). */
import type { Cpu } from '../cpu.ts';
import { FAULT } from '../interpret/status.ts';
import * as S from '../state.ts';

export const DE = 0,
  DB = 1,
  NMI = 2,
  BP = 3,
  OFV = 4,
  BR = 5,
  UD = 6,
  NM = 7,
  DFV = 8,
  TS = 10,
  NP = 11,
  SSV = 12,
  GP = 13,
  PFV = 14;
export const MF = 16,
  ACV = 17,
  MC = 18,
  XM = 19;

/**
 * A guest exception on its way from a TypeScript routine to the dispatcher. One object is reused: the throw allocates
 * nothing, and it is caught at exactly one place (the CPU's step loop).
 */
export class GuestFault {
  vector = 0;
  /** Error code, or undefined when the vector pushes none. */
  code: number | undefined = undefined;
}

/** Leaves a fault for whoever called compiled code's helper; the helper answers {@link status.FAULT}. */
export const recordFault = (cpu: Cpu, { vector, code }: GuestFault): number => {
  cpu.set32(S.FAULT_VECTOR, vector);
  cpu.set32(S.FAULT_CODE, code ?? 0);
  cpu.set32(S.FAULT_HAS_CODE, code === undefined ? 0 : 1);
  return FAULT;
};

const pending = new GuestFault();

/** Makes the fault to throw: `throw fault(GP, 0)`. */
export const fault = (vector: number, code?: number): GuestFault => {
  pending.vector = vector;
  pending.code = code;
  return pending;
};
