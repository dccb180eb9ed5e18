/**
 * Bookkeeping of one vCPU's TLB sets, which compiled code reads inline and fills as well, and of its code look-aside.
 *
 * Entries that may hold something are in a log, so that a flush costs what was filled. After a flush the look-aside keeps its places of code, but
 * each is walked again before it counts. Hot; measured by `npm run bench` (`cr3`, `pte`, `mem`).
 */
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import type { PageWalk } from './walk.ts';

const PAGE = 4096;
const INVALID_LOW = Number(S.TLB_INVALID & 0xffff_ffffn),
  INVALID_HIGH = Number(S.TLB_INVALID >> 32n);

export class Tlb {
  private readonly cpu: Cpu;
  private readonly walk: PageWalk;
  /** Slots of the code look-aside in use. */
  private readonly codeSlots = new Uint16Array(S.CODE_TLB_ENTRIES);
  private codeCount = 0;
  /** Some of them are parts of large pages. */
  private codeLarge = false;

  constructor(cpu: Cpu, walk: PageWalk) {
    this.cpu = cpu;
    this.walk = walk;
  }

  /** Makes everything empty, whatever it holds: for memory that has just become a vCPU's. */
  reset(): void {
    const { cpu } = this;
    for (let set = 0; set < 4; set++) this.clear(cpu.base + S.TLB_SETS + set * S.TLB_SET);
    this.codeCount = 0;
    const at = (cpu.base + S.CODE_TLB) >>> 3;
    cpu.u64.fill(S.TLB_INVALID, at, at + (S.CODE_TLB_ENTRIES * S.CODE_TLB_ENTRY) / 8);
  }

  /** Drops translations; global ones are kept unless `global`. */
  flush(global: boolean): void {
    const { cpu } = this;
    const log = (cpu.base + S.TLB_LOG) >>> 2;
    const count = cpu.get32(S.TLB_LOG_COUNT);
    const all = count > S.TLB_LOG_SIZE;
    const first = cpu.base + S.TLB_SETS;
    let kept = 0;
    // What a full log has lost is found by looking at every entry.
    for (let i = 0; i < (all ? 3 * S.TLB_ENTRIES : count); i++) {
      const entry = all ? first + i * S.TLB_ENTRY : cpu.u32[log + i];
      if (global || (cpu.u32[(entry + S.TLB_FLAGS) >>> 2] & S.TLB_GLOBAL) === 0) this.clear(entry);
      else if (kept++ < S.TLB_LOG_SIZE) cpu.u32[log + kept - 1] = entry;
    }
    cpu.set32(S.TLB_LOG_COUNT, kept);
    if (kept === 0) cpu.set32(S.TLB_LARGE, 0);
    this.doubtCode();
  }

  /** Every entry that may hold something. */
  private eachFilled(visit: (entry: number) => void): void {
    const { cpu } = this;
    const log = (cpu.base + S.TLB_LOG) >>> 2;
    const count = cpu.get32(S.TLB_LOG_COUNT);
    if (count <= S.TLB_LOG_SIZE) for (let i = 0; i < count; i++) visit(cpu.u32[log + i]);
    else {
      const first = cpu.base + S.TLB_SETS;
      for (let at = first; at < first + 3 * S.TLB_SET; at += S.TLB_ENTRY) visit(at);
    }
  }

  /** Forgets where decoded code is. */
  flushCode(): void {
    const first = (this.cpu.base + S.CODE_TLB) >>> 2;
    for (let i = 0; i < this.codeCount; i++) this.emptyCode(first + this.codeSlots[i] * (S.CODE_TLB_ENTRY >>> 2));
    this.codeCount = 0;
    this.codeLarge = false;
  }

  /** Translations may have changed: each page of code is walked again when it is next met. */
  private doubtCode(): void {
    const { u32, base } = this.cpu;
    const first = (base + S.CODE_TLB) >>> 2;
    for (let i = 0; i < this.codeCount; i++) u32[first + this.codeSlots[i] * (S.CODE_TLB_ENTRY >>> 2)] |= S.CODE_STALE;
  }

  private emptyCode(at: number): void {
    this.cpu.u32[at] = INVALID_LOW;
    this.cpu.u32[at + 1] = INVALID_HIGH;
  }

  /** Puts the table of a page of code, whose translation was walked last, into the code look-aside. */
  enterCode(low: number, high: number, mode: number, table: number, host: number): void {
    const { u32, base } = this.cpu;
    const slot = ((low >>> 12) + (low >>> 20) + (mode << 3)) & (S.CODE_TLB_ENTRIES - 1);
    const at = (base + S.CODE_TLB + slot * S.CODE_TLB_ENTRY) >>> 2;
    if (u32[at + 1] === INVALID_HIGH) this.codeSlots[this.codeCount++] = slot;
    u32[at] = ((low & ~(PAGE - 1)) | mode) >>> 0;
    u32[at + 1] = high;
    u32[at + 2] = table;
    u32[at + 3] = host;
    if (this.walk.pageShift > 12) this.codeLarge = true;
  }

  private clear(entry: number): void {
    const { u32 } = this.cpu;
    const at = entry >>> 2;
    // See {@link S.TLB_INVALID}: page 0 belongs into the first entry.
    const first = (entry - this.cpu.base - S.TLB_SETS) % S.TLB_SET === 0;
    u32[at] = u32[at + 2] = first ? INVALID_LOW : 0;
    u32[at + 1] = u32[at + 3] = first ? INVALID_HIGH : 0;
    u32[at + 5] = 0;
  }

  /** Empties an entry that stays in the log. */
  private drop(entry: number): void {
    const logged = this.cpu.u32[(entry + S.TLB_FLAGS) >>> 2] & S.TLB_LOGGED;
    this.clear(entry);
    this.cpu.u32[(entry + S.TLB_FLAGS) >>> 2] = logged;
  }

  private emptyWrite(entry: number): void {
    const { u32 } = this.cpu;
    const at = entry >>> 2;
    const first = (entry - this.cpu.base - S.TLB_SETS) % S.TLB_SET === 0;
    u32[at + 2] = first ? INVALID_LOW : 0;
    u32[at + 3] = first ? INVALID_HIGH : 0;
  }

  /** Drops the translation of the page that holds an address (halves): all entries of it when it is a large one. */
  flushPage(low: number, high: number): void {
    const { cpu } = this;
    const index = ((low >>> 12) & (S.TLB_ENTRIES - 1)) * S.TLB_ENTRY;
    for (let set = 0; set < 3; set++) this.drop(cpu.base + S.TLB_SETS + set * S.TLB_SET + index);
    if (cpu.get32(S.TLB_LARGE) !== 0) this.flushSlices(low, high);
    this.doubtCodePage(low, high);
  }

  private doubtCodePage(low: number, high: number): void {
    if (this.codeLarge) {
      this.doubtCode();
      return;
    }
    const { u32, base } = this.cpu;
    for (let i = 0; i < this.codeCount; i++) {
      const at = (base + S.CODE_TLB + this.codeSlots[i] * S.CODE_TLB_ENTRY) >>> 2;
      if (u32[at + 1] === high && (u32[at] ^ low) >>> 12 === 0) u32[at] |= S.CODE_STALE;
    }
  }

  private flushSlices(low: number, high: number): void {
    const { u32 } = this.cpu;
    this.eachFilled((at) => {
      const shift = u32[(at + S.TLB_FLAGS) >>> 2] >>> S.TLB_SHIFT_AT;
      if (shift > 12 && u32[(at + 4) >>> 2] === high && (u32[at >>> 2] ^ low) >>> shift === 0) this.drop(at);
    });
  }

  /** A page gained decoded code: writes to it must take the slow path from now on. */
  protect(host: number): void {
    const { u32 } = this.cpu;
    this.eachFilled((at) => {
      if (u32[(at + S.TLB_HOST) >>> 2] === host) this.emptyWrite(at);
    });
  }

  /** Enters the page of the last walk into a TLB set: readable, writable or both. */
  fill(set: number, low: number, high: number, host: number, read: boolean, write: boolean): void {
    const { cpu, walk } = this;
    if (set === cpu.base + S.TLB_SETS + S.TLB_NEVER * S.TLB_SET) return;
    const entry = set + ((low >>> 12) & (S.TLB_ENTRIES - 1)) * S.TLB_ENTRY;
    const at = entry >>> 2;
    const tagLow = (low & ~0xfff) >>> 0;
    if (read) {
      cpu.u32[at] = tagLow;
      cpu.u32[at + 1] = high;
    }
    if (write) {
      cpu.code.noteWritable(host);
      cpu.u32[at + 2] = tagLow;
      cpu.u32[at + 3] = high;
    } else this.emptyWrite(entry);
    cpu.u32[at + 4] = host;
    if ((cpu.u32[at + 5] & S.TLB_LOGGED) === 0) {
      const count = cpu.get32(S.TLB_LOG_COUNT);
      if (count < S.TLB_LOG_SIZE) cpu.u32[((cpu.base + S.TLB_LOG) >>> 2) + count] = entry;
      cpu.set32(S.TLB_LOG_COUNT, count + 1);
    }
    cpu.u32[at + 5] = (walk.global ? S.TLB_GLOBAL : 0) | S.TLB_LOGGED | (walk.pageShift << S.TLB_SHIFT_AT);
    if (walk.pageShift > 12) cpu.set32(S.TLB_LARGE, 1);
  }
}
