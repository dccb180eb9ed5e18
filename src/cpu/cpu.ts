/**
 * One virtual processor: its state block, its step loop, and the memory access that TypeScript routines use.
 *
 * The interpreter (and translated code) run until something needs attention; this loop then decodes, runs a TypeScript
 * routine, delivers an exception or an interrupt, and goes on. Hot; measured by `npm run bench`.
 */
import type { CodeCache } from './decode/cache.ts';
import type { Insn } from './decode/insn.ts';
import { R_FLAGS, RECORD_F2, RECORD_F3 } from './decode/record.ts';
import type { DeliveryEntry, InterpreterEntry } from './interpret/instance.ts';
import * as status from './interpret/status.ts';
import { MemoryAccess } from './mmu/access.ts';
import { CR0_PG } from './mmu/walk.ts';
import { deriveMode } from './mode.ts';
import type { CpuModel, InterruptLine, PhysicalMemory, PortIo, TrapOwner, TrapSink } from './ports.ts';
import type { CpuProbe } from './probe.ts';
import * as S from './state.ts';
import { breakpointsArmed, checkBreakpoints } from './system/debug.ts';
import { deliverException, deliverInterrupt } from './system/deliver.ts';
import { GuestFault, NMI } from './system/fault.ts';
import { tryLoadSegment } from './system/resume.ts';

export interface CpuPorts {
  readonly physical: PhysicalMemory;
  readonly ports: PortIo;
  readonly interrupts: InterruptLine;
  readonly traps: TrapSink;
  readonly model: CpuModel;
  /** Takes exceptions, software interrupts and fast system calls; absent, the guest's interrupt table does. */
  readonly owner?: TrapOwner;
  /** Arrivals at a place before its region is translated; 0, the default, never. */
  readonly hotThreshold?: number;
}

/** Deliveries in a row, without an instruction between them, that cost nothing; each further one counts as an instruction. */
const FREE_DELIVERIES = 64;

export class Cpu {
  /** vCPU number; chosen by the owner. */
  readonly id: number;
  /** Byte address of the state block in linear memory. */
  readonly base: number;
  readonly physical: PhysicalMemory;
  readonly ports: PortIo;
  readonly interrupts: InterruptLine;
  readonly traps: TrapSink;
  readonly model: CpuModel;
  readonly owner: TrapOwner | undefined;
  readonly code: CodeCache;
  /** Views of the whole linear memory. */
  readonly u8: Uint8Array<ArrayBuffer>;
  readonly u16: Uint16Array<ArrayBuffer>;
  readonly u32: Uint32Array<ArrayBuffer>;
  readonly u64: BigUint64Array<ArrayBuffer>;
  readonly mem: MemoryAccess;
  probe: CpuProbe | undefined;

  /** Set by the interpreter that this processor is attached to. */
  deliverPlainly: DeliveryEntry = () => 0;

  private readonly hotThreshold: number;
  readonly view: DataView;
  private readonly interpreter: InterpreterEntry;
  private exit = false;
  private nmi = false;
  /** Debug traps that waited before the current instruction: those of a MOV SS. */
  private debugBefore = 0;
  /** Budget of the present run, and what of it is not in the present slice. */
  private granted = 0;
  private unsliced = 0;

  constructor(id: number, base: number, ports: CpuPorts, code: CodeCache, interpreter: InterpreterEntry) {
    this.id = id;
    this.base = base;
    this.physical = ports.physical;
    this.ports = ports.ports;
    this.interrupts = ports.interrupts;
    this.traps = ports.traps;
    this.model = ports.model;
    this.owner = ports.owner;
    this.hotThreshold = ports.hotThreshold ?? 0;
    this.code = code;
    this.interpreter = interpreter;
    const { buffer } = ports.physical.memory;
    this.view = new DataView(buffer);
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.u64 = new BigUint64Array(buffer);
    this.mem = new MemoryAccess(this);
    this.reset();
  }

  // ---- state block ----

  get8(offset: number): number {
    return this.u8[this.base + offset];
  }
  set8(offset: number, value: number): void {
    this.u8[this.base + offset] = value;
  }
  get16(offset: number): number {
    return this.view.getUint16(this.base + offset, true);
  }
  set16(offset: number, value: number): void {
    this.view.setUint16(this.base + offset, value, true);
  }
  /** Unsigned 32-bit field; `offset` is a multiple of 4. */
  get32(offset: number): number {
    return this.u32[(this.base + offset) >>> 2];
  }
  set32(offset: number, value: number): void {
    this.u32[(this.base + offset) >>> 2] = value;
  }
  /** Unsigned 64-bit field; `offset` is a multiple of 8. */
  get64(offset: number): bigint {
    return this.u64[(this.base + offset) >>> 3];
  }
  set64(offset: number, value: bigint): void {
    this.u64[(this.base + offset) >>> 3] = value;
  }

  /** General register as a 64-bit value. */
  gpr(index: number): bigint {
    return this.get64(S.gpr(index));
  }
  /** Writes a general register: 64- and 32-bit writes replace it (zero-extended), 16-bit ones keep the rest. */
  setGpr(index: number, value: bigint, width: 16 | 32 | 64 = 64): void {
    if (width === 64) this.set64(S.gpr(index), value);
    else if (width === 32) this.set64(S.gpr(index), value & 0xffff_ffffn);
    else this.set16(S.gpr(index), Number(value & 0xffffn));
  }

  get rip(): bigint {
    return this.get64(S.RIP);
  }
  set rip(value: bigint) {
    this.set64(S.RIP, value);
  }

  /** Linear address of the instruction to be executed next. */
  get linearRip(): bigint {
    return this.code64 ? this.rip : (this.get64(S.CS_BASE) + this.rip) & 0xffff_ffffn;
  }
  /** Address in linear memory of the decoded record last started. */
  get record(): number {
    return this.get32(S.RECORD);
  }

  get cpl(): number {
    return this.get32(S.CPL);
  }

  /** EFLAGS with the lazy flags filled in. */
  get eflags(): number {
    const rest = this.get32(S.EFLAGS_REST);
    const bits = this.get32(S.FLAG_BITS);
    const at = (this.base + S.FLAG_RESULT) >>> 2;
    const low = this.u32[at],
      high = this.u32[at + 1];
    let parity = low & 0xff;
    parity ^= parity >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    let flags = rest | (bits & (S.CF | S.AF | S.OF));
    if (((parity & 1) === 0) !== ((bits & S.PF) !== 0)) flags |= S.PF;
    if (low === 0 && high === 0) flags |= S.ZF;
    if (high >>> 31 !== (bits & S.SF) >>> 7) flags |= S.SF;
    return flags >>> 0;
  }

  /** Sets all of EFLAGS; callers mask what may change. Derived state follows. */
  set eflags(value: number) {
    this.setArithmeticFlags(value);
    const rest = ((value & ~S.ARITHMETIC) | 2) >>> 0;
    const changed = rest ^ this.get32(S.EFLAGS_REST);
    this.set32(S.EFLAGS_REST, rest);
    if ((changed & (S.VM | S.AC)) !== 0) this.updateMode();
  }

  setArithmeticFlags(value: number): void {
    // The result 0 has PF and ZF set and SF clear, the result 1 has all three clear; corrections do the rest.
    const zero = (value & S.ZF) !== 0;
    const at = (this.base + S.FLAG_RESULT) >>> 2;
    this.u32[at] = zero ? 0 : 1;
    this.u32[at + 1] = 0;
    const parity = zero ? S.PF : 0;
    this.set32(S.FLAG_BITS, (value & (S.CF | S.AF | S.OF | S.SF)) | ((value ^ parity) & S.PF));
  }

  // ---- modes ----

  get protectedMode(): boolean {
    return (this.get32(S.CR0) & 1) !== 0;
  }
  get longMode(): boolean {
    return (this.get32(S.EFER) & 0x400) !== 0;
  }
  get virtual8086(): boolean {
    return (this.get32(S.EFLAGS_REST) & S.VM) !== 0;
  }
  /** Executing 64-bit code: long mode active and CS.L. */
  get code64(): boolean {
    return this.longMode && (this.get32(S.seg(S.CS) + S.SEG_ATTR) & 0x2000) !== 0;
  }
  /** Width of code: 16, 32 or 64. */
  get codeSize(): 16 | 32 | 64 {
    if (this.code64) return 64;
    return (this.get32(S.seg(S.CS) + S.SEG_ATTR) & 0x4000) !== 0 ? 32 : 16;
  }

  /**
   * Recomputes everything derived from CR0, CR4, EFER, DR7, segments, EFLAGS.VM/AC and the privilege level ({@link deriveMode}). Call
   * after changing any of them. `cpl` defaults to the present level.
   */
  updateMode(cpl = this.cpl): void {
    deriveMode(this, cpl);
  }

  get paging(): boolean {
    return (this.get32(S.CR0) & CR0_PG) !== 0;
  }

  /** Drops translations; global ones are kept unless `global`. */
  flushTlb(global: boolean): void {
    this.mem.flush(global);
  }

  /** Drops the translation of one page. */
  invalidatePage(linear: bigint): void {
    this.mem.flushPage(Number(linear & 0xffff_ffffn), Number(linear >> 32n));
  }

  // ---- running ----

  /** State after RESET / power-up (key `sdm:3A "Processor State After Reset"`), with the local APIC's business left to the owner. */
  reset(): void {
    this.mem.flush(true);
    this.u8.fill(0, this.base, this.base + S.TLB_SETS);
    this.set32(S.HOT_THRESHOLD, this.hotThreshold);
    this.set32(S.FRAME_TABLE, this.physical.frameTable);
    this.set32(S.FRAME_COUNT, this.physical.frameTableLength);
    this.set32(S.PAGE_MARKS, this.code.marks);
    this.set32(S.CODE_PARTS, this.code.parts);
    this.set32(S.INTERCEPTED, this.owner === undefined ? 0 : 1);
    this.set64(S.MASK16, 0xffffn);
    this.set64(S.MASK32, 0xffff_ffffn);
    this.set64(S.MASK64, 0xffff_ffff_ffff_ffffn);
    this.set64(S.FLAG_RESULT, 1n);
    this.set32(S.EFLAGS_REST, 2);
    this.set64(S.CR0, 0x6000_0010n);
    this.set64(S.RIP, 0xfff0n);
    this.set64(S.PAT, 0x0007_0406_0007_0406n);
    this.set64(S.XCR0, 1n);
    this.set64(S.DR6, 0xffff_0ff0n);
    this.set64(S.DR7, 0x400n);
    this.set32(S.MXCSR, 0x1f80);
    this.set16(S.FPU_CONTROL, 0x40);
    // Every register is valid and holds +0, other than after FNINIT.
    this.set8(S.FPU_TAG, 0xff);
    this.set64(S.MISC_ENABLE, 0x1n);
    for (let n = 0; n < 6; n++) this.setSegment(n, 0, 0n, 0xffff, n === S.CS ? 0x9b : 0x93);
    this.setSegment(S.CS, 0xf000, 0xffff_0000n, 0xffff, 0x9b);
    this.setSegment(S.LDTR, 0, 0n, 0xffff, 0x82);
    this.setSegment(S.TR, 0, 0n, 0xffff, 0x8b);
    this.set32(S.GDTR + 8, 0xffff);
    this.set32(S.IDTR + 8, 0xffff);
    this.nmi = false;
    this.mem.reset();
    this.updateMode(0);
  }

  /** Writes a segment register's visible and hidden parts without any check. Callers end with {@link updateMode}. */
  setSegment(n: number, selector: number, base: bigint, limit: number, attr: number): void {
    const at = S.seg(n);
    this.set64(at + S.SEG_BASE, base);
    this.set32(at + S.SEG_LIMIT, limit);
    this.set32(at + S.SEG_ATTR, attr);
    this.set16(at + S.SEG_SELECTOR, selector);
  }

  /** Loads a data segment register as MOV at the present privilege does; false, and nothing changed, when it faults. */
  tryLoadSegment(n: number, selector: number): boolean {
    return tryLoadSegment(this, n, selector);
  }

  /** Makes {@link run} return behind the current instruction. */
  requestExit(): void {
    this.exit = true;
  }

  /** Latches a non-maskable interrupt. */
  raiseNmi(): void {
    this.nmi = true;
  }

  /** True when an NMI or a deliverable maskable interrupt waits (whatever IF says for NMI; IF is honoured for the rest). */
  hasEvent(): boolean {
    if (this.nmi && this.get32(S.NMI_BLOCKED) === 0) return true;
    return (this.get32(S.EFLAGS_REST) & S.IF) !== 0 && this.interrupts.pending() >= 0;
  }

  /** Something asked the processor to stop between instructions: the owner, an event, or a debug trap. */
  get attention(): boolean {
    return this.exit || this.get32(S.PENDING_DEBUG) !== 0 || this.hasEvent();
  }

  get nmiPending(): boolean {
    return this.nmi;
  }
  set nmiPending(value: boolean) {
    this.nmi = value;
  }

  /**
   * Executes at most `budget` instructions; an instruction that faults, and each repetition of a string instruction, counts
   * as one. Returns how many were started. Comes back early after {@link requestExit}.
   *
   * A guest can make deliveries follow each other for ever (an interrupt that stays asserted behind a trap gate, a breakpoint on the
   * handler of #DB); those use the budget up too.
   */
  run(budget: number): number {
    let left = budget;
    let deliveries = 0;
    this.exit = false;
    this.granted = budget;
    this.unsliced = budget;
    this.set32(S.BUDGET, 0);
    const delivered = (): void => {
      if (++deliveries <= FREE_DELIVERIES) return;
      this.unsliced = --left;
      this.set32(S.BUDGET, 0);
    };
    while (left > 0 && !this.exit) {
      const shadow = this.get32(S.SHADOW);
      if (shadow === 0) {
        if (this.deliverPending()) {
          delivered();
          continue;
        }
      } else this.set32(S.SHADOW, 0);
      const stepping = (this.get32(S.EFLAGS_REST) & S.TF) !== 0;
      const watching = breakpointsArmed(this);
      if (watching && checkBreakpoints(this, shadow === 2)) {
        delivered();
        continue;
      }
      deliveries = 0;
      const slice = shadow !== 0 || stepping || watching ? 1 : left;
      this.set32(S.BUDGET, slice);
      this.unsliced = left - slice;
      this.debugBefore = this.get32(S.PENDING_DEBUG);
      const from = watching ? this.rip : 0n;
      this.step();
      if (watching) this.keepResumeFlag(from);
      left -= slice - this.get32(S.BUDGET);
      if ((stepping || watching) && slice !== this.get32(S.BUDGET))
        this.finishStep(stepping && this.get32(S.SHADOW) !== 2);
    }
    this.granted = 0;
    return budget - left;
  }

  /** Instructions started in the present {@link run}, the current one included; 0 outside of it. */
  get executed(): number {
    return this.granted === 0 ? 0 : this.granted - this.unsliced - this.get32(S.BUDGET);
  }

  /** Between repetitions of a string instruction RF stays set: its breakpoint was passed when the first one began. */
  private keepResumeFlag(from: bigint): void {
    if (this.delivered || this.rip !== from) return;
    if ((this.u8[this.get32(S.RECORD) + R_FLAGS] & (RECORD_F2 | RECORD_F3)) === 0) return;
    this.set32(S.EFLAGS_REST, this.get32(S.EFLAGS_REST) | S.RF);
  }

  /** Delivers one waiting event; false when there is none. */
  private deliverPending(): boolean {
    if (this.get32(S.PENDING_DEBUG) !== 0) this.raiseDebug();
    if (this.nmi && this.get32(S.NMI_BLOCKED) === 0) {
      this.nmi = false;
      this.set32(S.NMI_BLOCKED, 1);
      deliverInterrupt(this, NMI);
      return true;
    }
    if ((this.get32(S.EFLAGS_REST) & S.IF) !== 0 && this.interrupts.pending() >= 0) {
      deliverInterrupt(this, this.interrupts.acknowledge());
      return true;
    }
    return false;
  }

  /** Behind an instruction that ran with TF set or with breakpoints armed: the #DB trap. */
  private finishStep(stepped: boolean): void {
    if (this.delivered) return;
    if (stepped) this.set32(S.PENDING_DEBUG, this.get32(S.PENDING_DEBUG) | 0x4000);
    if (this.get32(S.SHADOW) !== 2 && this.get32(S.PENDING_DEBUG) !== 0) this.raiseDebug();
  }

  private raiseDebug(): void {
    const bits = this.get32(S.PENDING_DEBUG);
    this.set32(S.PENDING_DEBUG, 0);
    this.set32(S.DR6, this.get32(S.DR6) | bits);
    deliverException(this, 1, undefined);
  }

  /** The current instruction ended in an interrupt or exception handler, which cleared TF: no single-step trap follows. */
  delivered = false;

  /** One stay in the interpreter and what its exit asks for. */
  private step(): void {
    this.delivered = false;
    let record = 0;
    for (;;) {
      const exit = this.interpreter(this.base, record);
      record = 0;
      this.probe?.left(this, exit);
      switch (exit) {
        case status.EXIT_BUDGET:
          return;
        case status.EXIT_LOOKUP:
          // The fetch of an instruction that is not to be started any more must not fault.
          if (this.get32(S.BUDGET) === 0) return;
          try {
            record = this.code.lookup(this);
          } catch (e) {
            this.caught(e);
            this.set32(S.BUDGET, this.get32(S.BUDGET) - 1);
            return;
          }
          break;
        case status.EXIT_HOT:
          this.code.translate(this);
          break;
        case status.EXIT_FAULT:
          this.raise(
            this.get32(S.FAULT_VECTOR),
            this.get32(S.FAULT_HAS_CODE) !== 0 ? this.get32(S.FAULT_CODE) : undefined,
          );
          return;
        case status.EXIT_CALL:
          this.callRoutine();
          return;
        default:
          return;
      }
    }
  }

  private callRoutine(): void {
    const insn: Insn = this.code.insnOf(this.get32(S.RECORD));
    try {
      const after = insn.row.call!(this, insn);
      if (after === undefined) this.rip = this.advance(insn.length);
    } catch (e) {
      this.caught(e);
    } finally {
      this.mem.endRoutine();
    }
  }

  /** RIP moved forward by some bytes, cut to the code size. */
  advance(length: number): bigint {
    const next = this.rip + BigInt(length);
    return this.code64 ? BigInt.asUintN(64, next) : next & 0xffff_ffffn;
  }

  private caught(e: unknown): void {
    if (!(e instanceof GuestFault)) throw e;
    this.raise(e.vector, e.code);
  }

  private raise(vector: number, code: number | undefined): void {
    this.probe?.exception(this, vector);
    this.delivered = true;
    // Data breakpoints are traps: an instruction that faults has met none.
    this.set32(S.PENDING_DEBUG, this.debugBefore);
    deliverException(this, vector, code);
  }

  // ---- linear memory for routines; every access may throw a GuestFault ----

  /** Reads with the current privilege. Addresses are linear (segment base already added). */
  readLinear8(linear: bigint): number {
    return this.mem.read(linear, 1);
  }
  readLinear16(linear: bigint): number {
    return this.mem.read(linear, 2);
  }
  readLinear32(linear: bigint): number {
    return this.mem.read(linear, 4);
  }
  readLinear64(linear: bigint): bigint {
    return this.mem.read64(linear);
  }
  writeLinear8(linear: bigint, value: number): void {
    this.mem.write(linear, 1, value);
  }
  writeLinear16(linear: bigint, value: number): void {
    this.mem.write(linear, 2, value);
  }
  writeLinear32(linear: bigint, value: number): void {
    this.mem.write(linear, 4, value);
  }
  writeLinear64(linear: bigint, value: bigint): void {
    this.mem.write64(linear, value);
  }

  /** Reads and writes the processor makes on its own (descriptor tables, TSS): supervisor, whatever the privilege level. */
  readSystem8(linear: bigint): number {
    return this.mem.readSystem(linear, 1);
  }
  readSystem16(linear: bigint): number {
    return this.mem.readSystem(linear, 2);
  }
  readSystem32(linear: bigint): number {
    return this.mem.readSystem(linear, 4);
  }
  readSystem64(linear: bigint): bigint {
    return this.mem.readSystem64(linear);
  }
  writeSystem8(linear: bigint, value: number): void {
    this.mem.writeSystem(linear, 1, value);
  }
  writeSystem16(linear: bigint, value: number): void {
    this.mem.writeSystem(linear, 2, value);
  }
  writeSystem32(linear: bigint, value: number): void {
    this.mem.writeSystem(linear, 4, value);
  }
  writeSystem64(linear: bigint, value: bigint): void {
    this.mem.writeSystem64(linear, value);
  }

  /** Throws unless `size` bytes may be written (or read) at the current privilege; nothing is changed. */
  probeLinear(linear: bigint, size: number, write: boolean): void {
    this.mem.probe(linear, size, write);
  }

  /** Copies guest memory for a hypervisor, as supervisor; false (and no guest-visible effect) when a page is missing. */
  tryReadLinear(linear: bigint, into: Uint8Array): boolean {
    return this.mem.copyIn(linear, into);
  }
  tryWriteLinear(linear: bigint, from: Uint8Array): boolean {
    return this.mem.copyOut(linear, from);
  }

  /**
   * Linear address of a routine's memory operand after segmentation checks for an access of `size` bytes: #GP(0) or, for the
   * stack segment, #SS(0). Canonicality is checked by the access itself.
   */
  effectiveAddress(insn: Insn, size: number, write: boolean): bigint {
    return this.mem.operandAddress(insn, size, write);
  }
}
