/**
 * Code cache: decoded records, found by physical page, mode and offset in the page.
 *
 * Each page of code has, per mode, a table of 4096 record addresses in linear memory that the interpreter indexes itself. A store
 * that hits decoded bytes unlinks the records of just those instructions: their table entries become empty, and the records
 * themselves lead to a look-up, so that whoever is among them notices. An instruction that crosses a page belongs to two pages and is
 * looked up by TypeScript each time, which checks both mappings.
 */
import type { Cpu } from '../cpu.ts';
import { absentName } from '../isa/absent.ts';
import { OP_CALL, OP_END } from '../isa/plan.ts';
import { routine } from '../isa/row.ts';
import * as S from '../state.ts';
import { fault, GP, GuestFault, UD } from '../system/fault.ts';
import { discover } from '../translate/discover.ts';
import { type CodeSize, type Decoded, Decoder } from './decoder.ts';
import { type Insn, plainInsn } from './insn.ts';
import { CodePage, regionCovers } from './page.ts';
import { R_LENGTH, R_OP, RECORD_SIZE, writeRecord } from './record.ts';
import {
  frequentPlaces,
  IS_REGION,
  MOST_FREQUENT,
  type RegionCompiler,
  type RegionCounts,
  Regions,
} from './regions.ts';
import { BLOCK_BYTES, CodeSpace } from './space.ts';
import { TEMPLATE_BYTES, TEMPLATE_ENDS, TEMPLATE_LENGTH, Templates } from './templates.ts';

const PAGE = 4096;
/** Most bytes an instruction has, and most that decoding looks at. */
const LONGEST = 15;
/** A straight run longer than this is cut. */
const MAX_RUN = 64;
/** A page is translated while it is less unsettled than this; a region that was hit by a store adds so much. */
const UNSETTLED = 64,
  UNSETTLED_BY = 16;

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

/** What happened so far. */
export interface CodeCounts extends RegionCounts {
  /** Look-ups that ended in TypeScript, and records made. */
  lookups: number;
  records: number;
  /** Stores that hit decoded code, pages dropped because many missed it, and blocks reused. */
  hits: number;
  pagesDropped: number;
  evicted: number;
  /** Times everything was dropped. */
  flushes: number;
}

export class CodeCache {
  readonly counts: CodeCounts = {
    lookups: 0,
    records: 0,
    regions: 0,
    regionBytes: 0,
    regionsHit: 0,
    regionsEvicted: 0,
    hits: 0,
    pagesDropped: 0,
    evicted: 0,
    flushes: 0,
  };
  private readonly pages = new Map<number, CodePage>();
  /** Address of the MARK_* bytes, one for each page of linear memory, at the beginning of the cache's memory. */
  readonly marks: number;
  /** Address of masks, 8 bytes for each page of linear memory, of the parts of pages that have code: {@link CodePage}. */
  readonly parts: number;
  /** Instructions whose records lead to a routine, always or sometimes, by record. */
  private readonly insns = new Map<number, Insn>();
  private readonly cpus: Cpu[] = [];
  private readonly decoder: Decoder;
  private readonly templates = new Templates();
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private readonly words: Uint32Array;
  private readonly begin: number;
  private readonly space: CodeSpace;
  /** By record: address of the table entry that leads to it; 0 is none. */
  private readonly places: Uint32Array;
  /** Page and key of records that cross a page. */
  private readonly crossings = new Map<number, { readonly page: CodePage; readonly key: number }>();
  private readonly straddle = new Uint8Array(32);
  private regions: Regions | undefined;

  constructor(memory: WebAssembly.Memory, begin: number, size: number, options: { forcedEmulation: boolean }) {
    this.view = new DataView(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Uint32Array(memory.buffer);
    this.marks = begin;
    const pages = Math.ceil(memory.buffer.byteLength / PAGE / 64) * 64;
    this.parts = begin + pages;
    this.begin = this.parts + pages * 8;
    this.places = new Uint32Array(size / RECORD_SIZE);
    this.space = new CodeSpace(this.begin, size - (this.begin - begin), {
      evict: (kind, address) => {
        this.counts.evicted++;
        if (kind === 'table') this.dropTable(address);
        else this.dropRecords(address);
      },
      inUse: (records) => this.linked(records) > BLOCK_BYTES / RECORD_SIZE / 4,
    });
    this.decoder = new Decoder(options);
  }

  /** Lets hot code be translated. */
  translateWith(compiler: RegionCompiler): void {
    this.regions = new Regions(compiler, this.words, this.counts);
  }

  attach(cpu: Cpu): void {
    this.cpus.push(cpu);
  }

  insnOf(record: number): Insn {
    return this.insns.get(record)!;
  }

  /** Regions that exist, and the bytes of their modules. */
  get live(): { readonly regions: number; readonly bytes: number; readonly blocks: number } {
    const { regions, space } = this;
    return { regions: regions?.size ?? 0, bytes: regions?.bytes ?? 0, blocks: space.used };
  }

  // ---- translation ----

  /** The place at RIP is hot: translates the region that begins there, if one can. */
  translate(cpu: Cpu): void {
    if (this.regions === undefined) return;
    const linear = cpu.code64 ? cpu.rip : (cpu.get64(S.CS_BASE) + cpu.rip) & 0xffff_ffffn;
    const host = fetchQuietly(cpu, linear);
    const page = this.pages.get(host);
    const mode = cpu.get32(S.MODE);
    const table = page?.tables.get(mode);
    if (page === undefined || table === undefined) return;
    const entry = Number(linear & 0xfffn);
    const place = (table + entry * 8 + 4) >>> 2;
    if (page.unsettled >= UNSETTLED) {
      page.unsettled--;
      this.words[place] = 0;
      return;
    }
    const { decoder, bytes } = this;
    const real = (mode & S.MODE_REAL) !== 0;
    const { storesBeside } = page;
    const threshold = this.words[place];
    const key = mode * PAGE + entry;
    const before = page.arrivals.get(key);
    const frequent = () => frequentPlaces(this.words, table, threshold, before);
    // A place that was hot at once says nothing about others.
    const reached = (offset: number): boolean =>
      threshold <= MOST_FREQUENT || (offset < PAGE && this.words[(table + offset * 8) >>> 2] !== 0);
    const around = { decoder, bytes, host, codeSize: cpu.codeSize, real, storesBeside, reached, frequent };
    const code = discover(around, entry);
    if (code.blocks.length === 0) return;
    // Where it jumps to is known from the arrivals of a second round: those of the first may be from long ago.
    if (code.indirect && before === undefined && threshold > MOST_FREQUENT) {
      page.arrivals.set(key, this.words.slice(table >>> 2, (table + BLOCK_BYTES) >>> 2));
      this.words[place] = 0;
      return;
    }
    page.arrivals.delete(key);
    this.regions.add(code, { page, table, mode, entry });
  }

  /** The code at RIP has often stored beside the code of pages: its page is translated anew, to do that without leaving. */
  noteStoresBeside(cpu: Cpu): void {
    const page = this.pages.get(fetchQuietly(cpu, cpu.linearRip));
    if (page === undefined || page.storesBeside) return;
    page.storesBeside = true;
    for (const region of page.regions) this.regions!.release(region);
  }

  // ---- stores ----

  /** Bytes of a page at a host address were decoded or translated; `size` does not reach beyond the page. */
  holds(host: number, offset: number, size: number): boolean {
    if (!this.has(host)) return false;
    const page = this.pages.get(host)!;
    if (page.covers(offset, offset + size)) return true;
    if (++page.stores >= page.patience) this.dropData(page);
    return false;
  }

  /** The page at a host address has decoded code. */
  has(host: number): boolean {
    return (this.bytes[this.marks + (host >>> 12)] & S.MARK_CODE) !== 0;
  }

  /** A TLB entry that permits writes to a page without code comes into being. */
  noteWritable(host: number): void {
    this.bytes[this.marks + (host >>> 12)] |= S.MARK_WRITTEN;
  }

  /** A store to a guest frame happened; true when translated code was dropped, which may be running. */
  written(frame: number, offset: number, size: number): boolean {
    const host = this.cpus[0].physical.page(frame, false);
    if (host === 0 || !this.has(host)) return false;
    const page = this.pages.get(host)!;
    if (!page.covers(offset, offset + size)) return false;
    this.counts.hits++;
    return this.invalidate(page, offset, offset + size);
  }

  /** Unlinks what was made from a range of a page; true when a region was. */
  private invalidate(page: CodePage, from: number, to: number): boolean {
    let low = from,
      high = to,
      renewed = false,
      changed = page.crossing.size + page.reachedFrom.size > 0;
    for (const [mode, table] of page.tables)
      for (let at = Math.max(0, from - LONGEST + 1); at < to; at++) {
        const place = table + at * 8;
        const record = this.words[place >>> 2];
        if (record === 0) continue;
        const end = at + this.bytes[record + R_LENGTH];
        if (end <= from) continue;
        if (this.renew(mode, page.host + at, record, from - at)) {
          renewed = true;
          continue;
        }
        changed = true;
        if (at < low) low = at;
        high = Math.max(high, end, this.unlinkRun(record, at));
        // What will be there is other code.
        if (this.words[(place + 4) >>> 2] < IS_REGION) this.words[(place + 4) >>> 2] = 0;
      }
    let translated = false;
    for (const region of page.regions)
      if (regionCovers(region, from, to)) {
        translated = true;
        low = Math.min(low, ...region.ranges);
        high = Math.max(high, ...region.ranges);
        page.unsettled += UNSETTLED_BY;
        this.counts.regionsHit++;
        this.regions!.release(region);
      }
    if (to > PAGE - LONGEST + 1) this.dropCrossing(page, (key) => key % PAGE < to);
    if (from < LONGEST)
      for (const other of page.reachedFrom)
        this.dropCrossing(other, (key) => other.crossing.get(key)!.second === page.host);
    // What was renewed in place is where it was.
    if (!renewed || changed || translated) this.recover(page, low, Math.min(PAGE, high));
    return translated;
  }

  /** The store from `written` on, counted from the instruction's start, hit displacement and immediate only: the record takes them over. */
  private renew(mode: number, host: number, record: number, written: number): boolean {
    if (written <= 0 || (host & (PAGE - 1)) + LONGEST > PAGE) return false;
    // What precedes them has not changed, so a template that is longer than that is still the instruction's.
    const scratch = this.space.nextRecord >>> 2;
    const structure = this.templates.write(mode, this.words, scratch, this.bytes, host);
    if (structure === 0 || (structure & TEMPLATE_BYTES) > written) return false;
    this.words.copyWithin(record >>> 2, scratch, scratch + RECORD_SIZE / 4);
    return true;
  }

  /**
   * Unlinks a record, and if a straight run begins with it, the rest of the run too: whoever overwrites the beginning of a function
   * goes on with the rest of it. Offset behind the last instruction unlinked.
   */
  private unlinkRun(record: number, offset: number): number {
    const first =
      (record - this.begin) % BLOCK_BYTES === 0 || this.view.getUint16(record - RECORD_SIZE + R_OP, true) === OP_END;
    let end = offset;
    do {
      end += this.bytes[record + R_LENGTH];
      this.unlink(record);
      record += RECORD_SIZE;
    } while (first && this.view.getUint16(record + R_OP, true) !== OP_END);
    return end;
  }

  /** Finds out anew which bytes of a range are part of code. */
  private recover(page: CodePage, from: number, to: number): void {
    page.uncover(from, to);
    for (const table of page.tables.values())
      for (let at = Math.max(0, from - LONGEST + 1); at < to; at++) {
        const record = this.words[(table + at * 8) >>> 2];
        if (record !== 0) page.cover(at, Math.min(PAGE, at + this.bytes[record + R_LENGTH]));
      }
    for (const { ranges } of page.regions)
      for (let i = 0; i < ranges.length; i += 2)
        if (ranges[i] < to && ranges[i + 1] > from) page.cover(ranges[i], ranges[i + 1]);
    for (const key of page.crossing.keys()) page.cover(key % PAGE, PAGE);
    if (from < LONGEST && page.reachedFrom.size > 0) page.cover(0, LONGEST);
  }

  private dropCrossing(page: CodePage, which: (key: number) => boolean): void {
    for (const [key, { record }] of page.crossing)
      if (which(key)) {
        page.crossing.delete(key);
        this.crossings.delete(record);
        this.unlink(record);
      }
  }

  /** Whoever comes to a record looks its instruction up anew. The record of an instruction that is being executed keeps its length. */
  private unlink(record: number): void {
    const index = (record - this.begin) / RECORD_SIZE;
    if (this.places[index] !== 0) this.words[this.places[index] >>> 2] = 0;
    this.places[index] = 0;
    this.view.setUint16(record + R_OP, OP_END, true);
  }

  /** Many stores missed the code of a page: it is dropped, so that they need not be looked at, for longer the next time. */
  private dropData(page: CodePage): void {
    page.stores = 0;
    page.patience = Math.min(page.patience * 2, 1 << 20);
    this.counts.pagesDropped++;
    this.dropPage(page);
  }

  private dropPage(page: CodePage): void {
    for (const table of page.tables.values()) {
      this.clearTable(page, table);
      this.space.free(table);
    }
    page.tables.clear();
    this.dropCrossing(page, () => true);
    for (const other of page.reachedFrom)
      this.dropCrossing(other, (key) => other.crossing.get(key)!.second === page.host);
    page.reachedFrom.clear();
    page.uncover(0, PAGE);
    this.bytes[this.marks + (page.host >>> 12)] = 0;
    for (const cpu of this.cpus) cpu.mem.tlb.flushCode();
  }

  /** Unlinks the records and regions that a table leads to. */
  private clearTable(page: CodePage, table: number): void {
    for (const region of page.regions) if (region.table === table) this.regions!.release(region);
    for (let place = table; place < table + BLOCK_BYTES; place += 8)
      if (this.words[place >>> 2] !== 0) this.unlink(this.words[place >>> 2]);
  }

  // ---- making room ----

  private dropTable(table: number): void {
    for (const page of this.pages.values())
      for (const [mode, other] of page.tables)
        if (other === table) {
          this.clearTable(page, table);
          page.tables.delete(mode);
          this.recover(page, 0, PAGE);
        }
    for (const cpu of this.cpus) cpu.mem.tlb.flushCode();
  }

  /** Records of a block that a table leads to. */
  private linked(records: number): number {
    const first = (records - this.begin) / RECORD_SIZE;
    let count = 0;
    for (let i = first; i < first + BLOCK_BYTES / RECORD_SIZE; i++) if (this.places[i] !== 0) count++;
    return count;
  }

  private dropRecords(block: number): void {
    for (let record = block; record < block + BLOCK_BYTES; record += RECORD_SIZE) {
      this.insns.delete(record);
      const crossing = this.crossings.get(record);
      if (crossing !== undefined) {
        crossing.page.crossing.delete(crossing.key);
        this.crossings.delete(record);
      }
      const index = (record - this.begin) / RECORD_SIZE;
      if (this.places[index] !== 0) this.words[this.places[index] >>> 2] = 0;
      this.places[index] = 0;
    }
  }

  /** Drops everything; every vCPU looks its code up anew. */
  flush(): void {
    this.regions?.releaseAll();
    for (const page of this.pages.values()) this.bytes[this.marks + (page.host >>> 12)] = 0;
    this.pages.clear();
    this.insns.clear();
    this.crossings.clear();
    this.places.fill(0, 0, this.space.touched / RECORD_SIZE);
    this.space.reset();
    this.counts.flushes++;
    for (const cpu of this.cpus) cpu.mem.tlb.flushCode();
  }

  // ---- look-up ----

  private pageOf(host: number): CodePage {
    let page = this.pages.get(host);
    if (page === undefined) {
      const parts = (this.parts + (host >>> 12) * 8) >>> 2;
      page = new CodePage(host, this.words.subarray(parts, parts + 2));
      this.pages.set(host, page);
    }
    const mark = this.marks + (host >>> 12);
    if ((this.bytes[mark] & S.MARK_CODE) === 0) {
      if ((this.bytes[mark] & S.MARK_WRITTEN) !== 0) for (const cpu of this.cpus) cpu.mem.tlb.protect(host);
      this.bytes[mark] = S.MARK_CODE;
    }
    return page;
  }

  private tableOf(page: CodePage, mode: number): number {
    let table = page.tables.get(mode);
    if (table === undefined) {
      const { address, cleared } = this.space.table();
      table = address;
      if (!cleared) this.words.fill(0, table >>> 2, (table + BLOCK_BYTES) >>> 2);
      page.tables.set(mode, table);
    } else this.space.touch(table);
    return table;
  }

  /**
   * Makes the instruction at RIP executable. Returns 0 when the interpreter will find it through its tables, or a record
   * address to start with. Throws the fault of the fetch.
   */
  lookup(cpu: Cpu): number {
    this.counts.lookups++;
    this.space.reserve((MAX_RUN + 2) * RECORD_SIZE);
    const linear = cpu.code64 ? cpu.rip : (cpu.get64(S.CS_BASE) + cpu.rip) & 0xffff_ffffn;
    const low = Number(linear & 0xffff_ffffn),
      high = Number(linear >> 32n);
    const host = cpu.mem.fetchPage(low, high);
    const mode = cpu.get32(S.MODE);
    const offset = low & (PAGE - 1);
    if (host === 0) return this.single(cpu, undefinedRow, 1);
    const page = this.pageOf(host);
    const table = this.tableOf(page, mode);
    cpu.mem.tlb.enterCode(low, high, mode, table, host);
    if (this.words[(table + offset * 8) >>> 2] !== 0) return 0;
    const crossing = page.crossing.get(mode * PAGE + offset);
    if (crossing !== undefined && cpu.mem.fetchPage((low & ~(PAGE - 1)) + PAGE, carry(low, high)) === crossing.second)
      return crossing.record;
    return this.decodeRun(cpu, page, table, offset, low, high, mode);
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
      const place = table + offset * 8;
      if (offset >= PAGE || this.words[place >>> 2] !== 0) break;
      const host = page.host + offset;
      const structure =
        offset + LONGEST <= PAGE
          ? this.templates.write(mode, this.words, this.space.nextRecord >>> 2, this.bytes, host)
          : 0;
      if (structure !== 0) {
        this.newRecord(place);
        offset += structure >>> TEMPLATE_LENGTH;
        if ((structure & TEMPLATE_ENDS) !== 0) break;
        continue;
      }
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
      const record = this.newRecord(place);
      if (typeof d === 'string') {
        page.cover(offset, Math.min(PAGE, offset + LONGEST));
        this.writeCall(record, d === 'long' ? tooLongRow : undefinedRow, 2, codeSize);
        break;
      }
      this.write(record, d, mode);
      this.learn(record, d, mode, host);
      offset += d.length;
      if (d.row.ends === true || d.row.mean === undefined) break;
    }
    page.cover(start, offset);
    this.endRun();
    return 0;
  }

  /** `place`: the table entry that will lead to it; 0 is none. */
  private newRecord(place = 0): number {
    this.counts.records++;
    const record = this.space.record(RECORD_SIZE);
    if (place !== 0) {
      this.words[place >>> 2] = record;
      this.places[(record - this.begin) / RECORD_SIZE] = place;
    }
    return record;
  }

  /** Instructions that no routine has to know can be made from a template the next time. */
  private learn(record: number, d: Decoded, mode: number, host: number): void {
    if (d.row.call !== undefined) return;
    let immediates = 0;
    for (const { letter } of d.parsed.operands) {
      if (letter === 'O' || letter === 'A') return;
      if (letter === 'I' || letter === 'J') immediates++;
    }
    if (immediates > 1) return;
    const { structure: bytes, displacementBytes: displacement } = this.decoder;
    const immediate = d.length - bytes - displacement;
    const ends = d.row.ends === true;
    this.templates.learn(mode, this.words, record >>> 2, this.bytes, host, { bytes, displacement, immediate, ends });
  }

  private endRun(): void {
    this.view.setUint16(this.space.record(RECORD_SIZE) + R_OP, OP_END, true);
  }

  private write(record: number, d: Decoded, mode: number): void {
    if (d.row.call !== undefined) this.insns.set(record, d);
    writeRecord(this.view, record, d, mode);
  }

  private writeCall(record: number, row: typeof undefinedRow, length: number, codeSize: CodeSize): void {
    this.view.setUint16(record + R_OP, OP_CALL, true);
    // What was looked at, not what is executed: this says which stores touch it.
    this.view.setUint8(record + R_LENGTH, LONGEST);
    this.insns.set(record, plainInsn(row, length, codeSize));
  }

  private single(cpu: Cpu, row: typeof undefinedRow, length: number): number {
    const record = this.newRecord();
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
    const record = this.newRecord();
    this.write(record, d, mode);
    this.endRun();
    if (second !== 0) {
      const key = mode * PAGE + offset;
      const other = this.pageOf(second);
      page.cover(offset, PAGE);
      other.cover(0, LONGEST);
      other.reachedFrom.add(page);
      const before = page.crossing.get(key);
      if (before !== undefined) this.crossings.delete(before.record);
      page.crossing.set(key, { second, record });
      this.crossings.set(record, { page, key });
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
