/**
 * Code cache: decoded records, found by physical page, mode and offset in the page.
 *
 * Each page of code has, per mode, a table of 4096 record addresses in linear memory that the interpreter indexes itself. A store
 * to a page that has records drops them when it touches bytes that were decoded (in units of 64 bytes). An
 * instruction that crosses a page belongs to two pages and is looked up by TypeScript each time, which checks both mappings.
 */
import type { Cpu } from '../cpu.ts';
import { REGION_SLOTS } from '../interpret/slots.ts';
import { absentName } from '../isa/absent.ts';
import { OP_CALL, OP_END } from '../isa/plan.ts';
import { routine } from '../isa/row.ts';
import * as S from '../state.ts';
import { fault, GP, GuestFault, UD } from '../system/fault.ts';
import { type Block, discover } from '../translate/discover.ts';
import { type CodeSize, type Decoded, Decoder } from './decoder.ts';
import { type Insn, plainInsn } from './insn.ts';
import { R_IMMEDIATE, R_LENGTH, R_OP, RECORD_SIZE, writeRecord } from './record.ts';

const PAGE = 4096;
/** Per byte of a page: record address u32, then arrivals or (bit 31 set) the region that begins there, u32. */
const TABLE_BYTES = PAGE * 8;
/** A straight run longer than this is cut. */
const MAX_RUN = 64;

/** What the cache knows of one page of host memory. */
interface CodePage {
  readonly host: number;
  /** Record tables by mode key; 0 is none. */
  readonly tables: Map<number, number>;
  /** Bit n of low/high: bytes 64n.. of the page were decoded. */
  coveredLow: number;
  coveredHigh: number;
  crossing: Map<number, CrossingCode>;
  /** Pages whose last instruction reaches into this one. */
  readonly reachedFrom: Set<CodePage>;
}

/** An instruction whose bytes lie in two pages. */
export interface CrossingCode {
  readonly second: number;
  readonly record: number;
}

const undefinedRow = routine('(undefined)', '0F 0B', '', {}, (cpu, insn) => {
  const start = cpu.get64(S.CS_BASE) + cpu.rip;
  // What follows on the next page may be absent; the opcode is told by what there is.
  let bytes = new Uint8Array(Math.min(15, PAGE - Number(start & 0xfffn)));
  if (!cpu.tryReadLinear(start, bytes)) bytes = new Uint8Array(0);
  cpu.traps.unknownInstruction(cpu, absentName(bytes, insn.codeSize));
  throw fault(UD);
});
const tooLongRow = routine('(over 15 bytes)', '0F 0B', '', {}, () => {
  throw fault(GP, 0);
});

/** Compiles a region into a slot of the interpreter's table. */
export type RegionCompiler = (slot: number, blocks: readonly Block[], entry: number, mode: number) => void;

export class CodeCache {
  private readonly pages = new Map<number, CodePage>();
  private readonly marked = new Uint8Array(1 << 20);
  private readonly insns: Insn[] = [];
  /** Instructions with a meaning that may leave the rest to a routine, by record. */
  private readonly usual = new Map<number, Insn>();
  private readonly cpus: Cpu[] = [];
  private readonly decoder: Decoder;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private readonly words: Uint32Array;
  private readonly begin: number;
  private readonly end: number;
  private next: number;
  private readonly straddle = new Uint8Array(32);
  /** Times everything was dropped because the cache was full. */
  flushes = 0;
  /** Regions made so far. */
  translated = 0;
  private regions = 0;
  private compiler: RegionCompiler | undefined;

  constructor(memory: WebAssembly.Memory, begin: number, size: number, options: { forcedEmulation: boolean }) {
    this.view = new DataView(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Uint32Array(memory.buffer);
    this.begin = begin;
    this.end = begin + size;
    this.next = begin;
    this.decoder = new Decoder(options);
  }

  /** Lets hot code be translated: `compile` turns a region's module into an entry in the interpreter's table. */
  translateWith(compiler: RegionCompiler): void {
    this.compiler = compiler;
  }

  /** The place at RIP is hot: translates the region that begins there, if one can. */
  translate(cpu: Cpu): void {
    if (this.compiler === undefined) return;
    const linear = cpu.code64 ? cpu.rip : (cpu.get64(S.CS_BASE) + cpu.rip) & 0xffff_ffffn;
    const host = fetchQuietly(cpu, linear);
    const page = this.pages.get(host);
    const mode = cpu.get32(S.MODE);
    const table = page?.tables.get(mode);
    if (page === undefined || table === undefined) return;
    const entry = Number(linear & 0xfffn);
    const blocks = discover(this.decoder, this.bytes, host, entry, cpu.codeSize, (mode & S.MODE_REAL) !== 0);
    if (blocks.length === 0) return;
    if (this.regions >= REGION_SLOTS) {
      this.flush();
      return;
    }
    for (const block of blocks) this.cover(page, block.offset, block.end);
    const slot = this.regions++;
    this.compiler(slot, blocks, entry, mode);
    this.words[(table + entry * 8 + 4) >>> 2] = (0x8000_0000 | slot) >>> 0;
    this.translated++;
  }

  attach(cpu: Cpu): void {
    this.cpus.push(cpu);
  }

  insnOf(record: number): Insn {
    return this.usual.get(record) ?? this.insns[Number(this.view.getBigInt64(record + R_IMMEDIATE, true))];
  }

  /** The page at a host address has decoded code. */
  has(host: number): boolean {
    return this.marked[host >>> 12] !== 0;
  }

  /** Drops everything; every vCPU looks its code up anew. */
  flush(): void {
    for (const page of this.pages.values()) this.marked[page.host >>> 12] = 0;
    this.pages.clear();
    this.insns.length = 0;
    this.usual.clear();
    this.regions = 0;
    this.next = this.begin;
    this.flushes++;
    for (const cpu of this.cpus) cpu.mem.flushCode();
  }

  /** A store to a guest frame happened; true when decoded code was dropped. */
  written(frame: number, offset: number, size: number): boolean {
    const host = this.cpus[0].physical.page(frame, false);
    if (host === 0 || this.marked[host >>> 12] === 0) return false;
    const page = this.pages.get(host);
    if (page === undefined) return false;
    let touched = false;
    for (let unit = offset >>> 6; unit <= (offset + size - 1) >>> 6 && unit < 64; unit++)
      touched ||= ((unit < 32 ? page.coveredLow >>> unit : page.coveredHigh >>> (unit - 32)) & 1) !== 0;
    if (touched) this.drop(page);
    return touched;
  }

  private drop(page: CodePage): void {
    this.pages.delete(page.host);
    this.marked[page.host >>> 12] = 0;
    for (const from of page.reachedFrom) from.crossing.clear();
    for (const cpu of this.cpus) cpu.mem.flushCode();
  }

  private pageOf(host: number): CodePage {
    let page = this.pages.get(host);
    if (page === undefined) {
      page = { host, tables: new Map(), coveredLow: 0, coveredHigh: 0, crossing: new Map(), reachedFrom: new Set() };
      this.pages.set(host, page);
      this.marked[host >>> 12] = 1;
      for (const cpu of this.cpus) cpu.mem.protect(host);
    }
    return page;
  }

  private cover(page: CodePage, from: number, to: number): void {
    for (let unit = from >>> 6; unit <= (to - 1) >>> 6; unit++)
      if (unit < 32) page.coveredLow |= 1 << unit;
      else page.coveredHigh |= 1 << (unit - 32);
  }

  /**
   * Makes the instruction at RIP executable. Returns 0 when the interpreter will find it through its tables, or a record
   * address to start with. Throws the fault of the fetch.
   */
  lookup(cpu: Cpu): number {
    if (this.end - this.next < TABLE_BYTES + (MAX_RUN + 2) * RECORD_SIZE) this.flush();
    const linear = cpu.code64 ? cpu.rip : (cpu.get64(S.CS_BASE) + cpu.rip) & 0xffff_ffffn;
    const low = Number(linear & 0xffff_ffffn),
      high = Number(linear >> 32n);
    const host = cpu.mem.fetchPage(low, high);
    const mode = cpu.get32(S.MODE);
    const offset = low & (PAGE - 1);
    if (host === 0) return this.single(cpu, undefinedRow, 1);
    const page = this.pageOf(host);
    let table = page.tables.get(mode);
    if (table === undefined) {
      table = this.next;
      this.next += TABLE_BYTES;
      this.words.fill(0, table >>> 2, (table + TABLE_BYTES) >>> 2);
      page.tables.set(mode, table);
    }
    this.enter(cpu, low, high, mode, table);
    if (this.words[(table + offset * 8) >>> 2] !== 0) return 0;
    const crossing = page.crossing.get(mode * PAGE + offset);
    if (crossing !== undefined && cpu.mem.fetchPage((low & ~(PAGE - 1)) + PAGE, carry(low, high)) === crossing.second)
      return crossing.record;
    return this.decodeRun(cpu, page, table, offset, low, high, mode);
  }

  /** Puts a page's table into the vCPU's code look-aside. */
  private enter(cpu: Cpu, low: number, high: number, mode: number, table: number): void {
    const slot = ((low >>> 12) + (mode << 3)) & (S.CODE_TLB_ENTRIES - 1);
    const at = (cpu.base + S.CODE_TLB + slot * S.CODE_TLB_ENTRY) >>> 2;
    this.words[at] = ((low & ~(PAGE - 1)) | mode) >>> 0;
    this.words[at + 1] = high;
    this.words[at + 2] = table;
  }

  private decodeRun(
    cpu: Cpu,
    page: CodePage,
    table: number,
    start: number,
    low: number,
    high: number,
    mode: number,
  ): number {
    const { codeSize } = cpu;
    let offset = start;
    for (let count = 0; count < MAX_RUN; count++) {
      if (offset >= PAGE || this.words[(table + offset * 8) >>> 2] !== 0) break;
      const d = this.decoder.decode(
        this.bytes,
        page.host + offset,
        page.host + PAGE,
        codeSize,
        (mode & S.MODE_REAL) !== 0,
      );
      if (d === 'more') {
        if (offset === start) return this.decodeCrossing(cpu, page, offset, low, high, mode, codeSize);
        break;
      }
      const record = this.next;
      this.next += RECORD_SIZE;
      this.words[(table + offset * 8) >>> 2] = record;
      if (typeof d === 'string') {
        this.cover(page, offset, Math.min(PAGE, offset + 15));
        this.writeCall(record, d === 'long' ? tooLongRow : undefinedRow, 2, codeSize);
        break;
      }
      this.cover(page, offset, offset + d.length);
      this.write(record, d, mode);
      offset += d.length;
      if (d.row.ends === true || d.row.mean === undefined) break;
    }
    this.endRun();
    return 0;
  }

  private endRun(): void {
    this.view.setUint16(this.next + R_OP, OP_END, true);
    this.next += RECORD_SIZE;
  }

  private write(record: number, d: Decoded, mode: number): void {
    let callIndex = 0;
    if (d.row.mean === undefined) {
      callIndex = this.insns.length;
      this.insns.push(d);
    } else if (d.row.call !== undefined) this.usual.set(record, d);
    writeRecord(this.view, record, d, mode, callIndex);
  }

  private writeCall(record: number, row: typeof undefinedRow, length: number, codeSize: CodeSize): void {
    this.view.setUint16(record + R_OP, OP_CALL, true);
    this.view.setUint8(record + R_LENGTH, length);
    this.view.setBigInt64(record + R_IMMEDIATE, BigInt(this.insns.length), true);
    this.insns.push(plainInsn(row, length, codeSize));
  }

  private single(cpu: Cpu, row: typeof undefinedRow, length: number): number {
    const record = this.next;
    this.next += RECORD_SIZE;
    this.writeCall(record, row, length, cpu.codeSize);
    this.endRun();
    return record;
  }

  private decodeCrossing(
    cpu: Cpu,
    page: CodePage,
    offset: number,
    low: number,
    high: number,
    mode: number,
    codeSize: CodeSize,
  ): number {
    const { straddle } = this;
    const here = PAGE - offset;
    straddle.set(this.bytes.subarray(page.host + offset, page.host + PAGE));
    const second = cpu.mem.fetchPage((low & ~(PAGE - 1)) + PAGE, carry(low, high));
    if (second === 0) straddle.fill(0xff, here);
    else straddle.set(this.bytes.subarray(second, second + 32 - here), here);
    const d = this.decoder.decode(straddle, 0, 32, codeSize, (mode & S.MODE_REAL) !== 0);
    if (typeof d === 'string') return this.single(cpu, d === 'long' ? tooLongRow : undefinedRow, 2);
    const record = this.next;
    this.next += RECORD_SIZE;
    this.write(record, d, mode);
    this.endRun();
    if (second !== 0) {
      const other = this.pageOf(second);
      this.cover(page, offset, PAGE);
      this.cover(other, 0, Math.max(1, d.length - here));
      other.reachedFrom.add(page);
      page.crossing.set(mode * PAGE + offset, { second, record });
    }
    return record;
  }
}

/** Host address of the page that code is fetched from, 0 when it went meanwhile: the look-aside may still know it. Nothing is raised. */
const fetchQuietly = (cpu: Cpu, linear: bigint): number => {
  const cr2 = cpu.get64(S.CR2);
  try {
    return cpu.mem.fetchPage(Number(linear & 0xffff_ffffn), Number(linear >> 32n));
  } catch (e) {
    if (!(e instanceof GuestFault)) throw e;
    cpu.set64(S.CR2, cr2);
    return 0;
  }
};

/** Upper half of the linear address of the next page. */
const carry = (low: number, high: number): number => (low >>> 12 === 0xf_ffff ? (high + 1) >>> 0 : high);
