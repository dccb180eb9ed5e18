/** Differences between two executions of a case, in words. */
import * as S from '../../../src/cpu/state.ts';
import type { Case } from './cases.ts';
import { undefinedFlags } from './defined.ts';
import { type Execution, FX_MXCSR, FX_ST, FX_XMM } from './layout.ts';

const NAMES = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];
const hex = (bytes: Uint8Array): string => [...bytes].map((b) => b.toString(16).padStart(2, '0')).join('');

/** C0, C2 and C3 say something only after comparisons, examinations and partial remainders. */
const X87_CONDITIONS = /^(FU?COMI?P?P?|FTST|FXAM|FPREM1?|FICOMP?|F[NU]*CLEX|FNINIT|FLDCW|FNSTS?W|FNSTCW|FLDENV)/;

/** The reciprocal instructions promise a relative error of 1.5 * 2^-12, not a value. */
const APPROXIMATION = /^R(CP|SQRT)[SP]S$/;
const near = (expected: Uint8Array, found: Uint8Array): boolean => {
  const e = new DataView(expected.buffer, expected.byteOffset),
    f = new DataView(found.buffer, found.byteOffset);
  return [0, 4, 8, 12].every((at) => {
    if (e.getUint32(at, true) === f.getUint32(at, true)) return true;
    const a = e.getFloat32(at, true),
      b = f.getFloat32(at, true);
    return Math.abs(a - b) <= Math.abs(a) * 1.5 * 2 ** -11;
  });
};

/**
 * Conversions between MMX and XMM that may leave the x87 state alone: with a memory operand, or when they raise #XM, processors of the two
 * makers differ.
 */
const leavesX87 = (c: Case, expected: Execution): boolean =>
  /^CVT/.test(c.shape.parsed.row.name) && (expected.vector === 19 || c.shape.memory);

export const differences = (c: Case, expected: Execution, found: Execution): string[] => {
  const out: string[] = [];
  const say = (what: string, before: string, e: string, f: string) => {
    if (e !== f) out.push(`${what}: ${before} -> ${e}, here ${f}`);
  };
  const { row, operands } = c.shape.parsed;
  const mask = c.bits === 64 ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn;
  say('vector', '', String(expected.vector), String(found.vector));
  say('rip', '', (expected.rip & mask).toString(16), (found.rip & mask).toString(16));
  for (let n = 0; n < (c.bits === 64 ? 16 : 8); n++)
    say(NAMES[n]!, c.gpr[n]!.toString(16), (expected.gpr[n]! & mask).toString(16), (found.gpr[n]! & mask).toString(16));
  const flags = (S.ARITHMETIC | S.DF) & ~(expected.vector < 0 ? undefinedFlags(c) : 0);
  say(
    'flags',
    (c.flags & flags).toString(16),
    (expected.flags & flags).toString(16),
    (found.flags & flags).toString(16),
  );
  say('memory', hex(c.memory), hex(expected.memory), hex(found.memory));
  const word = (x: Uint8Array, at: number, cut = 0xffff) => ((x[at]! | (x[at + 1]! << 8)) & cut).toString(16);
  for (let n = 0; n < (c.bits === 64 ? 16 : 8); n++) {
    const at = FX_XMM + n * 16;
    if (APPROXIMATION.test(row.name) && near(expected.fx.subarray(at, at + 16), found.fx.subarray(at, at + 16)))
      continue;
    say(
      `xmm${n}`,
      hex(c.fx.subarray(at, at + 16)),
      hex(expected.fx.subarray(at, at + 16)),
      hex(found.fx.subarray(at, at + 16)),
    );
  }
  // Whether the intermediate products of a dot product count as denormal operands is up to the processor.
  const mxcsrCut = row.name.startsWith('DPP') ? 0xfffd : 0xffff;
  say(
    'mxcsr',
    word(c.fx, FX_MXCSR, mxcsrCut),
    word(expected.fx, FX_MXCSR, mxcsrCut),
    word(found.fx, FX_MXCSR, mxcsrCut),
  );
  const mmx = operands.some((o) => 'PQN'.includes(o.letter));
  if (row.unit === 'x87' || row.unit === 'mmx' || (mmx && !leavesX87(c, expected))) {
    for (let n = 0; n < 8; n++) {
      const at = FX_ST + n * 16;
      say(
        `st${n}`,
        hex(c.fx.subarray(at, at + 10)),
        hex(expected.fx.subarray(at, at + 10)),
        hex(found.fx.subarray(at, at + 10)),
      );
    }
    say('control', word(c.fx, 0), word(expected.fx, 0), word(found.fx, 0));
    let cut = row.unit === 'x87' && !X87_CONDITIONS.test(row.name) ? 0xffff & ~0x4500 : 0xffff;
    // C1 is cleared by the one maker's processors and left alone by the other's.
    // Quotient bits when there is no quotient; both stack faults at once.
    const special = [0, 16].some((at) => (((c.fx[FX_ST + at + 9]! & 0x7f) << 8) | c.fx[FX_ST + at + 8]!) === 0x7fff);
    if (/^FPREM/.test(row.name) && ((expected.fx[2]! & 1) !== 0 || special)) cut &= ~0x4700;
    if (row.name === 'FLD' && (expected.fx[2]! & 0x40) !== 0) cut &= ~0x200;
    if (/^(FCMOV|FU?COMIP?$|FFREE)/.test(row.name)) cut &= ~0x4700;
    say('status', word(c.fx, 2, cut), word(expected.fx, 2, cut), word(found.fx, 2, cut));
    say('tag', String(c.fx[4]), String(expected.fx[4]), String(found.fx[4]));
  }
  return out;
};

/** Significand last, as numbers are written. */
const st = (c: Case, n: number): string => hex(c.fx.slice(FX_ST + n * 16, FX_ST + n * 16 + 10).reverse());

export const describe = (c: Case): string => {
  const { row } = c.shape.parsed;
  const x87 =
    row.unit === 'x87' ? `, control ${hex(c.fx.subarray(0, 2))}, tag ${c.fx[4]}, st0 ${st(c, 0)}, st1 ${st(c, 1)}` : '';
  return `${row.name} '${row.encoding}' ${row.operands} (${c.bits}-bit code, operand size ${c.shape.size}): ${hex(c.code)}${x87}`;
};
