/** Test cases from the instruction rows: every row at every operand size, with register and memory operands, in 64- and 32-bit mode. */
import type { ParsedRow } from '../../../src/cpu/isa/encoding.ts';
import { widthBits } from '../../../src/cpu/isa/encoding.ts';
import { parsedRows, sizesOf } from '../../../src/cpu/isa/plan.ts';
import type { Row } from '../../../src/cpu/isa/row.ts';
import * as S from '../../../src/cpu/state.ts';
import { type Encoded, encodeRow, type Shape } from './encode-row.ts';
import { FX_MXCSR, FX_SIZE, FX_ST, FX_XMM, type Input, WINDOW, WINDOW_SIZE } from './layout.ts';
import { Random } from './random.ts';
import { extended, integer, vector } from './values.ts';

export interface Case extends Input {
  readonly shape: Shape;
  readonly encoded: Encoded;
}

/** Routines that may run in user mode and leave nothing but registers and memory changed. */
const ROUTINES = /^(PUSHA|POPA|ENTER|BOUND|F[A-Z0-9]+)$/;
/** Not comparable: the operand does not fit the window, or the result is the processor's own business. */
const EXCLUDED =
  /^(FXSAVE|FXRSTOR|XSAVE|XRSTOR|FNSAVE|FSAVE|FRSTOR|FLDENV|FNSTENV|FSTENV|F2XM1|FYL2X|FYL2XP1|FPATAN|FPTAN|FSIN|FCOS|FSINCOS|CLFLUSH|UD[012]|LAR|LSL|INT1)/;

/**
 * Where the processors of the two makers differ: register forms of PREFETCHW are #UD for one and NOPs for the other; the aliases of FSTP
 * report an empty register only here.
 */
const UNLIKE_HOST = /^(NOP 0F 0D|FSTP (D9 \/3r|DF \/[23]r))/;

/** Which selectors the host has is its own business. */
const readsSelector = (row: Row): boolean => row.operands.endsWith(',Sw');

const comparable = ({ row }: ParsedRow): boolean =>
  !EXCLUDED.test(row.name) &&
  !UNLIKE_HOST.test(`${row.name} ${row.encoding}`) &&
  !readsSelector(row) &&
  ((row.mean !== undefined && row.call === undefined) || row.unit !== undefined || ROUTINES.test(row.name));

/** All shapes that exist and can be tried in user mode. */
export const shapes = (): Shape[] => shapesOf(comparable);

/** Shapes of system instructions that are translated and take any operands. */
export const systemShapes = (): Shape[] =>
  shapesOf(({ row }) => /^(IN|OUT|CLI|STI|PUSHF|POPF)$/.test(row.name) || readsSelector(row));

const shapesOf = (wanted: (parsed: ParsedRow) => boolean): Shape[] => {
  const out: Shape[] = [];
  for (const parsed of parsedRows(true)) {
    if (!wanted(parsed)) continue;
    const { row, encoding } = parsed;
    for (const bits of [64, 32] as const) {
      if ((bits === 64 && row.not64 === true) || (bits === 32 && row.only64 === true)) continue;
      // What both modes have is tried in 32-bit mode for one operand size only.
      for (const size of sizesOf(parsed)) {
        if (size === 64 && bits === 32) continue;
        if (bits === 64 && row.size64 === 'f64' && size !== 64) continue;
        if (bits === 64 && row.size64 === 'd64' && size === 32) continue;
        if (size === 16 && (encoding.prefix === 'NP' || encoding.prefix === '66')) continue;
        if (size === 16 && bits === 32 && row.ends === true) continue;
        if (parsed.registerForm) out.push({ parsed, bits, size, memory: false });
        if (parsed.memoryForm) out.push({ parsed, bits, size, memory: true });
      }
    }
  }
  return out;
};

/** Middle of the window, where stacks and strings are. */
const MIDDLE = WINDOW + 128n;

const operandWidth = ({ parsed, size }: Shape): number => {
  for (const o of parsed.operands) if ('EMWQ'.includes(o.letter)) return widthBits(o.width, size === 0 ? 32 : size);
  return 0;
};

/** Registers whose contents an instruction uses as address, count or divisor, by what is needed. */
const special = (random: Random, shape: Shape, repeat: boolean): Map<number, bigint> => {
  const { row, operands } = shape.parsed;
  const { name } = row;
  const out = new Map<number, bigint>();
  if (/^(PUSH|POP|CALL|RET|ENTER|LEAVE)/.test(name)) {
    out.set(S.RSP, MIDDLE - BigInt(random.below(8)));
    if (/^(ENTER|LEAVE)/.test(name)) out.set(S.RBP, MIDDLE + BigInt(random.below(60)));
  }
  if (operands.some((o) => o.letter === 'X')) out.set(S.RSI, MIDDLE + BigInt(random.below(40) - 20));
  if (operands.some((o) => o.letter === 'Y')) out.set(S.RDI, MIDDLE + BigInt(random.below(40) - 20));
  if (repeat) out.set(S.RCX, BigInt(random.below(7)));
  if (name === 'XLAT') out.set(S.RBX, WINDOW);
  if (/^(LOOP|JCXZ)/.test(name))
    out.set(S.RCX, random.pick([0n, 1n, 2n, 0x1_0000n, 0x1_0000_0000n, 0x1_0000_0001n, integer(random)]));
  if (operands.some((o) => o.fixed === 'CL'))
    out.set(S.RCX, BigInt(random.once(8) ? random.u8() : random.below(70)) | (random.u64() & ~0xffn));
  if (/^I?DIV$/.test(name) && !random.once(4)) {
    const a = integer(random);
    out.set(S.RAX, a);
    out.set(
      S.RDX,
      random.once(3)
        ? BigInt(random.below(256))
        : name === 'IDIV'
          ? BigInt.asUintN(64, BigInt.asIntN(64, a) >> 63n)
          : 0n,
    );
  }
  if (name.startsWith('MASKMOV')) out.set(S.RDI, WINDOW + BigInt(random.below(200)));
  return out;
};

const MASKS: Readonly<Record<number, bigint>> = { 8: 0xffn, 16: 0xffffn, 32: 0xffff_ffffn, 64: 0xffff_ffff_ffff_ffffn };

const floatState = (random: Random, shape: Shape): Uint8Array => {
  const fx = new Uint8Array(FX_SIZE);
  const view = new DataView(fx.buffer);
  const x87 = shape.parsed.row.unit === 'x87';
  const top = x87 || shape.parsed.operands.some((o) => 'PQN'.includes(o.letter));
  const precision = x87 ? random.pick([0, 0x200, 0x300, 0x300]) : 0x300;
  const masks = x87 && random.once(10) ? 0x7f ^ random.pick([1, 4, 8, 16, 32]) : 0x7f;
  view.setUint16(0, masks | precision | (x87 ? random.below(4) << 10 : 0), true);
  view.setUint16(2, top ? (random.below(8) << 11) | (random.below(2) << 14) | (random.below(8) << 8) : 0, true);
  fx[4] = top ? (random.once(3) ? random.u8() : 0xff) : 0;
  // All exceptions masked, mostly; any rounding; DAZ and FTZ at times.
  let mxcsr = 0x1f80 | (random.below(4) << 13) | (random.once(2) ? 0 : random.below(64));
  if (random.once(8)) mxcsr |= 0x40;
  if (random.once(8)) mxcsr |= 0x8000;
  if (random.once(10)) mxcsr = (mxcsr & ~0x3f) ^ (1 << (7 + random.below(6)));
  view.setUint32(FX_MXCSR, mxcsr, true);
  for (let i = 0; i < 8; i++) {
    if (x87) extended(random, fx, FX_ST + i * 16);
    else {
      const lanes = new Uint8Array(16);
      vector(random, lanes, 0);
      fx.set(lanes.subarray(0, 8), FX_ST + i * 16);
    }
  }
  for (let i = 0; i < 16; i++) vector(random, fx, FX_XMM + i * 16);
  return fx;
};

/** Puts a value where an operand width of memory begins. */
const poke = (memory: Uint8Array, at: bigint, value: bigint, bytes: number): void => {
  for (let i = 0; i < bytes; i++) memory[Number(at - WINDOW) + i] = Number((value >> BigInt(i * 8)) & 0xffn);
};

/** Stable number of a shape, whatever other rows there are. */
export const shapeNumber = ({ parsed, bits, size, memory }: Shape): number => {
  let h = 0x811c_9dc5;
  for (const ch of `${parsed.row.name} ${parsed.row.encoding} ${parsed.row.operands} ${bits} ${size} ${memory}`)
    h = Math.imul(h ^ ch.charCodeAt(0), 0x0100_0193);
  return h >>> 0;
};

/** The n-th case of a shape for a seed: it depends on nothing else. */
export const makeCase = (seed: number, shape: Shape, n: number): Case => {
  const random = new Random(shapeNumber(shape) ^ Math.imul(seed, 0x9e37_79b1) ^ Math.imul(n, 0x85eb_ca6b));
  const { parsed, bits, size } = shape;
  const { row, operands } = parsed;
  const repeat = row.rep !== undefined && row.name !== 'XLAT' && !random.once(4);
  const reserved = special(random, shape, repeat);
  const width = operandWidth(shape);
  const aligned = width === 128 && row.unaligned !== true && !random.once(12);
  let target = WINDOW + 96n + BigInt(random.below(64));
  if (aligned || (row.name === 'CMPXCHG16B' && !random.once(8))) target &= ~15n;
  let immediate: number | undefined;
  if (row.name === 'ENTER') immediate = random.below(48);
  if (/^(RET)/.test(row.name)) immediate = random.below(24);
  const encoded = encodeRow(random, shape, { target, reserved: new Set(reserved.keys()), immediate, repeat });
  const mask = bits === 64 ? MASKS[64]! : MASKS[32]!;
  const gpr = Array.from({ length: 16 }, (_, n) => reserved.get(n) ?? integer(random));
  const memory = new Uint8Array(WINDOW_SIZE);
  for (let i = 0; i < WINDOW_SIZE; i += 16) vector(random, memory, i);
  if (width > 0 && width <= 64) poke(memory, target, integer(random), width / 8);
  // Bit 17 is misaligned-access mode for one maker's processors and reserved for the other's.
  if (row.name === 'LDMXCSR')
    poke(memory, target, BigInt((random.u32() & (random.once(4) ? 0xfffd_ffff : 0xffff)) >>> 0), 4);
  // Bit strings: the index moves the operand by whole elements; keep it inside the window.
  if (
    shape.memory &&
    /^BT/.test(row.name) &&
    operands[1]!.letter === 'G' &&
    encoded.reg !== encoded.base &&
    (encoded.reg !== encoded.index || encoded.base >= 0)
  ) {
    const offset = BigInt(random.below(1024) - 512);
    gpr[encoded.reg] =
      size === 64 ? BigInt.asUintN(64, offset) : (gpr[encoded.reg]! & ~MASKS[size]!) | BigInt.asUintN(size, offset);
  }
  resolveAddress(random, encoded, target, gpr, bits);
  if (row.rep === 'repz' && random.once(2)) {
    // Equal elements, so that comparisons go on.
    memory.fill(0x5a);
    gpr[S.RAX] = 0x5a5a_5a5a_5a5a_5a5an;
    if (random.once(2)) memory[random.below(WINDOW_SIZE)] = 1;
  }
  if (row.name === 'CMPXCHG' && shape.memory && random.once(2) && !touches(encoded, S.RAX))
    poke(memory, target, gpr[S.RAX]!, width / 8);
  if (/^CMPXCHG(8|16)B$/.test(row.name) && random.once(2) && !touches(encoded, S.RAX) && !touches(encoded, S.RDX)) {
    const half = width / 16;
    poke(memory, target, gpr[S.RAX]!, half);
    poke(memory, target + BigInt(half), gpr[S.RDX]!, half);
  }
  return {
    bits,
    code: encoded.code,
    shape,
    encoded,
    memory,
    gpr: gpr.map((v) => v & mask),
    fx: floatState(random, shape),
    flags: 0x202 | (random.u32() & S.ARITHMETIC) | (random.once(3) ? S.DF : 0),
  };
};

const touches = (e: Encoded, register: number): boolean => e.base === register || e.index === register;

/** Sets the registers of the effective address so that it is `target`. */
const resolveAddress = (random: Random, e: Encoded, target: bigint, gpr: bigint[], bits: 32 | 64): void => {
  const width = e.address32 ? 32 : 64;
  const garbage = bits === 64 && e.address32 ? (random.u64() >> 32n) << 32n : 0n;
  if (e.base >= 0) {
    const scaled = e.index < 0 ? 0n : gpr[e.index]! << BigInt(e.scale);
    gpr[e.base] = BigInt.asUintN(width, target - e.displacement - scaled) | garbage;
  } else if (e.index >= 0) gpr[e.index] = BigInt.asUintN(width, (target - e.displacement) >> BigInt(e.scale)) | garbage;
};
