/**
 * Instruction decoder: bytes to an {@link Insn}, by tables built from the rows (key `sdm:2 "Instruction Format"`).
 */
import { type OperandSpec, opcodePlace, type ParsedRow, PLACE_PLUS_R, parseRow } from '../isa/encoding.ts';
import { mayBeVector } from '../isa/index.ts';
import { knownRows, parsedRow } from '../isa/plan.ts';
import { forcedEmulationRow } from '../isa/system.ts';
import * as S from '../state.ts';
import { type Insn, type MemoryOperand, plainInsn } from './insn.ts';

export type CodeSize = 16 | 32 | 64;

/** Decoded instruction with the row's parsed form. */
export interface Decoded extends Insn {
  readonly parsed: ParsedRow;
}

/** No instruction: the bytes mean nothing to this processor (#UD), or more bytes are needed, or it is over 15 bytes long (#GP). */
export type DecodeResult = Decoded | 'undefined' | 'more' | 'long';

const MAX_LENGTH = 15;

/** A row that names its prefix, its ModRM byte or its digit is more specific than one that does not. */
const rank = ({ encoding }: ParsedRow): number =>
  (encoding.prefix === undefined ? 4 : 0) +
  (encoding.modrm === undefined ? 2 : 0) +
  (encoding.digit === undefined ? 1 : 0);

/** Finds the rows of an opcode; only those are read. */
class OpcodeIndex {
  readonly vectors: boolean;
  /** By {@link opcodePlace}: 1 + the last link of a chain; a link names a row by its position, and the link before it. */
  private readonly heads = new Uint16Array(2048);
  private readonly positions: number[] = [];
  private readonly before: number[] = [];
  private readonly found: (readonly ParsedRow[] | undefined)[] = [];

  constructor(vectors: boolean) {
    this.vectors = vectors;
    knownRows(vectors).forEach(({ encoding }, position) => {
      const place = opcodePlace(encoding);
      for (let i = (place & PLACE_PLUS_R) === 0 ? 1 : 8, at = place & 0x7ff; i > 0; i--, at++) {
        this.before.push(this.heads[at]);
        this.positions.push(position);
        this.heads[at] = this.positions.length;
      }
    });
  }

  /** Most specific first. */
  rowsOf(place: number): readonly ParsedRow[] {
    const known = this.found[place];
    if (known !== undefined) return known;
    const rows: ParsedRow[] = [];
    for (let link = this.heads[place]; link !== 0; link = this.before[link - 1])
      rows.unshift(parsedRow(this.positions[link - 1]));
    if (rows.length > 1) rows.sort((a, b) => rank(a) - rank(b));
    this.found[place] = rows;
    return rows;
  }
}

let index: OpcodeIndex | undefined;

/** Candidates for an opcode. Most guests begin without vector rows, which are made when one of them may be meant. */
const candidatesFor = (vex: boolean, map: number, opcode: number): readonly ParsedRow[] => {
  if (index === undefined || (!index.vectors && (vex || mayBeVector(map, opcode))))
    index = new OpcodeIndex(vex || mayBeVector(map, opcode));
  return index.rowsOf((((vex ? 4 : 0) + map) << 8) | opcode);
};

const FORCED_EMULATION_PREFIX = [0x0f, 0x0b, 0x78, 0x65, 0x6e];
const parsedForcedEmulation = parseRow(forcedEmulationRow);
const forcedEmulation = (codeSize: CodeSize): Decoded => ({
  ...plainInsn(forcedEmulationRow, FORCED_EMULATION_PREFIX.length, codeSize),
  parsed: parsedForcedEmulation,
});

const SEGMENT_PREFIX: Readonly<Record<number, number>> = {
  0x26: S.ES,
  0x2e: S.CS,
  0x36: S.SS,
  0x3e: S.DS,
  0x64: S.FS,
  0x65: S.GS,
};

const BASE16 = [S.RBX, S.RBX, S.RBP, S.RBP, S.RSI, S.RDI, S.RBP, S.RBX];
const INDEX16 = [S.RSI, S.RDI, S.RSI, S.RDI, -1, -1, -1, -1];

export class Decoder {
  private readonly forcedEmulation: boolean;
  private real = false;
  private bytes: Uint8Array = new Uint8Array(0);
  private start = 0;
  private at = 0;
  private end = 0;
  private short = false;
  /** Of the instruction decoded last: bytes before its displacement and immediates, and bytes of its displacement. */
  structure = 0;
  displacementBytes = 0;

  constructor(options: { forcedEmulation: boolean }) {
    this.forcedEmulation = options.forcedEmulation;
  }

  private u8(): number {
    if (this.at >= this.end) {
      this.short = true;
      return 0;
    }
    return this.bytes[this.at++];
  }
  private u16(): number {
    const low = this.u8();
    return low | (this.u8() << 8);
  }
  private s32(): number {
    const low = this.u16();
    return low | (this.u16() << 16);
  }
  private s8(): number {
    return (this.u8() << 24) >> 24;
  }
  private s16(): number {
    return (this.u16() << 16) >> 16;
  }

  private get tooLong(): boolean {
    return this.at - this.start > MAX_LENGTH || (this.short && this.at - this.start >= MAX_LENGTH);
  }

  /** Decodes at `at`; bytes from `end` on are not available. `real`: real or virtual-8086 mode. */
  decode(bytes: Uint8Array, at: number, end: number, codeSize: CodeSize, real = false): DecodeResult {
    this.real = real;
    this.bytes = bytes;
    this.start = at;
    this.at = at;
    this.end = Math.min(end, at + MAX_LENGTH);
    this.short = false;
    const limited = end - at >= MAX_LENGTH;
    const result = this.instruction(codeSize);
    if (this.short) return limited ? 'long' : 'more';
    return this.tooLong ? 'long' : result;
  }

  private isForcedEmulation(): boolean {
    for (const [i, byte] of FORCED_EMULATION_PREFIX.entries()) {
      if (this.at + i >= this.end) {
        // The rest is in the next page.
        this.short = true;
        return false;
      }
      if (this.bytes[this.at + i] !== byte) return false;
    }
    this.at += FORCED_EMULATION_PREFIX.length;
    return true;
  }

  private instruction(codeSize: CodeSize): DecodeResult {
    if (this.forcedEmulation && this.isForcedEmulation()) return forcedEmulation(codeSize);
    let operand66 = false,
      address67 = false,
      lock = false;
    let repeat: 0 | 0xf2 | 0xf3 = 0;
    let segmentOverride = -1;
    let rex = 0;
    let opcode: number;
    for (;;) {
      opcode = this.u8();
      if (this.short) return 'more';
      if (opcode === 0x66) operand66 = true;
      else if (opcode === 0x67) address67 = true;
      else if (opcode === 0xf0) lock = true;
      else if (opcode === 0xf2 || opcode === 0xf3) repeat = opcode;
      else if (SEGMENT_PREFIX[opcode] !== undefined) {
        const segment = SEGMENT_PREFIX[opcode];
        if (codeSize !== 64 || segment >= S.FS) segmentOverride = segment;
      } else if (codeSize === 64 && (opcode & 0xf0) === 0x40) {
        rex = opcode;
        continue;
      } else break;
      rex = 0;
    }
    let map = 0;
    let vex = false;
    let vexW = 0,
      vexL = 0,
      vvvv = 0;
    let vvvvUnused = true;
    let vexPrefix: 'NP' | '66' | 'F3' | 'F2' = 'NP';
    if (opcode === 0x0f) {
      map = 1;
      opcode = this.u8();
      if (opcode === 0x38 || opcode === 0x3a) {
        map = opcode === 0x38 ? 2 : 3;
        opcode = this.u8();
      }
    } else if (
      (opcode === 0xc4 || opcode === 0xc5) &&
      this.at < this.end &&
      (codeSize === 64 || this.bytes[this.at] >= 0xc0)
    ) {
      if (this.real || operand66 || repeat !== 0 || lock || rex !== 0) return 'undefined';
      vex = true;
      let p = this.u8();
      rex = 0x40 | ((p & 0x80) === 0 ? 4 : 0);
      map = 1;
      if (opcode === 0xc4) {
        rex |= ((p & 0x40) === 0 ? 2 : 0) | ((p & 0x20) === 0 ? 1 : 0);
        map = p & 0x1f;
        p = this.u8();
        vexW = p >> 7;
        if (map < 1 || map > 3) return this.short ? 'more' : 'undefined';
      }
      vvvv = (~p >> 3) & 15;
      vvvvUnused = vvvv === 0;
      if (codeSize !== 64) {
        vvvv &= 7;
        rex = 0x40;
      }
      vexL = (p >> 2) & 1;
      vexPrefix = (['NP', '66', 'F3', 'F2'] as const)[p & 3];
      if (vexW === 1 && codeSize === 64) rex |= 8;
      opcode = this.u8();
    }
    if (this.short) return 'more';
    const candidates = candidatesFor(vex, map, opcode);
    if (candidates.length === 0) return 'undefined';
    const mandatory = vex ? vexPrefix : repeat === 0xf3 ? 'F3' : repeat === 0xf2 ? 'F2' : operand66 ? '66' : 'NP';
    let modrm = -1;
    if (candidates.some((c) => c.encoding.hasModrm)) {
      if (this.at >= this.end) {
        this.short = true;
        return 'more';
      }
      modrm = this.bytes[this.at];
    }
    const parsed = candidates.find((c) =>
      this.matches(c, opcode, map, mandatory, modrm, codeSize, rex, vex, vexL, vexW),
    );
    if (parsed === undefined) return 'undefined';
    const { row, encoding } = parsed;
    // VEX.vvvv that names nothing must be all ones.
    if (!vvvvUnused && !parsed.operands.some((o) => o.letter === 'B')) return 'undefined';
    const vexWide = vex && encoding.vexW === undefined && vexW === 1 && codeSize === 64;
    let operandSize: 16 | 32 | 64 = codeSize === 16 ? (operand66 ? 32 : 16) : operand66 ? 16 : 32;
    if (vex) operandSize = vexWide ? 64 : 32;
    else if (codeSize === 64) {
      if ((rex & 8) !== 0) operandSize = 64;
      else if (row.size64 === 'f64') operandSize = 64;
      else if (row.size64 === 'd64') operandSize = operand66 ? 16 : 64;
    }
    if (encoding.prefix === '66' && operandSize === 16) operandSize = 32;
    const addressSize: 16 | 32 | 64 =
      codeSize === 64 ? (address67 ? 32 : 64) : (codeSize === 16) !== address67 ? 16 : 32;
    let memory: MemoryOperand | undefined;
    let reg = 0,
      rm = 0;
    this.displacementBytes = 0;
    this.structure = this.at - this.start;
    if (encoding.hasModrm) {
      this.at++;
      this.structure++;
      reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
      rm = (modrm & 7) | ((rex & 1) << 3);
      const ignoresMod = parsed.operands.some((o) => o.letter === 'C' || o.letter === 'D');
      if (modrm < 0xc0 && !ignoresMod) {
        memory = this.memoryOperand(modrm, rex, addressSize, codeSize, segmentOverride);
        this.displacementBytes = this.at - this.start - this.structure;
      }
      for (const o of parsed.operands) {
        if (o.letter === 'S' && ((reg & 7) > 5 || (opcode === 0x8e && (reg & 7) === 1))) return 'undefined';
        if (o.letter === 'C' && reg !== 0 && reg !== 2 && reg !== 3 && reg !== 4 && (reg !== 8 || codeSize !== 64))
          return 'undefined';
        if (o.letter === 'D' && reg > 7) return 'undefined';
      }
    }
    if (lock && !(row.lock === true && memory !== undefined)) return 'undefined';
    let immediate = 0n,
      immediate2 = 0;
    let first = true;
    for (const o of parsed.operands) {
      if (o.letter === 'O') {
        memory = this.absoluteOffset(addressSize, segmentOverride);
        continue;
      }
      if (o.letter !== 'I' && o.letter !== 'J' && o.letter !== 'A') continue;
      if (first) immediate = this.immediate(o, operandSize);
      else immediate2 = o.width === 'w' ? this.u16() : this.u8();
      if (o.letter === 'A') immediate2 = this.u16();
      first = false;
    }
    return {
      parsed,
      row,
      length: this.at - this.start,
      operandSize,
      addressSize,
      codeSize,
      reg,
      rm,
      rex: rex !== 0,
      vvvv,
      memory,
      immediate,
      immediate2,
      repeat,
      lock,
      opcodeRegister: (opcode & 7) | ((rex & 1) << 3),
      ...(memory === undefined && this.stringSegment(row.rep !== undefined, segmentOverride)),
    };
  }

  /** String instructions carry their source segment in a memory operand without registers. */
  private stringSegment(isString: boolean, segmentOverride: number): { memory: MemoryOperand } | undefined {
    if (!isString) return undefined;
    return {
      memory: {
        segment: segmentOverride < 0 ? S.DS : segmentOverride,
        base: -1,
        index: -1,
        scale: 0,
        displacement: 0n,
      },
    };
  }

  private matches(
    c: ParsedRow,
    opcode: number,
    map: number,
    mandatory: string,
    modrm: number,
    codeSize: CodeSize,
    rex: number,
    vex: boolean,
    vexL: number,
    vexW: number,
  ): boolean {
    const { encoding, row } = c;
    if (encoding.prefix !== undefined && encoding.prefix !== mandatory) return false;
    if (row.not64 === true && codeSize === 64) return false;
    if (row.only64 === true && codeSize !== 64) return false;
    if (row.wide !== undefined && row.wide !== (codeSize === 64 && (rex & 8) !== 0)) return false;
    if (vex && (vexL !== 0 || (encoding.vexW !== undefined && codeSize === 64 && encoding.vexW !== vexW))) return false;
    if (row.repPrefix === 'invalid' && (mandatory === 'F3' || mandatory === 'F2') && encoding.prefix === undefined)
      return false;
    // 90 is NOP; with REX.B it exchanges rAX and r8.
    if (map === 0 && opcode === 0x90 && encoding.plusR !== ((rex & 1) !== 0)) return false;
    if (!encoding.hasModrm) return true;
    if (encoding.modrm !== undefined) return encoding.modrm === modrm;
    if (encoding.digit !== undefined && encoding.digit !== ((modrm >> 3) & 7)) return false;
    if (c.operands.some((o) => o.letter === 'C' || o.letter === 'D')) return true;
    return modrm >= 0xc0 ? c.registerForm : c.memoryForm;
  }

  private memoryOperand(
    modrm: number,
    rex: number,
    addressSize: 16 | 32 | 64,
    codeSize: CodeSize,
    segmentOverride: number,
  ): MemoryOperand {
    const mod = modrm >> 6,
      low = modrm & 7;
    let base: number,
      index = -1,
      scale = 0,
      displacement = 0;
    if (addressSize === 16) {
      base = BASE16[low];
      index = INDEX16[low];
      if (mod === 0 && low === 6) {
        base = -1;
        displacement = this.s16();
      }
      if (mod === 1) displacement = this.s8();
      else if (mod === 2) displacement = this.s16();
    } else {
      base = low | ((rex & 1) << 3);
      if (low === 4) {
        const sib = this.u8();
        this.structure++;
        base = (sib & 7) | ((rex & 1) << 3);
        index = ((sib >> 3) & 7) | ((rex & 2) << 2);
        scale = sib >> 6;
        if (index === 4) {
          index = -1;
          scale = 0;
        }
        if ((sib & 7) === 5 && mod === 0) {
          base = -1;
          displacement = this.s32();
        }
      } else if (low === 5 && mod === 0) {
        displacement = this.s32();
        base = codeSize === 64 ? 16 : -1;
      }
      if (mod === 1) displacement = this.s8();
      else if (mod === 2) displacement = this.s32();
    }
    const segment = segmentOverride >= 0 ? segmentOverride : base === S.RSP || base === S.RBP ? S.SS : S.DS;
    return { segment, base, index, scale, displacement: BigInt(displacement) };
  }

  private absoluteOffset(addressSize: 16 | 32 | 64, segmentOverride: number): MemoryOperand {
    let displacement: bigint;
    if (addressSize === 16) displacement = BigInt(this.u16());
    else if (addressSize === 32) displacement = BigInt(this.s32() >>> 0);
    else {
      const low = BigInt(this.s32() >>> 0);
      displacement = (BigInt(this.s32() >>> 0) << 32n) | low;
    }
    return { segment: segmentOverride < 0 ? S.DS : segmentOverride, base: -1, index: -1, scale: 0, displacement };
  }

  private immediate(o: OperandSpec, operandSize: 16 | 32 | 64): bigint {
    switch (o.width) {
      case 'b':
        return BigInt(this.s8());
      case 'w':
        return BigInt(this.s16());
      case 'd':
        return BigInt(this.s32());
      case 'v':
        if (operandSize === 64) {
          const low = BigInt(this.s32() >>> 0);
          return (BigInt(this.s32()) << 32n) | low;
        }
        return BigInt(operandSize === 16 ? this.s16() : this.s32());
      case 'p':
        return BigInt(operandSize === 16 ? this.u16() : this.s32() >>> 0);
      default:
        return BigInt(operandSize === 16 ? this.s16() : this.s32());
    }
  }
}
