/** Segment registers and the instructions that ask about selectors. */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import * as S from '../state.ts';
import { CR4_FSGSBASE } from '../system/control.ts';
import { canonical, isProtected, selectorOf } from '../system/descriptor.ts';
import { fault, GP, UD } from '../system/fault.ts';
import { accessRights, segmentLimit, verify } from '../system/inspect.ts';
import { loadSegment } from '../system/segment-load.ts';
import { currentStack, mergeSp, peek, push } from '../system/stack.ts';
import { c32, type Val } from '../wasm/value.ts';
import { readFarPointer, readWord, setZero, slotOf } from './operands.ts';
import { insn, type Meaning, type Row, type RowOptions, routine } from './row.ts';

/** MOV SS and POP SS hold interrupts and debug traps off for one instruction. */
const MOV_SS = 2;

const movToSegment = (cpu: Cpu, insn: Insn): undefined => {
  const n = insn.reg & 7;
  if (n === S.CS || n > S.GS) throw fault(UD);
  loadSegment(cpu, n, readWord(cpu, insn));
  if (n === S.SS) cpu.set32(S.SHADOW, MOV_SS);
};

/** Six registers: the decoder knows no others. */
const movFromSegment: Meaning = (s, to, register) => {
  const { f } = s;
  // REX.R does not count.
  const n = f.op('i32.and', f.op('i32.wrap_i64', register.get()), c32(7));
  const selector = (segment: number): Val => f.op('i32.and', s.state32(S.seg(segment) + S.SEG_SELECTOR), c32(0xffff));
  let value = selector(S.ES);
  for (let segment = S.CS; segment <= S.GS; segment++)
    value = f.select(f.op('i32.eq', n, c32(segment)), selector(segment), value);
  to.set(f.op('i64.extend_i32_u', value));
};

const pushSegment = (name: string, encoding: string, n: number, options: RowOptions): Row =>
  routine(`PUSH ${name}`, encoding, '', options, (cpu, insn) => {
    push(cpu, slotOf(insn), BigInt(selectorOf(cpu, n)));
    return undefined;
  });

const popSegment = (name: string, encoding: string, n: number, options: RowOptions): Row =>
  routine(`POP ${name}`, encoding, '', { ...options, ends: true }, (cpu, insn) => {
    const slot = slotOf(insn);
    const stack = currentStack(cpu);
    const selector = Number(peek(cpu, 0, slot) & 0xffffn);
    const sp = mergeSp(cpu, stack, stack.sp + BigInt(slot));
    loadSegment(cpu, n, selector);
    cpu.set64(S.gpr(S.RSP), sp);
    if (n === S.SS) cpu.set32(S.SHADOW, MOV_SS);
    return undefined;
  });

const loadPointer = (name: string, encoding: string, n: number, options: RowOptions): Row =>
  routine(name, encoding, 'Gv,Mp', { ...options, ends: true }, (cpu, insn) => {
    const { offset, selector } = readFarPointer(cpu, insn);
    loadSegment(cpu, n, selector);
    cpu.setGpr(insn.reg, offset, insn.operandSize);
    return undefined;
  });

const inProtectedMode = (cpu: Cpu): void => {
  if (!isProtected(cpu)) throw fault(UD);
};

const query =
  (ask: (cpu: Cpu, selector: number) => number | undefined) =>
  (cpu: Cpu, insn: Insn): undefined => {
    inProtectedMode(cpu);
    const answer = ask(cpu, readWord(cpu, insn));
    if (answer !== undefined) cpu.setGpr(insn.reg, BigInt(answer), insn.operandSize);
    setZero(cpu, answer !== undefined);
  };

const verification =
  (write: boolean) =>
  (cpu: Cpu, insn: Insn): undefined => {
    inProtectedMode(cpu);
    setZero(cpu, verify(cpu, readWord(cpu, insn), write));
  };

const arpl = (cpu: Cpu, insn: Insn): undefined => {
  inProtectedMode(cpu);
  const rpl = cpu.get16(S.gpr(insn.reg)) & 3;
  const at = insn.memory === undefined ? undefined : cpu.effectiveAddress(insn, 2, true);
  const selector = at === undefined ? cpu.get16(S.gpr(insn.rm)) : cpu.readLinear16(at);
  const raised = (selector & 3) < rpl;
  if (raised) {
    const value = (selector & ~3) | rpl;
    if (at === undefined) cpu.set16(S.gpr(insn.rm), value);
    else cpu.writeLinear16(at, value);
  }
  setZero(cpu, raised);
};

/** RDFSBASE and its kin: #UD without CR4.FSGSBASE; a base that is not canonical is #GP(0). */
const readBase =
  (n: number) =>
  (cpu: Cpu, insn: Insn): undefined => {
    if ((cpu.get32(S.CR4) & CR4_FSGSBASE) === 0) throw fault(UD);
    cpu.setGpr(insn.rm, cpu.get64(S.seg(n)), insn.operandSize === 64 ? 64 : 32);
  };
const writeBase =
  (n: number) =>
  (cpu: Cpu, insn: Insn): undefined => {
    if ((cpu.get32(S.CR4) & CR4_FSGSBASE) === 0) throw fault(UD);
    const value = insn.operandSize === 64 ? cpu.gpr(insn.rm) : cpu.gpr(insn.rm) & 0xffff_ffffn;
    if (!canonical(value)) throw fault(GP, 0);
    cpu.set64(S.seg(n), value);
  };

const swapgs = (cpu: Cpu): undefined => {
  if (cpu.cpl !== 0) throw fault(GP, 0);
  const base = cpu.get64(S.seg(S.GS));
  cpu.set64(S.seg(S.GS), cpu.get64(S.KERNEL_GS_BASE));
  cpu.set64(S.KERNEL_GS_BASE, base);
};

export const segmentRows: readonly Row[] = [
  insn('MOV', '8C /r', 'Rv,Sw', {}, movFromSegment),
  insn('MOV', '8C /r', 'Mw,Sw', {}, movFromSegment),
  routine('MOV', '8E /r', 'Sw,Ew', { ends: true }, movToSegment),
  pushSegment('ES', '06', S.ES, { not64: true }),
  pushSegment('CS', '0E', S.CS, { not64: true }),
  pushSegment('SS', '16', S.SS, { not64: true }),
  pushSegment('DS', '1E', S.DS, { not64: true }),
  pushSegment('FS', '0F A0', S.FS, { size64: 'd64' }),
  pushSegment('GS', '0F A8', S.GS, { size64: 'd64' }),
  popSegment('ES', '07', S.ES, { not64: true }),
  popSegment('SS', '17', S.SS, { not64: true }),
  popSegment('DS', '1F', S.DS, { not64: true }),
  popSegment('FS', '0F A1', S.FS, { size64: 'd64' }),
  popSegment('GS', '0F A9', S.GS, { size64: 'd64' }),
  loadPointer('LES', 'C4 /rm', S.ES, { not64: true }),
  loadPointer('LDS', 'C5 /rm', S.DS, { not64: true }),
  loadPointer('LSS', '0F B2 /rm', S.SS, {}),
  loadPointer('LFS', '0F B4 /rm', S.FS, {}),
  loadPointer('LGS', '0F B5 /rm', S.GS, {}),
  routine('LAR', '0F 02 /r', 'Gv,Ew', {}, query(accessRights)),
  routine('LSL', '0F 03 /r', 'Gv,Ew', {}, query(segmentLimit)),
  routine('VERR', '0F 00 /4', 'Ew', { ref: 'sdm:VERR/VERW' }, verification(false)),
  routine('VERW', '0F 00 /5', 'Ew', { ref: 'sdm:VERR/VERW' }, verification(true)),
  routine('ARPL', '63 /r', 'Ew,Gw', { not64: true }, arpl),
  routine('SWAPGS', '0F 01 /F8', '', { only64: true }, swapgs),
  routine('RDFSBASE', 'F3 0F AE /0r', 'Ry', { only64: true, ref: 'sdm:RDFSBASE/RDGSBASE' }, readBase(S.FS)),
  routine('RDGSBASE', 'F3 0F AE /1r', 'Ry', { only64: true, ref: 'sdm:RDFSBASE/RDGSBASE' }, readBase(S.GS)),
  routine('WRFSBASE', 'F3 0F AE /2r', 'Ry', { only64: true, ref: 'sdm:WRFSBASE/WRGSBASE' }, writeBase(S.FS)),
  routine('WRGSBASE', 'F3 0F AE /3r', 'Ry', { only64: true, ref: 'sdm:WRFSBASE/WRGSBASE' }, writeBase(S.GS)),
];
