/** Far jumps, calls and returns, software interrupts, and the fast system calls. */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import type { SoftwareKind } from '../ports.ts';
import * as S from '../state.ts';
import { deliverSoftware } from '../system/deliver.ts';
import { returnFar, returnFromInterrupt } from '../system/far-return.ts';
import { transferFar } from '../system/far-transfer.ts';
import { syscall, sysenter, sysexit, sysret } from '../system/fast-call.ts';
import { BP, DB, OFV } from '../system/fault.ts';
import { DELIVER_SOFTWARE } from '../system/plain-delivery.ts';
import { c32, c64 } from '../wasm/value.ts';
import { nextRip, readFarPointer, slotOf } from './operands.ts';
import { type Meaning, type Row, routine, usual } from './row.ts';

const ENDS = { ends: true } as const;
const TRANSFER = { ends: true, alone: true, weight: 6 } as const;
const ENDS_NOT64 = { ends: true, not64: true } as const;

const direct =
  (call: boolean) =>
  (cpu: Cpu, insn: Insn): 'jumped' => {
    transferFar(
      cpu,
      { selector: insn.immediate2 & 0xffff, offset: insn.immediate, slot: slotOf(insn), next: nextRip(cpu, insn) },
      call,
    );
    return 'jumped';
  };

const indirect =
  (call: boolean) =>
  (cpu: Cpu, insn: Insn): 'jumped' => {
    const { offset, selector } = readFarPointer(cpu, insn);
    transferFar(cpu, { selector, offset, slot: slotOf(insn), next: nextRip(cpu, insn) }, call);
    return 'jumped';
  };

const software = (cpu: Cpu, insn: Insn, vector: number, kind: SoftwareKind): 'jumped' => {
  deliverSoftware(cpu, vector, kind, nextRip(cpu, insn));
  return 'jumped';
};

const interrupt: Meaning = (s, vector) => {
  const number = s.f.op('i32.wrap_i64', s.f.op('i64.and', vector.get(), c64(0xff)));
  s.transfer('deliver', s.f.op('i32.or', number, c32(DELIVER_SOFTWARE)));
};

/** 16-bit frames are left to the routine. */
const iret: Meaning = (s) => {
  if (s.width === 16) s.routine();
  else s.transfer('iret', c32(s.width));
};

/** SYSRET without REX.W, to 32-bit code, is left to the routine. */
const fast =
  (name: 'syscall' | 'sysret'): Meaning =>
  (s) => {
    if (name === 'sysret' && s.width !== 64) s.routine();
    else s.transfer(name, c32(0));
  };

export const farRows: readonly Row[] = [
  routine('JMP', 'EA cp', 'Ap', ENDS_NOT64, direct(false)),
  routine('CALL', '9A cp', 'Ap', ENDS_NOT64, direct(true)),
  routine('JMP', 'FF /5m', 'Mp', ENDS, indirect(false)),
  routine('CALL', 'FF /3m', 'Mp', ENDS, indirect(true)),
  routine('RETF', 'CA iw', 'Iw', { ...ENDS, ref: 'sdm:RET' }, (cpu, insn) => {
    returnFar(cpu, slotOf(insn), Number(insn.immediate & 0xffffn));
    return 'jumped';
  }),
  routine('RETF', 'CB', '', { ...ENDS, ref: 'sdm:RET' }, (cpu, insn) => {
    returnFar(cpu, slotOf(insn), 0);
    return 'jumped';
  }),
  usual('IRET', 'CF', '', { ...TRANSFER, sized: true, ref: 'sdm:IRET/IRETD/IRETQ' }, iret, (cpu, insn) => {
    returnFromInterrupt(cpu, slotOf(insn), nextRip(cpu, insn));
    return 'jumped';
  }),
  routine('INT3', 'CC', '', { ...ENDS, ref: 'sdm:INT n/INTO/INT3/INT1' }, (cpu, insn) =>
    software(cpu, insn, BP, 'trap'),
  ),
  usual('INT', 'CD ib', 'Ib', { ...TRANSFER, ref: 'sdm:INT n/INTO/INT3/INT1' }, interrupt, (cpu, insn) =>
    software(cpu, insn, Number(insn.immediate & 0xffn), 'int'),
  ),
  routine('INTO', 'CE', '', { ...ENDS_NOT64, ref: 'sdm:INT n/INTO/INT3/INT1' }, (cpu, insn) =>
    (cpu.eflags & S.OF) === 0 ? undefined : software(cpu, insn, OFV, 'trap'),
  ),
  routine('INT1', 'F1', '', { ...ENDS, ref: 'sdm:INT n/INTO/INT3/INT1' }, (cpu, insn) =>
    software(cpu, insn, DB, 'icebp'),
  ),
  usual('SYSCALL', '0F 05', '', TRANSFER, fast('syscall'), (cpu, insn) => {
    syscall(cpu, nextRip(cpu, insn));
    return 'jumped';
  }),
  usual('SYSRET', '0F 07', '', { ...TRANSFER, sized: true }, fast('sysret'), (cpu, insn) => {
    sysret(cpu, insn.operandSize === 64);
    return 'jumped';
  }),
  routine('SYSENTER', '0F 34', '', ENDS, (cpu, insn) => {
    sysenter(cpu, nextRip(cpu, insn));
    return 'jumped';
  }),
  routine('SYSEXIT', '0F 35', '', ENDS, (cpu, insn) => {
    sysexit(cpu, insn.operandSize === 64);
    return 'jumped';
  }),
];
