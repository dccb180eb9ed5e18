/**
 * Call gates of 32-bit guests. The hypervisor gives them DPL 0, so that using one is #GP, and performs the far call or jump; the DPL the guest wanted is in the
 * RPL of the gate's selector. `xen:arch/x86/pv/emul-gate-op.c`
 */
import { type Cpu, GuestFault, type Insn } from '../../../cpu/index.ts';
import * as S from '../../../cpu/state.ts';
import { guestRange32 } from '../address-space.ts';
import * as d from '../descriptors.ts';
import { saveFrame } from '../guest-mode.ts';
import { GP, inject, injectPageFault, leave, NP, PF, PF_WRITE, SS, TS } from '../inject.ts';
import type { PvDomain } from '../pv-domain.ts';
import type { PvVcpu } from '../pv-vcpu.ts';
import { decodeTrapped } from './decode.ts';
import { instructionDone } from './done.ts';

const CALL_GATE16 = 0x4,
  CALL_GATE32 = 0xc;
const KERNEL_RING = 1;

/** An exception instead: vector and error code; a page fault has its address. */
class Refusal {
  readonly vector: number;
  readonly code: number;
  readonly linear: bigint;
  constructor(vector: number, code: number, linear = 0n) {
    this.vector = vector;
    this.code = code;
    this.linear = linear;
  }
}

interface Gate {
  readonly selector: number;
  readonly offset: number;
  readonly dpl: number;
  readonly present: boolean;
  readonly parameters: number;
}

/** The call gate a selector names; undefined when it names none. */
function readGate(cpu: Cpu, selector: number): Gate | undefined {
  const raw = selector < 4 ? undefined : d.readDescriptor(cpu, selector);
  if (raw === undefined || (raw.high & 0x6000) !== 0) return undefined;
  const type = (raw.high >>> 8) & 0x1f;
  if (type !== CALL_GATE16 && type !== CALL_GATE32) return undefined;
  const low = raw.low & 0xffff;
  return {
    selector: (raw.low >>> 16) & 0xfffc,
    offset: type === CALL_GATE16 ? low : ((raw.high & 0xffff_0000) | low) >>> 0,
    dpl: (raw.low >>> 16) & 3,
    present: (raw.high & d.SEGMENT_PRESENT) !== 0,
    // Only 32-bit gates are performed.
    parameters: type === CALL_GATE16 ? -1 : raw.high & 0x1f,
  };
}

interface Transfer {
  readonly insn: Insn;
  readonly jump: boolean;
  readonly selector: number;
}

/** What kind of far transfer the instruction is, and the selector it names. */
function readTransfer(cpu: Cpu): Transfer | undefined {
  const insn = decodeTrapped(cpu);
  if (insn === undefined) return undefined;
  const { encoding } = insn.row;
  if (encoding.startsWith('9A') || encoding.startsWith('EA'))
    return { insn, jump: encoding.startsWith('EA'), selector: insn.immediate2 & 0xffff };
  if (!encoding.startsWith('FF /3') && !encoding.startsWith('FF /5')) return undefined;
  if (insn.memory === undefined) return undefined;
  const size = insn.operandSize / 8;
  const at = cpu.effectiveAddress(insn, size + 2, false);
  return { insn, jump: encoding.startsWith('FF /5'), selector: cpu.readLinear16(at + BigInt(size)) };
}

/** The stack grows by `bytes` below `esp` inside the segment. */
function stackFits(segment: d.RawDescriptor, esp: number, bytes: number): boolean {
  const limit = d.descriptorLimit(segment);
  const low = (esp - bytes) >>> 0,
    high = (esp - 1) >>> 0;
  if (low >= high) return false;
  return (segment.high & d.SEGMENT_EXPAND_DOWN) === 0 ? high <= limit : low > limit;
}

const isStack = (segment: d.RawDescriptor): boolean =>
  (segment.high & (d.SEGMENT_S | d.SEGMENT_CODE | d.SEGMENT_WRITABLE)) === (d.SEGMENT_S | d.SEGMENT_WRITABLE);

/** Pushes words on a stack the guest named; the segment register is loaded when the frame is. */
class Stack {
  private readonly cpu: Cpu;
  private readonly base: number;
  private readonly bytes = new Uint8Array(4);
  esp: number;

  constructor(cpu: Cpu, segment: d.RawDescriptor, esp: number) {
    this.cpu = cpu;
    this.base = d.descriptorBase(segment);
    this.esp = esp;
  }

  linear(distance = 0): bigint {
    return BigInt((this.base + this.esp + distance) >>> 0);
  }

  push(value: number): void {
    this.esp = (this.esp - 4) >>> 0;
    new DataView(this.bytes.buffer).setUint32(0, value, true);
    const at = this.linear();
    if (!this.cpu.tryWriteLinear(at, this.bytes)) throw new Refusal(PF, PF_WRITE, at);
  }
}

/** Parameters that the gate copies from the caller's stack, the first one last. */
function parameters(cpu: Cpu, pv: PvVcpu, count: number, code: number): number[] {
  const { frame } = pv;
  const segment = d.readDescriptor(cpu, frame.ss);
  const esp = Number(BigInt.asUintN(32, frame.rsp));
  if (
    segment === undefined ||
    d.descriptorDpl(segment) !== (frame.cs & 3) ||
    !isStack(segment) ||
    !stackFits(segment, esp + count * 4, count * 4)
  )
    throw new Refusal(GP, code);
  const at = BigInt((d.descriptorBase(segment) + esp) >>> 0);
  if (!guestRange32(at, count * 4)) throw new Refusal(GP, code);
  const raw = new Uint8Array(count * 4);
  if (!cpu.tryReadLinear(at, raw)) throw new Refusal(PF, 0, at);
  const view = new DataView(raw.buffer);
  return Array.from({ length: count }, (_, n) => view.getUint32((count - 1 - n) * 4, true));
}

/** The inner stack of a call to the kernel's ring: SS, ESP and the parameters are on it. */
function innerStack(cpu: Cpu, pv: PvVcpu, ring: number, count: number, code: number): { stack: Stack; ss: number } {
  if (ring !== KERNEL_RING) throw new Refusal(GP, code);
  const ss = pv.kernelSs & 0xffff;
  const segment = d.readDescriptor(cpu, ss);
  if ((ss & 3) !== ring || segment === undefined || d.descriptorDpl(segment) !== ring || !isStack(segment))
    throw new Refusal(TS, ss & 0xfffc);
  const esp = Number(BigInt.asUintN(32, pv.kernelSp));
  const bytes = (4 + count) * 4;
  if ((segment.high & d.SEGMENT_PRESENT) === 0 || !stackFits(segment, esp, bytes)) throw new Refusal(SS, ss & 0xfffc);
  const stack = new Stack(cpu, segment, esp);
  if (!guestRange32(stack.linear(-bytes), bytes)) throw new Refusal(GP, code);
  stack.push(pv.frame.ss);
  stack.push(Number(BigInt.asUintN(32, pv.frame.rsp)));
  if (count > 0) for (const value of parameters(cpu, pv, count, code)) stack.push(value);
  return { stack, ss };
}

function sameStack(cpu: Cpu, pv: PvVcpu, ring: number, code: number): { stack: Stack; ss: number } {
  const { ss } = pv.frame;
  const segment = d.readDescriptor(cpu, ss);
  if (segment === undefined || d.descriptorDpl(segment) !== ring) throw new Refusal(GP, code);
  const esp = Number(BigInt.asUintN(32, pv.frame.rsp));
  if (!stackFits(segment, esp, 8)) throw new Refusal(SS, 0);
  const stack = new Stack(cpu, segment, esp);
  if (!guestRange32(stack.linear(-8), 8)) throw new Refusal(GP, code);
  return { stack, ss };
}

/** Checks gate, instruction and target, makes the stack, and turns {@link PvVcpu.frame} into where control arrives. Throws a {@link Refusal}. */
function transfer(cpu: Cpu, pv: PvVcpu, code: number): void {
  const { frame } = pv;
  const ring = frame.cs & 3;
  const gate = readGate(cpu, code);
  if (gate === undefined || gate.dpl < ring || gate.parameters < 0) throw new Refusal(GP, code);
  if (!gate.present) throw new Refusal(NP, code);
  const how = readTransfer(cpu);
  if (how === undefined || (how.selector & 0xfffc) !== code || gate.dpl < (how.selector & 3))
    throw new Refusal(GP, code);
  const target = d.readDescriptor(cpu, gate.selector);
  if (target === undefined) throw new Refusal(GP, gate.selector);
  const dpl = d.descriptorDpl(target);
  const conforming = (target.high & d.SEGMENT_EXPAND_DOWN) !== 0;
  const isCode = (target.high & (d.SEGMENT_S | d.SEGMENT_CODE)) === (d.SEGMENT_S | d.SEGMENT_CODE);
  const wrongLevel = !how.jump || conforming ? dpl > ring : dpl !== ring;
  if (!isCode || wrongLevel) throw new Refusal(GP, gate.selector);
  if ((target.high & d.SEGMENT_PRESENT) === 0) throw new Refusal(NP, gate.selector);
  if (gate.offset > d.descriptorLimit(target)) throw new Refusal(GP, 0);
  let level = ring;
  if (!how.jump) {
    // Conforming code keeps the caller's level on real processors; the hypervisor goes by the DPL alone.
    const inner = dpl < ring;
    if (inner) level = dpl;
    const { stack, ss } = inner ? innerStack(cpu, pv, dpl, gate.parameters, code) : sameStack(cpu, pv, ring, code);
    stack.push(frame.cs);
    stack.push(Number(BigInt.asUintN(32, frame.rip)) + how.insn.length);
    cpu.set64(S.gpr(S.RSP), BigInt(stack.esp));
    frame.rsp = BigInt(stack.esp);
    frame.ss = ss;
  }
  frame.cs = gate.selector | level;
  frame.rip = BigInt(gate.offset);
}

/** True when the #GP with a selector's code is dealt with: a 32-bit guest's far transfer through a gate, or the exception it got instead. */
export function emulateGate(domain: PvDomain, pv: PvVcpu, cpu: Cpu, code: number): boolean {
  if (pv.width === 64) return false;
  saveFrame(pv, cpu, cpu.rip);
  try {
    transfer(cpu, pv, code);
  } catch (e) {
    if (e instanceof GuestFault) refuse(domain, pv, cpu, new Refusal(e.vector, e.code ?? 0, cpu.get64(S.CR2)));
    else if (e instanceof Refusal) refuse(domain, pv, cpu, e);
    else throw e;
    return true;
  } finally {
    cpu.mem.endRoutine();
  }
  leave(domain, pv, cpu);
  instructionDone(domain, pv, cpu, cpu.rip);
  return true;
}

function refuse(domain: PvDomain, pv: PvVcpu, cpu: Cpu, { vector, code, linear }: Refusal): void {
  if (vector === PF) injectPageFault(domain, pv, cpu, linear, code);
  else inject(domain, pv, cpu, vector, code);
}
