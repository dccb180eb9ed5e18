/**
 * Instruction rows: one row is one encoding of one instruction, with its meaning.
 *
 * Everything else (decoder tables, interpreter handlers, translated code, the coverage page, generated tests) is derived
 * from the rows. Encodings are written as in the manual's instruction pages (key `sdm:2`):
 *
 *     [NP|66|F2|F3] [0F|0F 38|0F 3A] opcode[+r] [/r | /0../7] [ib|iw|id|iz|iv|cb|cz|cp|mo]
 *     VEX.LZ.<NP|66|F2|F3>.<0F|0F38|0F3A>.<W0|W1|Wy> opcode [/r|/0../7] [ib]
 *
 * A row without NP/66/F2/F3 ignores a mandatory prefix (66 then means operand size). Immediates are derived from the operands.
 * `/3r` limits ModRM to registers, `/3m` to memory; `/D0` style fixed ModRM bytes (two hex digits) name one byte.
 *
 * Operands follow the opcode-map appendix (key `sdm:2 "Opcode Map"`): a letter for where, letters for the width.
 * Where: E ModRM r/m (register or memory), M memory only, R register r/m only, G ModRM reg, Z low three opcode bits, B VEX.vvvv, I immediate,
 * J relative target, O absolute offset, S segment, C control, D debug register (meanings get its number), V xmm in reg, W xmm or memory in
 * r/m, U xmm in r/m, P mmx in reg, Q mmx or memory in r/m, N mmx in r/m; AL, CL, rAX, DX, 1 as such.
 * Width: b 8, w 16, d 32, q 64, v 16/32/64 by operand size, y 32/64, z 16/32 (immediates: sign-extended to 64),
 * dq 128; `Ib` after a `v` operand is sign-extended when the row says `signed`.
 */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import type { Operand, Semantics } from '../semantics.ts';

/** Meaning written against the emitter; operands in the row's order. Both back ends run it. */
export type Meaning = (s: Semantics, ...operands: Operand[]) => void;

/**
 * Meaning of a rare or intricate instruction: one routine that both back ends call. RIP still points at the instruction.
 * Faults are thrown as {@link GuestFault}; returning normally moves RIP behind the instruction unless the routine returned
 * `'jumped'` (it set RIP itself) or `'again'` (execute the same instruction again, e.g. a REP iteration).
 */
export type Routine = (cpu: Cpu, insn: Insn) => undefined | 'jumped' | 'again';

export interface RowOptions {
  /** LOCK is allowed when the first operand is memory. */
  readonly lock?: boolean;
  /** #UD in 64-bit mode. */
  readonly not64?: boolean;
  /** #UD outside 64-bit mode. */
  readonly only64?: boolean;
  /** Operand size defaults to 64 in 64-bit mode (near branches, push, pop); 'f64' ignores 66 too. */
  readonly size64?: 'd64' | 'f64';
  /** `Ib` is sign-extended to the operand size. */
  readonly signed?: boolean;
  /** Only with REX.W (true) or only without (false); default either. */
  readonly wide?: boolean;
  /** Meanings differ by operand size although no operand shows it. */
  readonly sized?: boolean;
  /** Ends a straight run of instructions: RIP or the mode may change. */
  readonly ends?: boolean;
  /** F2/F3 are repeat prefixes of this row. `repz` compares ZF too (CMPS, SCAS). */
  readonly rep?: 'rep' | 'repz';
  /** Which unit must be usable: raises #UD/#NM by CR0.EM/TS, CR4.OSFXSR before anything else. */
  readonly unit?: 'x87' | 'mmx' | 'sse';
  /** 128-bit memory operand must be 16-byte aligned (#GP). Default true for dq operands of legacy SSE rows. */
  readonly unaligned?: boolean;
  /** Key into docs/references.md; default `sdm:<first word of the name>`. */
  readonly ref?: string;
  /** Expected relative frequency for the dispatch tree; default 1. */
  readonly weight?: number;
  /** The translator leaves it to the interpreter: what follows may be other code, in another mode or under another mapping. */
  readonly alone?: boolean;
  /** How F2/F3 without a meaning in the row are treated: 'ignore' (default) or 'invalid'. */
  readonly repPrefix?: 'ignore' | 'invalid';
}

export interface Row extends RowOptions {
  readonly name: string;
  readonly encoding: string;
  readonly operands: string;
  readonly mean?: Meaning;
  readonly call?: Routine;
}

export const insn = (name: string, encoding: string, operands: string, options: RowOptions, mean: Meaning): Row => ({
  name,
  encoding,
  operands,
  ...options,
  mean,
});

/** The usual case as a meaning, which leaves the rest to a routine ({@link Semantics.routine}). */
export const usual = (
  name: string,
  encoding: string,
  operands: string,
  options: RowOptions,
  mean: Meaning,
  call: Routine,
): Row => ({ name, encoding, operands, ...options, mean, call });

export const routine = (name: string, encoding: string, operands: string, options: RowOptions, call: Routine): Row => ({
  name,
  encoding,
  operands,
  ...options,
  call,
});
