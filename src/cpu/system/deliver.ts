/**
 * Delivery of exceptions, interrupts and software interrupts through the interrupt table
 * (key `sdm:3A "Exception and Interrupt Handling"`).
 *
 * A delivery computes and checks everything, writes its stack frame, and only then changes registers; a fault on the way
 * leaves the processor at the interrupted instruction. With a {@link TrapOwner} nothing of this happens: everything is handed to it.
 */
import type { Cpu } from '../cpu.ts';
import type { SoftwareKind } from '../ports.ts';
import * as S from '../state.ts';
import { DR7_GD } from './debug.ts';
import { EXT } from './descriptor.ts';
import { BP, DB, DE, DFV, fault, GP, GuestFault, NP, OFV, PFV, SSV, TS } from './fault.ts';
import { enterThroughGate, enterThroughLongGate } from './gate.ts';
import { DELIVER_CODE, DELIVER_FAULT } from './plain-delivery.ts';
import { currentStack, mergeSp, pushFrame } from './stack.ts';

/** What is being delivered. */
export interface Delivery {
  readonly vector: number;
  /** Error code to push (protected mode only). */
  readonly code: number | undefined;
  /** EXT of faults met on the way: 1 unless a software interrupt is delivered. */
  readonly ext: 0 | 1;
  /** INT n, INT3, INTO: the gate's DPL counts. */
  readonly checksDpl: boolean;
  /** Return offset to save. */
  readonly rip: bigint;
  /** EFLAGS to save. */
  readonly flags: number;
}

const CONTRIBUTORY = new Set<number>([DE, TS, NP, SSV, GP]);

/** Key `sdm:3A "Interrupt 8--Double Fault Exception (#DF)"`: which pairs of faults make a double fault. */
const makesDouble = (first: number, second: number): boolean =>
  first === PFV ? second === PFV || CONTRIBUTORY.has(second) : CONTRIBUTORY.has(first) && CONTRIBUTORY.has(second);

const isFault = (vector: number): boolean => vector !== DB && vector !== BP && vector !== OFV;

/**
 * Delivers an exception of the instruction at RIP. #PF's CR2 is set by then. A fault on the way replaces the exception, makes it a
 * double fault, or ends in shutdown ({@link TrapSink.tripleFault}).
 */
export const deliverException = (cpu: Cpu, vector: number, code: number | undefined): void => {
  if (cpu.owner !== undefined) {
    cpu.delivered = true;
    cpu.owner.exception(cpu, vector, code);
    return;
  }
  const kind = (isFault(vector) ? DELIVER_FAULT : 0) | (code === undefined ? 0 : DELIVER_CODE);
  if (vector !== DB && cpu.deliverPlainly(cpu.base, vector | kind, cpu.rip, code ?? 0) !== 0) {
    cpu.delivered = true;
    return;
  }
  for (;;) {
    // A fault's frame has RF set, so that the instruction breakpoint already reported is not met again.
    const flags = cpu.eflags | (isFault(vector) ? S.RF : 0);
    try {
      enter(cpu, { vector, code, ext: 1, checksDpl: false, rip: cpu.rip, flags });
      if (vector === DB) cpu.set32(S.DR7, cpu.get32(S.DR7) & ~DR7_GD);
      return;
    } catch (e) {
      if (!(e instanceof GuestFault)) throw e;
      if (vector === DFV) {
        cpu.traps.tripleFault(cpu);
        cpu.requestExit();
        return;
      }
      if (makesDouble(vector, e.vector)) {
        vector = DFV;
        code = 0;
      } else ({ vector, code } = e);
    }
  }
};

/** Delivers an external interrupt or NMI between instructions; a fault on the way is delivered instead. */
export const deliverInterrupt = (cpu: Cpu, vector: number): void => {
  if (cpu.owner !== undefined) {
    cpu.delivered = true;
    cpu.owner.interrupt(cpu, vector);
    return;
  }
  if (cpu.deliverPlainly(cpu.base, vector, cpu.rip, 0) !== 0) {
    cpu.delivered = true;
    return;
  }
  try {
    enter(cpu, { vector, code: undefined, ext: 1, checksDpl: false, rip: cpu.rip, flags: cpu.eflags });
  } catch (e) {
    if (!(e instanceof GuestFault)) throw e;
    deliverException(cpu, e.vector, e.code);
  }
};

/**
 * INT n, INT3, INTO and INT1, as a trap that returns to `next`. Throws the fault of the instruction when the delivery fails.
 * In virtual-8086 mode INT n needs IOPL 3 (#GP(0)); the others do not. INT1 passes any gate whatever its DPL.
 */
export const deliverSoftware = (cpu: Cpu, vector: number, kind: SoftwareKind, next: bigint): void => {
  const flags = cpu.eflags;
  if (kind === 'int' && cpu.virtual8086 && (flags & S.IOPL) !== S.IOPL) throw fault(GP, 0);
  if (cpu.owner !== undefined) {
    cpu.delivered = true;
    cpu.owner.software(cpu, vector, kind, next);
    return;
  }
  const icebp = kind === 'icebp';
  enter(cpu, { vector, code: undefined, ext: icebp ? EXT : 0, checksDpl: !icebp, rip: next, flags });
};

const enter = (cpu: Cpu, what: Delivery): void => {
  cpu.delivered = true;
  if (!cpu.protectedMode) enterReal(cpu, what);
  else if (cpu.longMode) enterThroughLongGate(cpu, what);
  else enterThroughGate(cpu, what);
};

/** Real mode: a far pointer from the table of four-byte entries; no error code. */
const enterReal = (cpu: Cpu, { vector, rip, flags }: Delivery): void => {
  if (vector * 4 + 3 > cpu.get32(S.IDTR + 8)) throw fault(GP, vector * 8 + 2);
  const entry = cpu.readSystem32(cpu.get64(S.IDTR) + BigInt(vector * 4));
  const stack = currentStack(cpu);
  const selector = cpu.get16(S.seg(S.CS) + S.SEG_SELECTOR);
  const sp = pushFrame(cpu, stack, 2, [BigInt(flags), BigInt(selector), rip]);
  const offset = entry & 0xffff;
  if (offset > cpu.get32(S.seg(S.CS) + S.SEG_LIMIT)) throw fault(GP, 0);
  cpu.set64(S.gpr(S.RSP), mergeSp(cpu, stack, sp));
  const at = S.seg(S.CS);
  cpu.setSegment(
    S.CS,
    entry >>> 16,
    BigInt((entry >>> 16) << 4),
    cpu.get32(at + S.SEG_LIMIT),
    cpu.get32(at + S.SEG_ATTR),
  );
  cpu.rip = BigInt(offset);
  cpu.eflags = cpu.eflags & ~(S.IF | S.TF | S.AC | S.RF);
  cpu.updateMode(0);
};
