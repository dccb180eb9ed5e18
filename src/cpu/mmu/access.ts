/**
 * Memory access behind the inline TLB: the slow path of compiled code, and the accesses of TypeScript routines.
 *
 * Compiled code asks for a host address. Plain RAM gets its own address and a TLB entry. Everything else (devices, read-only
 * pages, page crossings, decoded code) is staged in the vCPU's bounce buffer: reads arrive there filled, writes
 * are taken from there by {@link MemoryAccess.commit} once the instruction stored them. A store beside the code of a page gets
 * its own address, but no TLB entry.
 */
import type { Cpu } from '../cpu.ts';
import type { Insn } from '../decode/insn.ts';
import { LEAVE } from '../interpret/status.ts';
import * as S from '../state.ts';
import { dataBreakpoint } from '../system/debug.ts';
import { ACV, fault, GP, GuestFault, PFV, recordFault, SSV } from '../system/fault.ts';
import { Tlb } from './tlb.ts';
import { CR0_AM, EXECUTE, PageWalk, READ, WRITE } from './walk.ts';

/** Kinds of access asked by compiled code: low byte of the descriptor is the size in bytes. */
export const SLOW_WRITE = 0x100,
  SLOW_UPDATE = 0x200,
  SLOW_STACK = 0x400,
  /** The segment is known: stack or not; the record is not to be asked. */
  SLOW_KNOWN = 0x800;

const PAGE = 4096;

export class MemoryAccess {
  private readonly cpu: Cpu;
  readonly walk: PageWalk;
  readonly tlb: Tlb;
  /** The access now made is the processor's own: supervisor whatever CPL says. */
  private implicit = false;
  /** Staged write: host or device address of the first part, of the second part when it crosses a page; 0 bytes is none. */
  private stagedSize = 0;
  private readonly stagedFrame = [0, 0];
  private readonly stagedHost = [0, 0];
  private stagedOffset = 0;
  /** Frame of the page that BESIDE_LINEAR remembers. */
  private besideFrame = 0;

  constructor(cpu: Cpu) {
    this.cpu = cpu;
    this.walk = new PageWalk(cpu);
    this.tlb = new Tlb(cpu, this.walk);
  }

  /** Makes everything empty, whatever it holds: for memory that has just become a vCPU's. */
  reset(): void {
    this.tlb.reset();
    this.cpu.set32(S.BESIDE_SET, 0);
  }

  /** Drops translations; global ones are kept unless `global`. */
  flush(global: boolean): void {
    this.tlb.flush(global);
    this.cpu.set32(S.BESIDE_SET, 0);
  }

  /** Drops the translation of the page that holds an address (halves): all entries of it when it is a large one. */
  flushPage(low: number, high: number): void {
    this.tlb.flushPage(low, high);
    this.cpu.set32(S.BESIDE_SET, 0);
  }

  /** TLB set of the access now made: the processor's own accesses have the supervisor's rights without EFLAGS.AC. */
  private tlbSet(): number {
    return this.implicit ? this.cpu.base + S.TLB_SETS + S.TLB_SUPERVISOR * S.TLB_SET : this.cpu.get32(S.TLB);
  }

  // ---- compiled code ----

  /** Address for an access at SLOW_LINEAR, or 0 with the fault recorded. */
  slow(descriptor: number): number {
    const { cpu } = this;
    cpu.probe?.missed(cpu, descriptor);
    const low = cpu.get32(S.SLOW_LINEAR),
      high = cpu.get32(S.SLOW_LINEAR + 4);
    const size = descriptor & 0xff;
    const write = (descriptor & (SLOW_WRITE | SLOW_UPDATE)) !== 0;
    const read = (descriptor & SLOW_WRITE) === 0;
    if (write) {
      if (cpu.get32(S.BESIDE_COUNT) >= S.BESIDE_MANY) {
        cpu.set32(S.BESIDE_COUNT, 0);
        cpu.code.noteStoresBeside(cpu);
      }
      const host = this.besideCode(low, high, size, read);
      if (host !== 0) return host;
    }
    try {
      return this.access(
        low,
        high,
        size,
        read,
        write,
        (descriptor & SLOW_STACK) !== 0 ? S.SS : (descriptor & SLOW_KNOWN) !== 0 ? S.DS : -1,
      );
    } catch (e) {
      if (!(e instanceof GuestFault)) throw e;
      recordFault(cpu, e);
      return 0;
    }
  }

  /** Host address for a store to the page that BESIDE_LINEAR remembers, the bounce buffer when it hits the code there; 0 for another page. */
  private besideCode(low: number, high: number, size: number, read: boolean): number {
    const { cpu } = this;
    const offset = low & (PAGE - 1);
    if (low - offset !== cpu.get32(S.BESIDE_LINEAR) || high !== cpu.get32(S.BESIDE_LINEAR + 4)) return 0;
    if (offset + size > PAGE || cpu.get32(S.BESIDE_SET) !== this.tlbSet()) return 0;
    const host = cpu.get32(S.BESIDE_HOST);
    this.stagedSize = 0;
    if (!cpu.code.holds(host, offset, size)) return host + offset;
    const bounce = cpu.base + S.BOUNCE;
    if (read) cpu.u8.copyWithin(bounce, host + offset, host + offset + size);
    this.stage(size, offset, this.besideFrame, host);
    return bounce;
  }

  /** A write that {@link commit} hands over. */
  private stage(size: number, offset: number, frame: number, host: number): void {
    this.stagedSize = size;
    this.stagedOffset = offset;
    this.stagedFrame[0] = frame;
    this.stagedHost[0] = host;
  }

  private rememberBeside(low: number, high: number, host: number): void {
    const { cpu } = this;
    const set = this.tlbSet();
    if (set === cpu.base + S.TLB_SETS + S.TLB_NEVER * S.TLB_SET) return;
    cpu.set32(S.BESIDE_LINEAR, (low & ~(PAGE - 1)) >>> 0);
    cpu.set32(S.BESIDE_LINEAR + 4, high);
    cpu.set32(S.BESIDE_SET, set);
    cpu.set32(S.BESIDE_HOST, host);
    this.besideFrame = this.walk.frame;
  }

  /** Completes a staged write; status bits for the dispatch loop. */
  commit(): number {
    const size = this.stagedSize;
    if (size === 0) return 0;
    this.stagedSize = 0;
    const { cpu } = this;
    const bounce = cpu.base + S.BOUNCE;
    const first = Math.min(size, PAGE - this.stagedOffset);
    let leave = this.store(this.stagedHost[0], this.stagedFrame[0], this.stagedOffset, bounce, first);
    if (first < size)
      leave = this.store(this.stagedHost[1], this.stagedFrame[1], 0, bounce + first, size - first) || leave;
    return leave ? LEAVE : 0;
  }

  /** Moves staged bytes to their page; true when code or a device was hit. */
  private store(host: number, frame: number, offset: number, from: number, size: number): boolean {
    const { cpu } = this;
    if (host !== 0) {
      cpu.u8.copyWithin(host + offset, from, from + size);
      return cpu.code.written(frame, offset, size);
    }
    if (cpu.physical.page(frame, false) !== 0) return false; // Read-only page: the write is dropped.
    this.device(frame * PAGE + offset, from, size, true);
    return true;
  }

  private device(address: number, at: number, size: number, write: boolean): void {
    const { physical, u8 } = this.cpu;
    for (let done = 0; done < size; ) {
      const where = address + done;
      let part = size - done >= 4 && where % 4 === 0 ? 4 : size - done >= 2 && where % 2 === 0 ? 2 : 1;
      // A device sees an access of at most four bytes as the processor made it, even when it is not aligned to its size.
      if (done === 0 && size <= 4 && (where % 4) + size <= 4 && size !== 3) part = size;
      if (write) {
        let value = 0;
        for (let i = part - 1; i >= 0; i--) value = value * 256 + u8[at + done + i];
        physical.mmioWrite(where, part, value);
      } else {
        let value = physical.mmioRead(where, part);
        for (let i = 0; i < part; i++) {
          u8[at + done + i] = value & 0xff;
          value >>>= 8;
        }
      }
      done += part;
    }
  }

  /**
   * Host address where `size` bytes at a linear address can be read and/or written; may be the bounce buffer, whose content
   * a write hands over with {@link commit}. Throws the fault.
   */
  private access(low: number, high: number, size: number, read: boolean, write: boolean, segment: number): number {
    const { cpu } = this;
    // An instruction that faulted may have left a write behind that it never made.
    if (write) this.stagedSize = 0;
    const user = !this.implicit && cpu.cpl === 3;
    if (cpu.longMode && !canonical(high)) throw fault(this.stackAccess(segment) ? SSV : GP, 0);
    if (user && (low & (size - 1)) !== 0 && size <= 8 && this.checksAlignment()) throw fault(ACV, 0);
    if ((cpu.get32(S.DR7) & 0xff) !== 0 && !this.implicit) {
      const hit = dataBreakpoint(cpu, (BigInt(high) << 32n) | BigInt(low), size, write);
      if (hit !== 0) cpu.set32(S.PENDING_DEBUG, cpu.get32(S.PENDING_DEBUG) | hit);
    }
    const offset = low & (PAGE - 1);
    if (offset + size > PAGE) return this.crossing(low, high, size, read, write, user, segment);
    const host = this.page(low, high, write, user);
    const { frame } = this.walk;
    if (host !== 0 && !(write && cpu.code.holds(host, offset, size))) {
      const writable = (write || this.walk.writable) && cpu.physical.page(frame, true) !== 0 && !cpu.code.has(host);
      this.tlb.fill(this.tlbSet(), low, high, host, true, writable);
      if (write && !writable) this.rememberBeside(low, high, host);
      return host + offset;
    }
    const bounce = cpu.base + S.BOUNCE;
    if (read) {
      const from = cpu.physical.page(frame, false);
      if (from !== 0) cpu.u8.copyWithin(bounce, from + offset, from + offset + size);
      else this.device(frame * PAGE + offset, bounce, size, false);
    }
    if (write) {
      this.stage(size, offset, frame, host);
      if (host !== 0) this.rememberBeside(low, high, host);
    }
    return bounce;
  }

  private crossing(
    low: number,
    high: number,
    size: number,
    read: boolean,
    write: boolean,
    user: boolean,
    segment: number,
  ): number {
    const { cpu } = this;
    const offset = low & (PAGE - 1);
    const nextLow = ((low & ~(PAGE - 1)) + PAGE) >>> 0;
    let nextHigh = high;
    if (nextLow === 0) {
      nextHigh = cpu.code64 ? (high + 1) >>> 0 : 0;
      if (cpu.longMode && !canonical(nextHigh)) throw fault(this.stackAccess(segment) ? SSV : GP, 0);
    }
    const firstHost = this.page(low, high, write, user);
    const firstFrame = this.walk.frame;
    const secondHost = this.page(nextLow, nextHigh, write, user);
    const secondFrame = this.walk.frame;
    const bounce = cpu.base + S.BOUNCE;
    const part = PAGE - offset;
    if (read) {
      this.gather(firstFrame, offset, bounce, part);
      this.gather(secondFrame, 0, bounce + part, size - part);
    }
    if (write) {
      this.stagedSize = size;
      this.stagedOffset = offset;
      this.stagedFrame[0] = firstFrame;
      this.stagedFrame[1] = secondFrame;
      this.stagedHost[0] = firstHost;
      this.stagedHost[1] = secondHost;
    }
    return bounce;
  }

  private gather(frame: number, offset: number, at: number, size: number): void {
    const host = this.cpu.physical.page(frame, false);
    if (host !== 0) this.cpu.u8.copyWithin(at, host + offset, host + offset + size);
    else this.device(frame * PAGE + offset, at, size, false);
  }

  /** Host address of a page after the walk, 0 when no (writable) RAM answers. Throws #PF. */
  private page(low: number, high: number, write: boolean, user: boolean): number {
    const { cpu, walk } = this;
    if (!walk.translate(high, low, write ? WRITE : READ, user, this.implicit)) throw this.pageFault(low, high);
    return cpu.physical.page(walk.frame, write);
  }

  private pageFault(low: number, high: number): GuestFault {
    const { cpu } = this;
    cpu.set32(S.CR2, low);
    cpu.set32(S.CR2 + 4, high);
    return fault(PFV, this.walk.error);
  }

  private stackAccess(segment: number): boolean {
    if (segment >= 0) return segment === S.SS;
    // The record's segment number: see decode/record.ts.
    return !this.implicit && this.routineSegment < 0
      ? this.cpu.u8[this.cpu.get32(S.RECORD) + 13] === S.SS
      : this.routineSegment === S.SS;
  }
  /** Segment of the routine's current operand, -1 while compiled code runs. */
  private routineSegment = -1;

  private checksAlignment(): boolean {
    const { cpu } = this;
    return (cpu.get32(S.CR0) & CR0_AM) !== 0 && (cpu.get32(S.EFLAGS_REST) & S.AC) !== 0;
  }

  // ---- routines ----

  private at(linear: bigint, size: number, read: boolean, write: boolean): number {
    const { cpu } = this;
    const cut = cpu.longMode ? linear : linear & 0xffff_ffffn;
    const low = Number(cut & 0xffff_ffffn),
      high = Number((cut >> 32n) & 0xffff_ffffn);
    const offset = low & (PAGE - 1);
    const tag =
      (this.tlbSet() + ((low >>> 12) & (S.TLB_ENTRIES - 1)) * S.TLB_ENTRY + (write ? S.TLB_WRITE : S.TLB_READ)) >>> 2;
    if (cpu.u32[tag] === low - offset && cpu.u32[tag + 1] === high && offset + size <= PAGE) {
      if (write) this.stagedSize = 0;
      return cpu.u32[tag + ((S.TLB_HOST - (write ? S.TLB_WRITE : S.TLB_READ)) >>> 2)] + offset;
    }
    return this.access(low, high, size, read, write, this.routineSegment);
  }

  read(linear: bigint, size: 1 | 2 | 4): number {
    const at = this.at(linear, size, true, false);
    const { u8, view } = this.cpu;
    return size === 1 ? u8[at] : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
  }

  read64(linear: bigint): bigint {
    return this.cpu.view.getBigUint64(this.at(linear, 8, true, false), true);
  }

  write(linear: bigint, size: 1 | 2 | 4, value: number): void {
    const at = this.at(linear, size, false, true);
    const { u8, view } = this.cpu;
    if (size === 1) u8[at] = value;
    else if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    this.commit();
  }

  write64(linear: bigint, value: bigint): void {
    this.cpu.view.setBigUint64(this.at(linear, 8, false, true), value, true);
    this.commit();
  }

  /** Runs accesses as the processor's own. */
  system(inner: () => void): void {
    const before = this.implicit;
    this.implicit = true;
    try {
      inner();
    } finally {
      this.implicit = before;
    }
  }

  // One access as the processor's own; these are frequent enough to do without closures.

  readSystem(linear: bigint, size: 1 | 2 | 4): number {
    const before = this.implicit;
    this.implicit = true;
    try {
      return this.read(linear, size);
    } finally {
      this.implicit = before;
    }
  }

  readSystem64(linear: bigint): bigint {
    const before = this.implicit;
    this.implicit = true;
    try {
      return this.read64(linear);
    } finally {
      this.implicit = before;
    }
  }

  writeSystem(linear: bigint, size: 1 | 2 | 4, value: number): void {
    const before = this.implicit;
    this.implicit = true;
    try {
      this.write(linear, size, value);
    } finally {
      this.implicit = before;
    }
  }

  writeSystem64(linear: bigint, value: bigint): void {
    const before = this.implicit;
    this.implicit = true;
    try {
      this.write64(linear, value);
    } finally {
      this.implicit = before;
    }
  }

  /** Checks that every byte of a range can be accessed. */
  probe(linear: bigint, size: number, write: boolean): void {
    const { cpu } = this;
    const user = !this.implicit && cpu.cpl === 3;
    for (let done = 0; done < size; ) {
      const here = cpu.longMode ? BigInt.asUintN(64, linear + BigInt(done)) : (linear + BigInt(done)) & 0xffff_ffffn;
      const low = Number(here & 0xffff_ffffn),
        high = Number(here >> 32n);
      if (cpu.longMode && !canonical(high)) throw fault(this.routineSegment === S.SS ? SSV : GP, 0);
      if (!this.known(low, high, write)) this.page(low, high, write, user);
      done += PAGE - (low & (PAGE - 1));
    }
  }

  /** The TLB says that the page may be accessed so. */
  private known(low: number, high: number, write: boolean): boolean {
    const entry = this.tlbSet() + ((low >>> 12) & (S.TLB_ENTRIES - 1)) * S.TLB_ENTRY;
    const tag = (entry + (write ? S.TLB_WRITE : S.TLB_READ)) >>> 2;
    return this.cpu.u32[tag] === (low & ~(PAGE - 1)) >>> 0 && this.cpu.u32[tag + 1] === high;
  }

  /** Code fetch: host address of the page behind a linear address, 0 when no RAM answers; throws #PF or #GP. */
  fetchPage(low: number, high: number): number {
    const { cpu, walk } = this;
    if (cpu.longMode && !canonical(high)) throw fault(GP, 0);
    if (!walk.translate(high, low, EXECUTE, cpu.cpl === 3, false)) throw this.pageFault(low, high);
    return cpu.physical.page(walk.frame, false);
  }

  copyIn(linear: bigint, into: Uint8Array): boolean {
    return this.copy(linear, into.length, false, (host, at, size) =>
      into.set(this.cpu.u8.subarray(host, host + size), at),
    );
  }

  copyOut(linear: bigint, from: Uint8Array): boolean {
    return this.copy(linear, from.length, true, (host, at, size) => {
      this.cpu.u8.set(from.subarray(at, at + size), host);
      this.cpu.code.written(this.walk.frame, host & (PAGE - 1), size);
    });
  }

  private copy(
    linear: bigint,
    length: number,
    write: boolean,
    move: (host: number, at: number, size: number) => void,
  ): boolean {
    const { cpu, walk } = this;
    for (let done = 0; done < length; ) {
      const sum = linear + BigInt(done);
      const here = cpu.longMode ? BigInt.asUintN(64, sum) : sum & 0xffff_ffffn;
      const low = Number(here & 0xffff_ffffn),
        high = Number(here >> 32n);
      if (cpu.longMode && !canonical(high)) return false;
      if (!walk.translate(high, low, write ? WRITE : READ, false, false)) return false;
      const host = cpu.physical.page(walk.frame, write);
      if (host === 0) return false;
      const offset = low & (PAGE - 1);
      const size = Math.min(PAGE - offset, length - done);
      move(host + offset, done, size);
      done += size;
    }
    return true;
  }

  operandAddress(insn: Insn, size: number, write: boolean): bigint {
    const { memory } = insn;
    if (memory === undefined) throw new Error('the instruction has no memory operand');
    const offset = this.operandOffset(insn);
    this.routineSegment = memory.segment;
    return this.segmented(memory.segment, offset, size, write);
  }

  /** Offset of a routine's memory operand inside its segment. */
  operandOffset(insn: Insn): bigint {
    const { cpu } = this;
    const memory = insn.memory!;
    let offset = memory.displacement;
    if (memory.base === 16) offset += cpu.rip + BigInt(insn.length);
    else if (memory.base >= 0) offset += cpu.gpr(memory.base);
    if (memory.index >= 0) offset += cpu.gpr(memory.index) << BigInt(memory.scale);
    return BigInt.asUintN(insn.addressSize, offset);
  }

  /** Linear address of an offset in a segment after type and limit checks. */
  segmented(segment: number, offset: bigint, size: number, write: boolean): bigint {
    const { cpu } = this;
    const at = S.seg(segment);
    if (cpu.code64) {
      const base = segment >= S.FS ? cpu.get64(at) : 0n;
      return BigInt.asUintN(64, base + offset);
    }
    if (!this.segmentAllows(segment, Number(offset & 0xffff_ffffn), size, write))
      throw fault(segment === S.SS ? SSV : GP, 0);
    return (cpu.get64(at) + offset) & 0xffff_ffffn;
  }

  /** Type and limit rules outside 64-bit mode (key `sdm:3A "Limit Checking"`). */
  segmentAllows(segment: number, offset: number, size: number, write: boolean): boolean {
    const { cpu } = this;
    const at = S.seg(segment);
    const attr = cpu.get32(at + S.SEG_ATTR);
    const limit = cpu.get32(at + S.SEG_LIMIT);
    if ((attr & (S.ATTR_UNUSABLE | 0x80)) !== 0x80) return false;
    const type = attr & 0xf;
    if (cpu.protectedMode && !cpu.virtual8086) {
      if ((type & 8) !== 0 ? write || (type & 2) === 0 : write && (type & 2) === 0) return false;
    }
    const last = offset + size - 1;
    if ((type & 0xc) === 4) return offset > limit && last <= ((attr & 0x4000) !== 0 ? 0xffff_ffff : 0xffff);
    return last <= limit;
  }

  /** Segment check for compiled code: 0 when allowed, else the fault is recorded. Arguments as in {@link slow}. */
  checkSegment(segment: number, offset: number, descriptor: number): number {
    const write = (descriptor & (SLOW_WRITE | SLOW_UPDATE)) !== 0;
    if (this.segmentAllows(segment, offset >>> 0, descriptor & 0xff, write)) return 0;
    const { cpu } = this;
    cpu.set32(S.FAULT_VECTOR, segment === S.SS ? SSV : GP);
    cpu.set32(S.FAULT_CODE, 0);
    cpu.set32(S.FAULT_HAS_CODE, 1);
    return 1;
  }

  /** Forgets which segment the last routine used. */
  endRoutine(): void {
    this.routineSegment = -1;
    this.stagedSize = 0;
  }
}

/** Bits 63..47 of an address, given its upper half, are all equal. */
export const canonical = (high: number): boolean => {
  const top = high >>> 15;
  return top === 0 || top === 0x1ffff;
};
