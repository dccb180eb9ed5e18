/** SSE4.2 string compares and the masked byte stores: intricate enough to be routines. */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import * as S from '../state.ts';
import { fault, MF, NM, UD } from '../system/fault.ts';
import { type Row, routine } from './row.ts';

const EM = 4,
  TS = 8,
  NE = 0x20,
  OSFXSR = 0x200,
  ES = 0x80;

/** Availability of SSE, as unit.ts emits it. */
const available = (cpu: Cpu): void => {
  const cr0 = cpu.get32(S.CR0);
  if ((cr0 & EM) !== 0 || (cpu.get32(S.CR4) & OSFXSR) === 0) throw fault(UD);
  if ((cr0 & TS) !== 0) throw fault(NM);
};

/** Sixteen bytes as numbers. */
const registerBytes = (cpu: Cpu, at: number, count = 16): number[] =>
  Array.from({ length: count }, (_, i) => cpu.get8(at + i));

const sourceBytes = (cpu: Cpu, insn: Insn): number[] => {
  if (insn.memory === undefined) return registerBytes(cpu, S.xmm(insn.rm));
  const at = cpu.effectiveAddress(insn, 16, false);
  const halves = [cpu.readLinear64(at), cpu.readLinear64(at + 8n)];
  return halves.flatMap((half) => Array.from({ length: 8 }, (_, i) => Number((half >> BigInt(8 * i)) & 0xffn)));
};

const elements = (bytes: readonly number[], words: boolean, signed: boolean): number[] => {
  if (!words) return bytes.map((b) => (signed ? (b << 24) >> 24 : b));
  return Array.from({ length: 8 }, (_, i) => {
    const w = bytes[2 * i] | (bytes[2 * i + 1] << 8);
    return signed ? (w << 16) >> 16 : w;
  });
};

/** Number of valid elements from a length register: its magnitude, at most the number of elements. */
const explicitLength = (cpu: Cpu, index: number, wide: boolean, count: number): number => {
  const value = wide ? BigInt.asIntN(64, cpu.gpr(index)) : BigInt.asIntN(32, cpu.gpr(index));
  const magnitude = value < 0n ? -value : value;
  return magnitude > BigInt(count) ? count : Number(magnitude);
};

const implicitLength = (values: readonly number[]): number => {
  const end = values.indexOf(0);
  return end < 0 ? values.length : end;
};

/** IntRes1: one bit for each element of the second operand (key `sdm:2 "Aggregation Operation"`). */
const aggregate = (mode: number, a: readonly number[], b: readonly number[], la: number, lb: number): number => {
  const n = a.length;
  let result = 0;
  for (let j = 0; j < n; j++) {
    let bit = false;
    switch (mode) {
      case 0:
        bit = j < lb && a.slice(0, la).includes(b[j]);
        break;
      case 1:
        for (let i = 0; i + 1 < la && j < lb; i += 2) bit ||= b[j] >= a[i] && b[j] <= a[i + 1];
        break;
      case 2:
        bit = j < la && j < lb ? a[j] === b[j] : j >= la && j >= lb;
        break;
      default:
        // A substring that runs over the end of the register still matches; one that runs over the end of the string does not.
        bit = true;
        for (let i = 0; i < la && i + j < n; i++) bit &&= i + j < lb && a[i] === b[i + j];
    }
    if (bit) result |= 1 << j;
  }
  return result;
};

const compareStrings = (cpu: Cpu, insn: Insn, explicit: boolean, mask: boolean): undefined => {
  available(cpu);
  const imm = Number(insn.immediate) & 0xff;
  const words = (imm & 1) !== 0,
    signed = (imm & 2) !== 0;
  const a = elements(registerBytes(cpu, S.xmm(insn.reg)), words, signed);
  const b = elements(sourceBytes(cpu, insn), words, signed);
  const n = a.length;
  const wide = insn.operandSize === 64;
  const la = explicit ? explicitLength(cpu, S.RAX, wide, n) : implicitLength(a);
  const lb = explicit ? explicitLength(cpu, S.RDX, wide, n) : implicitLength(b);
  const first = aggregate((imm >> 2) & 3, a, b, la, lb);
  const all = (1 << n) - 1;
  const polarity = (imm >> 4) & 3;
  const result = polarity === 1 ? first ^ all : polarity === 3 ? first ^ ((1 << lb) - 1) : first;
  if (mask) {
    let low = BigInt(result),
      high = 0n;
    if ((imm & 0x40) !== 0) {
      const size = 128 / n;
      let expanded = 0n;
      for (let i = 0; i < n; i++)
        if ((result & (1 << i)) !== 0) expanded |= ((1n << BigInt(size)) - 1n) << BigInt(i * size);
      low = expanded & 0xffff_ffff_ffff_ffffn;
      high = expanded >> 64n;
    }
    cpu.set64(S.XMM, low);
    cpu.set64(S.XMM + 8, high);
  } else {
    const index = result === 0 ? n : (imm & 0x40) !== 0 ? 31 - Math.clz32(result) : 31 - Math.clz32(result & -result);
    cpu.setGpr(S.RCX, BigInt(index));
  }
  const flags = (result !== 0 ? S.CF : 0) | (lb < n ? S.ZF : 0) | (la < n ? S.SF : 0) | ((result & 1) !== 0 ? S.OF : 0);
  cpu.setArithmeticFlags(flags);
  return undefined;
};

const SSE = { unit: 'sse', unaligned: true } as const;

/** MASKMOVQ, MASKMOVDQU: bytes of the first register whose mask byte has its top bit set, to DS:rDI. */
const maskedStore = (cpu: Cpu, insn: Insn, values: readonly number[], masks: readonly number[]): void => {
  const segment = insn.memory?.segment ?? S.DS;
  const start = BigInt.asUintN(insn.addressSize, cpu.gpr(S.RDI));
  const chosen = values.flatMap((value, i) => {
    if ((masks[i] & 0x80) === 0) return [];
    const at = cpu.mem.segmented(segment, BigInt.asUintN(insn.addressSize, start + BigInt(i)), 1, true);
    return [{ at, value }];
  });
  for (const { at } of chosen) cpu.probeLinear(at, 1, true);
  for (const { at, value } of chosen) cpu.writeLinear8(at, value);
};

export const sseStringRows = (): readonly Row[] => [
  routine('PCMPESTRM', '66 0F 3A 60 /r ib', 'Vdq,Wdq,Ib', SSE, (cpu, insn) => compareStrings(cpu, insn, true, true)),
  routine('PCMPESTRI', '66 0F 3A 61 /r ib', 'Vdq,Wdq,Ib', SSE, (cpu, insn) => compareStrings(cpu, insn, true, false)),
  routine('PCMPISTRM', '66 0F 3A 62 /r ib', 'Vdq,Wdq,Ib', SSE, (cpu, insn) => compareStrings(cpu, insn, false, true)),
  routine('PCMPISTRI', '66 0F 3A 63 /r ib', 'Vdq,Wdq,Ib', SSE, (cpu, insn) => compareStrings(cpu, insn, false, false)),
  // `rep` makes the decoder keep a segment override, as for string instructions; F2 and F3 do not match these encodings.
  routine('MASKMOVDQU', '66 0F F7 /r', 'Vdq,Udq', { unit: 'sse', rep: 'rep' }, (cpu, insn) => {
    available(cpu);
    maskedStore(cpu, insn, registerBytes(cpu, S.xmm(insn.reg)), registerBytes(cpu, S.xmm(insn.rm)));
    return undefined;
  }),
  routine('MASKMOVQ', 'NP 0F F7 /r', 'Pq,Nq', { unit: 'mmx', rep: 'rep' }, (cpu, insn) => {
    const cr0 = cpu.get32(S.CR0);
    if ((cr0 & EM) !== 0) throw fault(UD);
    if ((cr0 & TS) !== 0) throw fault(NM);
    if ((cpu.get16(S.FPU_STATUS) & ES) !== 0 && (cr0 & NE) !== 0) throw fault(MF);
    maskedStore(cpu, insn, registerBytes(cpu, S.fpr(insn.reg & 7), 8), registerBytes(cpu, S.fpr(insn.rm & 7), 8));
    cpu.set16(S.FPU_STATUS, cpu.get16(S.FPU_STATUS) & 0xc7ff);
    cpu.set8(S.FPU_TAG, 0xff);
    return undefined;
  }),
];
