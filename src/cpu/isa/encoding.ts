/** Reads the encoding and operand notation of rows (see row.ts) into fields the decoder and the generators use. */
import type { Row } from './row.ts';

/** Opcode maps: one-byte, 0F, 0F 38, 0F 3A. */
export type OpcodeMap = 0 | 1 | 2 | 3;
/** Mandatory prefix: undefined when the row does not care. */
export type Mandatory = 'NP' | '66' | 'F3' | 'F2';

export interface Encoding {
  readonly map: OpcodeMap;
  readonly vex: boolean;
  /** VEX.W: 0, 1, or undefined (ignored or chosen by `y`). */
  readonly vexW: 0 | 1 | undefined;
  readonly prefix: Mandatory | undefined;
  readonly opcode: number;
  /** The register is in the low three opcode bits. */
  readonly plusR: boolean;
  readonly hasModrm: boolean;
  /** ModRM.reg must be this. */
  readonly digit: number | undefined;
  readonly form: 'any' | 'reg' | 'mem';
  /** The whole ModRM byte. */
  readonly modrm: number | undefined;
}

export interface OperandSpec {
  /** E M R G Z B I J O S C D V W U P Q N X Y, or 'fixed'. */
  readonly letter: string;
  /** Width code: b w d q v y z dq p, or '' for fixed registers. */
  readonly width: string;
  /** Fixed operand: AL CL DX rAX 1 …. */
  readonly fixed: string | undefined;
}

/** Two hexadecimal digits. Told by hand, here and below: a thousand rows are read at every start. */
const isHex = (word: string): boolean =>
  word.length === 2 && isDigit(word.charCodeAt(0)) && isDigit(word.charCodeAt(1));
const isDigit = (code: number): boolean => (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x46);

/** What may follow the opcode besides ModRM: immediates and displacements, whose sizes the operands tell. */
const TAILS = new Set(['ib', 'iw', 'id', 'iz', 'iv', 'cb', 'cw', 'cd', 'cz', 'cp', 'mo', 'iq']);

export const parseEncoding = (text: string): Encoding => {
  const words = text.split(' ');
  let map: OpcodeMap = 0;
  let vex = false;
  let vexW: 0 | 1 | undefined;
  let prefix: Mandatory | undefined;
  let at = 0;
  if (words[0].startsWith('VEX.')) {
    const [, , pp, mm, w] = words[0].split('.');
    vex = true;
    prefix = pp as Mandatory;
    map = mm === '0F' ? 1 : mm === '0F38' ? 2 : 3;
    vexW = w === 'W0' ? 0 : w === 'W1' ? 1 : undefined;
    at = 1;
  } else {
    if (
      words[0] === 'NP' ||
      ((words[0] === '66' || words[0] === 'F3' || words[0] === 'F2') && words[1]?.startsWith('0F'))
    ) {
      prefix = words[0] as Mandatory;
      at = 1;
    } else if ((words[0] === 'F3' || words[0] === 'F2') && words.length > 1 && isHex(words[1].slice(0, 2))) {
      prefix = words[0] as Mandatory;
      at = 1;
    }
    if (words[at] === '0F' && words.length > at + 1) {
      at++;
      map = 1;
      if ((words[at] === '38' || words[at] === '3A') && words.length > at + 1 && isHex(words[at + 1].slice(0, 2))) {
        map = words[at] === '38' ? 2 : 3;
        at++;
      }
    }
  }
  const plusR = words[at].endsWith('+r');
  const opcode = Number.parseInt(words[at].slice(0, 2), 16);
  at++;
  let hasModrm = false;
  let digit: number | undefined;
  let form: Encoding['form'] = 'any';
  let modrm: number | undefined;
  for (; at < words.length; at++) {
    const word = words[at];
    if (word.startsWith('/')) {
      hasModrm = true;
      // /r or /digit, then perhaps r or m for the form; /XX is the whole byte.
      const kind = word[2] ?? '';
      if (kind !== '' && kind !== 'r' && kind !== 'm') {
        modrm = Number.parseInt(word.slice(1), 16);
        digit = (modrm >> 3) & 7;
        form = 'reg';
        continue;
      }
      if (word[1] !== 'r') digit = Number(word[1]);
      if (kind === 'r') form = 'reg';
      else if (kind === 'm') form = 'mem';
    } else if (isHex(word)) {
      hasModrm = true;
      modrm = Number.parseInt(word, 16);
      digit = (modrm >> 3) & 7;
      form = modrm >= 0xc0 ? 'reg' : 'mem';
    } else if (!TAILS.has(word)) throw new Error(`row encoding '${text}': '${word}' is not understood`);
  }
  return { map, vex, vexW, prefix, opcode, plusR, hasModrm, digit, form, modrm };
};

const ZERO = 0x30;
const hexDigit = (code: number): number => (code <= 0x39 ? code - ZERO : code - 0x37);
const byteAt = (text: string, at: number): number =>
  (hexDigit(text.charCodeAt(at)) << 4) | hexDigit(text.charCodeAt(at + 1));

/** Set in an {@link opcodePlace} of which the next seven are the row's too. */
export const PLACE_PLUS_R = 0x1_0000;

/**
 * Where the decoder looks for a row: VEX (4) and map in bits 8-10, opcode in bits 0-7. All that is read of rows that no guest has met, so it is
 * read by hand.
 */
export const opcodePlace = (text: string): number => {
  if (text.startsWith('VEX.')) {
    const { map, opcode } = parseEncoding(text);
    return ((4 + map) << 8) | opcode;
  }
  let at = 0;
  const ahead = (word: string): boolean => text.startsWith(word, at);
  if (ahead('NP ') || ahead('66 0F')) at = 3;
  else if ((ahead('F3 ') || ahead('F2 ')) && isHex(text.slice(3, 5))) at = 3;
  let map = 0;
  if (ahead('0F ')) {
    at += 3;
    map = 1;
    if ((ahead('38 ') || ahead('3A ')) && isHex(text.slice(at + 3, at + 5))) {
      map = ahead('38 ') ? 2 : 3;
      at += 3;
    }
  }
  return (text.startsWith('+r', at + 2) ? PLACE_PLUS_R : 0) | (map << 8) | byteAt(text, at);
};

const FIXED = new Set(['AL', 'AX', 'EAX', 'RAX', 'CL', 'DX', 'rAX', '1', '3', 'AH']);

/** Many rows have the same operands. */
const known = new Map<string, readonly OperandSpec[]>([['', []]]);

export const parseOperands = (text: string): readonly OperandSpec[] => {
  let operands = known.get(text);
  if (operands === undefined) {
    operands = text
      .split(',')
      .map((w) =>
        FIXED.has(w) ? { letter: 'fixed', width: '', fixed: w } : { letter: w[0], width: w.slice(1), fixed: undefined },
      );
    known.set(text, operands);
  }
  return operands;
};

/** Row with its notation read. */
export interface ParsedRow {
  readonly row: Row;
  readonly encoding: Encoding;
  readonly operands: readonly OperandSpec[];
  /** ModRM.rm operand exists and may be memory / register. */
  readonly memoryForm: boolean;
  readonly registerForm: boolean;
}

const RM_LETTERS = 'EMRWUQN';

export const parseRow = (row: Row): ParsedRow => {
  const encoding = parseEncoding(row.encoding);
  const operands = parseOperands(row.operands);
  const rm = operands.find((o) => RM_LETTERS.includes(o.letter));
  const onlyMemory = encoding.form === 'mem' || rm?.letter === 'M';
  const onlyRegister = encoding.form === 'reg' || rm?.letter === 'R' || rm?.letter === 'U' || rm?.letter === 'N';
  return {
    row,
    encoding,
    operands,
    memoryForm: encoding.hasModrm && !onlyRegister,
    registerForm: !encoding.hasModrm || !onlyMemory,
  };
};

/** Operand width in bits for an operand size; 0 when the width code says nothing (far pointers, x87 images). */
export const widthBits = (code: string, operandSize: 16 | 32 | 64): number => {
  switch (code) {
    case 'b':
      return 8;
    case 'w':
      return 16;
    case 'd':
    case 'ss':
      return 32;
    case 'q':
    case 'sd':
    case 'pi':
      return 64;
    case 'v':
      return operandSize;
    case 'y':
      return operandSize === 64 ? 64 : 32;
    case 'z':
      return operandSize === 16 ? 16 : 32;
    case 'dq':
    case 'ps':
    case 'pd':
    case 'x':
      return 128;
    default:
      return 0;
  }
};
