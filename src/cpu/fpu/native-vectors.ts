/**
 * Inputs of the comparison with a real processor: instructions made from the rows, operands from a seed. `tools/fpu-vectors.ts` records
 * what the host's processor does with them; the test runs them through the interpreter. Support for tests only.
 */
import { parseRow } from '../isa/encoding.ts';
import type { Row } from '../isa/row.ts';

/** Architectural state around one instruction. Registers 0 and 1 are the operands, memory is at rdi. */
export interface VectorState {
  control: number;
  status: number;
  tag: number;
  mxcsr: number;
  /** Physical x87 registers: significand and sign with exponent. */
  st: [significand: bigint, signExponent: number][];
  xmm: bigint[];
  rax: bigint;
  rcx: bigint;
  rdx: bigint;
  flags: number;
  memory: bigint[];
}

/** xorshift32, never zero. */
export const generator = (seed: number): (() => number) => {
  let x = seed >>> 0 || 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    return x;
  };
};

type Random = () => number;
const random64 = (r: Random): bigint => (BigInt(r()) << 32n) | BigInt(r());

const DOUBLES = [
  0n,
  1n << 63n,
  0x3ff0_0000_0000_0000n,
  0xbff0_0000_0000_0000n,
  1n,
  0x800f_ffff_ffff_ffffn,
  0x0010_0000_0000_0000n,
  0x7fef_ffff_ffff_ffffn,
  0x7ff0_0000_0000_0000n,
  0xfff0_0000_0000_0000n,
  0x7ff8_0000_0000_1234n,
  0xfff8_0000_0000_5678n,
  0x7ff0_0000_0000_9abcn,
  0xfff4_0000_0000_0001n,
  0x41df_ffff_ffc0_0000n,
  0xc1e0_0000_0000_0000n,
  0xc3e0_0000_0000_0000n,
  0x3fe0_0000_0000_0000n,
  0x4004_0000_0000_0000n,
  0x36a0_0000_0000_0000n,
];
const SINGLES = [
  0, 0x8000_0000, 0x3f80_0000, 0xbf80_0000, 1, 0x807f_ffff, 0x0080_0000, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000,
  0x7fc0_1234, 0xffc0_5678, 0x7f80_9abc, 0xffa0_0001, 0x4eff_ffff, 0xcf00_0000, 0x3f00_0000, 0x4020_0000,
];

/** A double: special, near one, of any size, or arbitrary bits. */
const double = (r: Random): bigint => {
  const raw = random64(r);
  switch (r() % 4) {
    case 0:
      return DOUBLES[r() % DOUBLES.length];
    case 1:
      return (raw & 0x800f_ffff_ffff_ffffn) | (BigInt(0x3f8 + (r() % 16)) << 52n);
    case 2:
      return (raw & 0x800f_fff0_0000_0000n) | (BigInt(0x3f8 + (r() % 80)) << 52n);
    default:
      return raw;
  }
};
const single = (r: Random): number => {
  const raw = r();
  switch (r() % 4) {
    case 0:
      return SINGLES[r() % SINGLES.length];
    case 1:
      return ((raw & 0x807f_ffff) | ((0x78 + (r() % 16)) << 23)) >>> 0;
    case 2:
      return ((raw & 0x807f_f000) | ((0x78 + (r() % 40)) << 23)) >>> 0;
    default:
      return raw;
  }
};

const half = (r: Random, kind: number): bigint =>
  kind === 0 ? double(r) : kind === 1 ? BigInt(single(r)) | (BigInt(single(r)) << 32n) : random64(r);

const EXTENDED_SPECIAL: readonly [bigint, number][] = [
  [0n, 0],
  [0n, 0x8000],
  [1n << 63n, 0x3fff],
  [1n << 63n, 0xbfff],
  [1n << 63n, 0x7fff],
  [1n << 63n, 0xffff],
  [1n, 0],
  [1n << 63n, 0x8000],
  [0xffff_ffff_ffff_ffffn, 0x7ffe],
  [0xc000_0000_0000_1234n, 0x7fff],
  [0x8000_0000_0000_5678n, 0xffff],
  [0x4000_0000_0000_0000n, 0x4000],
  [0xc000_0000_0000_0000n, 0x3ffe],
  [0x8000_0000_0000_0000n, 1],
];

const extended = (r: Random): [bigint, number] => {
  const raw = random64(r) | (1n << 63n);
  const sign = r() & 0x8000;
  switch (r() % 5) {
    case 0:
      return EXTENDED_SPECIAL[r() % EXTENDED_SPECIAL.length];
    case 1:
      return [raw, sign | (0x3ff0 + (r() % 32))];
    case 2:
      return [raw & 0xffff_f000_0000_0000n, sign | (0x3ffe + (r() % 20))];
    case 3:
      return [raw, sign | (0x3ffe + (r() % 66))];
    default:
      return [raw, sign | (r() % 0x7fff)];
  }
};

/** Inputs of one case. `x87`: two valid stack registers; otherwise MMX values in all eight and TOP 0. */
export const makeState = (r: Random, unit: Row['unit']): VectorState => {
  const x87 = unit === 'x87';
  const top = x87 ? r() & 7 : 0;
  const kind = r() % 3;
  const mmx: [bigint, number][] = Array.from({ length: 8 }, () => [half(r, r() % 3), r() & 0xffff]);
  const st = x87 ? Array.from({ length: 8 }, () => extended(r)) : mmx;
  // Mostly two valid registers; sometimes one, or a full stack.
  const depth = [2, 2, 2, 2, 2, 1, 8][r() % 7];
  let tag = 0;
  for (let i = 0; i < depth; i++) tag |= 1 << ((top + i) & 7);
  // One case in four has some exceptions unmasked.
  const masks = r() % 4 === 0 ? r() & 0x3f : 0x3f;
  const mxcsr = r() % 3 === 0 ? 0x1f80 | (r() & 0xe040) : 0x1f80;
  return {
    control: 0x40 | masks | (r() % 3 === 0 ? ((r() % 4) << 10) | ([0, 2, 3][r() % 3] << 8) : 0x300),
    status: top << 11,
    tag: x87 ? tag : 0xff,
    mxcsr: ((mxcsr & ~0x1f80) | (masks << 7) | (r() % 2 === 0 ? 0x20 : 0)) >>> 0,
    st,
    xmm: Array.from({ length: 4 }, () => half(r, kind)),
    rax: random64(r),
    rcx: r() % 2 === 0 ? random64(r) : BigInt(r() % 40),
    rdx: BigInt(r() % 40),
    flags: r() & 0x8d5,
    memory: Array.from({ length: 4 }, () => half(r, r() % 4)),
  };
};

/** Bytes of a row's register (operands 0 and 1) or memory (at rdi) form with an immediate; undefined when it has no such form. */
export const encodeRow = (row: Row, memory: boolean, immediate: number, wide: boolean): number[] | undefined => {
  const p = parseRow(row);
  const { encoding } = p;
  if (memory ? !p.memoryForm || encoding.modrm !== undefined : !p.registerForm) return undefined;
  const bytes: number[] = [];
  if (encoding.prefix !== undefined && encoding.prefix !== 'NP') bytes.push(Number.parseInt(encoding.prefix, 16));
  if (wide) bytes.push(0x48);
  if (encoding.map >= 1) bytes.push(0x0f);
  if (encoding.map === 2) bytes.push(0x38);
  if (encoding.map === 3) bytes.push(0x3a);
  bytes.push(encoding.opcode);
  const digit = encoding.digit ?? 0;
  if (encoding.hasModrm) bytes.push(encoding.modrm ?? (memory ? 0x07 | (digit << 3) : 0xc1 | (digit << 3)));
  if (p.operands.some((o) => o.letter === 'I')) bytes.push(immediate & 0xff);
  return bytes;
};

/** What is left out, and why. */
const EXCLUDED: Readonly<Record<string, string>> = {
  RCPSS: 'approximation',
  RCPPS: 'approximation',
  RSQRTSS: 'approximation',
  RSQRTPS: 'approximation',
  FNSTENV: 'instruction pointers',
  FNSAVE: 'instruction pointers',
  FLDENV: 'instruction pointers',
  FRSTOR: 'instruction pointers',
  FXSAVE: 'instruction pointers',
  FXRSTOR: 'instruction pointers',
  XSAVE: 'instruction pointers',
  XRSTOR: 'instruction pointers',
  XGETBV: 'depends on the system',
  XSETBV: 'privileged',
  FLDCW: 'may unmask exceptions',
  LDMXCSR: 'may unmask exceptions',
  FNSETPM: 'nothing to see',
  FNENI: 'nothing to see',
  FNDISI: 'nothing to see',
  CLFLUSH: 'nothing to see',
  MASKMOVQ: 'address',
  MASKMOVDQU: 'address',
};

export interface VectorCase {
  readonly name: string;
  readonly bytes: readonly number[];
  readonly state: VectorState;
}

/** Every case, in order. The same seed gives the same cases. */
export const vectorCases = (rows: readonly Row[], seed: number, perForm: number): VectorCase[] => {
  const r = generator(seed);
  const cases: VectorCase[] = [];
  for (const row of rows) {
    if (EXCLUDED[row.name] !== undefined) continue;
    const hasWide = parseRow(row).operands.some((o) => o.width === 'y');
    for (const memory of [false, true]) {
      for (const wide of hasWide ? [false, true] : [false]) {
        for (let i = 0; i < perForm; i++) {
          const state = makeState(r, row.unit);
          const bytes = encodeRow(row, memory, r(), wide);
          if (bytes !== undefined) cases.push({ name: `${row.name} ${memory ? 'memory' : 'register'}`, bytes, state });
        }
      }
    }
  }
  return cases;
};

const hex = (n: bigint | number): string => n.toString(16);

/** Fields of a state by name, as hexadecimal text. */
export const describeState = (s: VectorState): Record<string, string> => {
  const out: Record<string, string> = { fcw: hex(s.control), fsw: hex(s.status), tag: hex(s.tag), mxcsr: hex(s.mxcsr) };
  s.st.forEach(([significand, signExponent], i) => {
    out[`r${i}`] = `${hex(signExponent)}:${hex(significand)}`;
  });
  s.xmm.forEach((v, i) => {
    out[`x${i}`] = hex(v);
  });
  s.memory.forEach((v, i) => {
    out[`m${i}`] = hex(v);
  });
  return { ...out, rax: hex(s.rax), rcx: hex(s.rcx), rdx: hex(s.rdx), flags: hex(s.flags) };
};

/** `name=value` for every field that an instruction changed. */
export const changes = (before: VectorState, after: VectorState): string => {
  const a = describeState(before),
    b = describeState(after);
  return Object.keys(a)
    .filter((k) => a[k] !== b[k])
    .map((k) => `${k}=${b[k]}`)
    .join(' ');
};
