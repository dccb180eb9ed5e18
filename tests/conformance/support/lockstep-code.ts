/** Random code from the instruction rows: branches lead to instructions, memory operands to data, sometimes to code. */
import * as S from '../../../src/cpu/state.ts';
import { shapes, systemShapes } from './cases.ts';
import { encodeRow, type Shape } from './encode-row.ts';
import { CODE_BASE, CODE_PAGES, DATA_BASE } from './lockstep.ts';
import type { Random } from './random.ts';

const PAGE = 4096;
const CODE_BYTES = CODE_PAGES * PAGE;

const all = [...shapes(), ...systemShapes()];
const ofBits = { 32: all.filter((s) => s.bits === 32), 64: all.filter((s) => s.bits === 64) } as const;
const branches = {
  32: ofBits[32].filter((s) => s.parsed.operands.some((o) => o.letter === 'J')),
  64: ofBits[64].filter((s) => s.parsed.operands.some((o) => o.letter === 'J')),
} as const;
const plain = {
  32: ofBits[32].filter((s) => s.parsed.row.unit === undefined),
  64: ofBits[64].filter((s) => s.parsed.row.unit === undefined),
} as const;

/** MOV register, value. */
const load = (register: number, value: bigint, bits: 32 | 64): number[] => {
  const bytes = bits === 64 ? 8 : 4;
  const immediate = Array.from({ length: bytes }, (_, i) =>
    Number((BigInt.asUintN(64, value) >> BigInt(i * 8)) & 0xffn),
  );
  return [...(bits === 64 ? [0x48 | (register >> 3)] : []), 0xb8 | (register & 7), ...immediate];
};

const dataAddress = (random: Random): bigint => {
  if (random.once(40)) return BigInt(CODE_BASE + random.below(CODE_BYTES + PAGE));
  const page = random.below(5);
  return BigInt(DATA_BASE + page * PAGE + (random.once(6) ? 0xff8 + random.below(8) : random.below(0x1f0) * 8));
};

const choose = (random: Random, bits: 32 | 64): Shape =>
  random.pick(random.once(5) ? branches[bits] : random.once(4) ? ofBits[bits] : plain[bits]);

export const randomProgram = (random: Random, bits: 32 | 64): Uint8Array => {
  const out = new Uint8Array(CODE_BYTES).fill(0xcc);
  const starts: number[] = [];
  const forward: { at: number; size: number }[] = [];
  const length = 200 + random.below(CODE_BYTES - 300);
  // Some programs begin just before the end of a page.
  let at = 0;
  if (random.once(2)) {
    const skip = PAGE - 20 - random.below(300);
    out.set([0xe9, (skip - 5) & 255, ((skip - 5) >> 8) & 255, 0, 0]);
    at = skip;
  }
  while (at < length && starts.length < 400) {
    const shape = choose(random, bits);
    const repeat = shape.parsed.row.rep !== undefined && random.once(2);
    const { code, base, index, scale, displacement } = encodeRow(random, shape, {
      target: dataAddress(random),
      reserved: new Set([S.RSP]),
      repeat,
    });
    const bytes: number[] = [];
    const rest = dataAddress(random) - displacement;
    if (repeat) bytes.push(...load(S.RCX, BigInt(random.below(9)), bits));
    if (index >= 0) {
      const own = base >= 0 ? BigInt(random.below(64)) : rest >> BigInt(scale);
      bytes.push(...load(index, own, bits));
      if (base >= 0) bytes.push(...load(base, rest - (own << BigInt(scale)), bits));
    } else if (base >= 0) bytes.push(...load(base, rest, bits));
    if (at + bytes.length + code.length >= length) break;
    starts.push(at);
    out.set(bytes, at);
    at += bytes.length;
    if (bytes.length > 0) starts.push(at);
    out.set(code, at);
    at += code.length;
    const jump = shape.parsed.operands.find((o) => o.letter === 'J');
    if (jump === undefined || random.once(12)) continue;
    const size = jump.width === 'b' ? 1 : 4;
    // JMP and CALL go forward, or nothing behind them would run.
    if (/^J[A-Z]+$|^LOOP/.test(shape.parsed.row.name) && shape.parsed.row.name !== 'JMP' && random.once(3)) {
      const near = starts.filter((s) => size === 4 || at - s < 120);
      if (near.length > 0) patch(out, at, size, random.pick(near));
    } else forward.push({ at, size });
  }
  for (const { at: end, size } of forward) {
    const ahead = starts.filter((s) => s >= end && (size === 4 || s - end < 120));
    if (ahead.length > 0) patch(out, end, size, random.pick(ahead));
  }
  return out;
};

const patch = (out: Uint8Array, end: number, size: number, target: number): void => {
  const view = new DataView(out.buffer);
  if (size === 1) view.setInt8(end - 1, target - end);
  else view.setInt32(end - 4, target - end, true);
};
