/** Encodes instructions from rows, independently of the decoder: one row, an operand size, and random registers and addressing forms. */
import type { ParsedRow } from '../../../src/cpu/isa/encoding.ts';
import { CODE } from './layout.ts';
import type { Random } from './random.ts';

export interface Shape {
  readonly parsed: ParsedRow;
  readonly bits: 32 | 64;
  /** Operand size; 0 when the row has none. */
  readonly size: 0 | 16 | 32 | 64;
  readonly memory: boolean;
}

export interface Encoded {
  readonly code: Uint8Array;
  /** Register numbers in ModRM.reg, ModRM.rm (register forms), opcode, VEX.vvvv. */
  readonly reg: number;
  readonly rm: number;
  readonly opcodeRegister: number;
  readonly vvvv: number;
  /** Registers of the effective address, -1 when absent. */
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  /** Sum of displacement and, for RIP-relative operands, the address it is relative to. */
  readonly displacement: bigint;
  /** The effective address is cut to 32 bits. */
  readonly address32: boolean;
  readonly immediate: number;
  readonly repeat: boolean;
}

/** What the caller decides. */
export interface Wishes {
  /** Linear address of the memory operand. */
  readonly target: bigint;
  /** Registers with a value of their own, which effective addresses must not use. */
  readonly reserved: ReadonlySet<number>;
  readonly immediate?: number;
  /** Register for ModRM.reg. */
  readonly repeat?: boolean;
}

const little = (value: bigint, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn));

/** ModRM, SIB and displacement of a memory operand; `value` is chosen so that the address works out with any register contents. */
interface Address {
  readonly bytes: number[];
  readonly rex: number;
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly displacement: bigint;
  readonly relative: boolean;
}

const free = (random: Random, count: number, reserved: ReadonlySet<number>, not: (n: number) => boolean): number => {
  for (;;) {
    const n = random.below(count);
    if (!reserved.has(n) && !not(n)) return n;
  }
};

const address = (random: Random, regField: number, bits: 32 | 64, wishes: Wishes): Address => {
  const registers = bits === 64 ? 16 : 8;
  const reg = (regField & 7) << 3;
  const kind = random.below(bits === 64 ? 5 : 4);
  const mod = random.below(3);
  const displacement = mod === 0 ? 0n : mod === 1 ? BigInt(random.u8() - 128) : BigInt(random.u32() | 0);
  const tail = mod === 0 ? [] : little(BigInt.asUintN(32, displacement), mod === 1 ? 1 : 4);
  if (kind === 4) {
    // RIP-relative: the displacement is filled in when the length is known.
    return { bytes: [reg | 5, 0, 0, 0, 0], rex: 0, base: -1, index: -1, scale: 0, displacement: 0n, relative: true };
  }
  if (kind === 3) {
    const index = random.once(2) ? -1 : free(random, registers, wishes.reserved, (n) => n === 4);
    const scale = index < 0 ? 0 : random.below(4);
    if (index < 0) {
      const bytes = [reg | 4, 0x25, ...little(wishes.target, 4)];
      return { bytes, rex: 0, base: -1, index, scale, displacement: wishes.target, relative: false };
    }
    const d = BigInt(random.u32() | 0) & ~7n;
    // The index alone makes up the rest, so the rest must be a multiple of the scale.
    const fitted = d + ((wishes.target - d) & 7n);
    const bytes = [
      reg | 4,
      (scale << 6) | ((index & 7) << 3) | 5,
      ...little(BigInt.asUintN(32, BigInt.asIntN(32, fitted)), 4),
    ];
    return {
      bytes,
      rex: (index >> 3) << 1,
      base: -1,
      index,
      scale,
      displacement: BigInt.asIntN(32, fitted),
      relative: false,
    };
  }
  if (kind === 2) {
    const base = free(random, registers, wishes.reserved, (n) => mod === 0 && (n & 7) === 5);
    const index = random.once(4) ? -1 : free(random, registers, wishes.reserved, (n) => n === 4 || n === base);
    const scale = random.below(4);
    const sib = (scale << 6) | ((index < 0 ? 4 : index & 7) << 3) | (base & 7);
    const rex = (base >> 3) | (index < 0 ? 0 : (index >> 3) << 1);
    return { bytes: [(mod << 6) | reg | 4, sib, ...tail], rex, base, index, scale, displacement, relative: false };
  }
  const base = free(random, registers, wishes.reserved, (n) => (n & 7) === 4 || (mod === 0 && (n & 7) === 5));
  return {
    bytes: [(mod << 6) | reg | (base & 7), ...tail],
    rex: base >> 3,
    base,
    index: -1,
    scale: 0,
    displacement,
    relative: false,
  };
};

const MANDATORY = { NP: 0, '66': 1, F3: 2, F2: 3 } as const;
const PREFIX_BYTE = { '66': 0x66, F3: 0xf3, F2: 0xf2 } as const;

/** Bytes of the immediate or relative operand. */
const immediateBytes = (width: string, size: number): number => {
  if (width === 'b') return 1;
  if (width === 'w') return 2;
  if (width === 'v') return size / 8;
  return size === 16 ? 2 : 4;
};

export const encodeRow = (random: Random, shape: Shape, wishes: Wishes): Encoded => {
  const { parsed, bits, size, memory } = shape;
  const { encoding, row, operands } = parsed;
  const prefixes: number[] = [];
  const repeat = wishes.repeat ?? false;
  const registers = bits === 64 ? 16 : 8;
  let address32 = bits === 32;
  const addressed = memory || row.rep !== undefined;
  if (bits === 64 && addressed && random.once(8) && !operands.some((o) => o.letter === 'O')) {
    prefixes.push(0x67);
    address32 = true;
  }
  if (memory && row.lock === true && random.once(4)) prefixes.push(0xf0);
  if (memory && bits === 32 && random.once(8)) prefixes.push(random.pick([0x26, 0x2e, 0x36, 0x3e]));
  if (memory && bits === 64 && random.once(16)) prefixes.push(random.pick([0x26, 0x2e, 0x36, 0x3e]));
  if (repeat) prefixes.push(random.pick([0xf2, 0xf3]));
  if (!encoding.vex) {
    if (size === 16 && encoding.prefix !== '66') prefixes.push(0x66);
    if (encoding.prefix !== undefined && encoding.prefix !== 'NP') prefixes.push(PREFIX_BYTE[encoding.prefix]);
    for (let i = prefixes.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [prefixes[i], prefixes[j]] = [prefixes[j]!, prefixes[i]!];
    }
  }
  const reg = encoding.digit ?? random.below(registers);
  const mmx = operands.some((o) => 'PQN'.includes(o.letter));
  const rm = random.below(mmx && operands.some((o) => 'QN'.includes(o.letter)) ? 8 : registers);
  let opcodeRegister = encoding.plusR ? random.below(registers) : 0;
  if (row.name === 'XCHG' && encoding.opcode === 0x90 && opcodeRegister === 0) opcodeRegister = 1;
  const vvvv = operands.some((o) => o.letter === 'B') ? random.below(registers) : 0;
  const implied = row.size64 !== undefined && bits === 64;
  const wide = row.wide === true || (size === 64 && !implied);
  let rex = wide ? 8 : 0;
  const body: number[] = [];
  let place: Address | undefined;
  if (encoding.hasModrm) {
    if (encoding.modrm !== undefined) body.push(encoding.modrm);
    else if (memory) {
      place = address(random, reg, bits, wishes);
      rex |= place.rex | (encoding.digit === undefined ? (reg >> 3) << 2 : 0);
      body.push(...place.bytes);
    } else {
      body.push(0xc0 | ((reg & 7) << 3) | (rm & 7));
      rex |= (rm >> 3) | (encoding.digit === undefined ? (reg >> 3) << 2 : 0);
    }
  } else if (encoding.plusR) rex |= opcodeRegister >> 3;
  let immediate = 0;
  const tail: number[] = [];
  for (const o of operands) {
    if (o.letter === 'O') {
      tail.push(...little(wishes.target, bits === 64 && !address32 ? 8 : 4));
      continue;
    }
    if (o.letter !== 'I' && o.letter !== 'J') continue;
    const bytes = immediateBytes(o.width, size === 0 ? 32 : size);
    let value = BigInt(random.u32());
    if (random.once(3)) value = BigInt(random.pick([0, 1, -1, 0x7f, 0x80, 0x8000, -0x8000_0000, 31, 32, 33]));
    if (bytes === 8) value = (value << 32n) | BigInt(random.u32());
    // Not into the instruction itself.
    if (o.letter === 'J') value = bytes > 1 ? BigInt(random.below(1000) - 520) : BigInt(random.below(230) - 120);
    if (o.letter === 'J' && value < 0n && value > -20n) value = -20n;
    if (wishes.immediate !== undefined) value = BigInt(wishes.immediate);
    immediate = Number(BigInt.asUintN(32, value));
    tail.push(...little(BigInt.asUintN(64, value), bytes));
  }
  const head = [...prefixes];
  if (encoding.vex) {
    const w = size === 64 ? 0x80 : 0;
    head.push(
      0xc4,
      ((~rex & 7) << 5) | encoding.map,
      w | ((~vvvv & 15) << 3) | MANDATORY[encoding.prefix ?? 'NP'],
      encoding.opcode,
    );
  } else {
    if (rex !== 0 || (bits === 64 && random.once(4))) head.push(0x40 | rex);
    if (encoding.map >= 1) head.push(0x0f);
    if (encoding.map === 2) head.push(0x38);
    if (encoding.map === 3) head.push(0x3a);
    head.push(encoding.opcode | (opcodeRegister & 7));
  }
  const code = Uint8Array.from([...head, ...body, ...tail]);
  let displacement = place?.displacement ?? 0n;
  if (place?.relative === true) {
    const next = CODE + BigInt(code.length);
    code.set(little(BigInt.asUintN(32, wishes.target - next), 4), head.length + 1);
    displacement = wishes.target;
  }
  return {
    code,
    reg: reg & 15,
    rm,
    opcodeRegister,
    vvvv,
    base: place?.base ?? -1,
    index: place?.index ?? -1,
    scale: place?.scale ?? 0,
    displacement,
    address32,
    immediate,
    repeat,
  };
};
