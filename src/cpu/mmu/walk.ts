/**
 * Page walk: linear to physical for all paging modes (key `sdm:3A "Paging"`).
 *
 * Linear addresses come as two u32 halves and entries are handled the same way, so a walk allocates nothing. Physical
 * addresses are plain numbers below 2^52, exact in a double.
 */
import type { Cpu } from '../cpu.ts';
import { AC, CR0, CR3, CR4, EFER, EFLAGS_REST, PDPTE } from '../state.ts';

export const CR0_WP = 1 << 16,
  CR0_AM = 1 << 18,
  CR0_PG = 1 << 31;
export const CR4_PSE = 1 << 4,
  CR4_PAE = 1 << 5,
  CR4_PGE = 1 << 7,
  CR4_SMEP = 1 << 20,
  CR4_SMAP = 1 << 21;
export const EFER_LMA = 1 << 10,
  EFER_NXE = 1 << 11;

export const READ = 0,
  WRITE = 1,
  EXECUTE = 2;
export type Access = typeof READ | typeof WRITE | typeof EXECUTE;

/** Page-fault error code bits. */
export const PFEC_P = 1,
  PFEC_W = 2,
  PFEC_U = 4,
  PFEC_RSVD = 8,
  PFEC_I = 16;

const P = 1,
  RW = 2,
  US = 4,
  A = 0x20,
  D = 0x40,
  PS = 0x80,
  G = 0x100;
const NX_HIGH = 0x8000_0000;

export class PageWalk {
  /** Result: physical frame (address >> 12) of the 4 KiB page that holds the address. */
  frame = 0;
  /** Result: the page may be written by this access mode and its dirty bit is set. */
  writable = false;
  /** Result: a global translation. */
  global = false;
  /** Result: the page is a user page. */
  userPage = false;
  /** Result: address bits inside the page that is mapped as one: 12, 21, 22 or 30. */
  pageShift = 12;
  /** Result of a failed walk: page-fault error code. */
  error = 0;

  private readonly cpu: Cpu;
  private entryLow = 0;
  private entryHigh = 0;
  private entryHost = 0;
  private entryFrame = 0;

  constructor(cpu: Cpu) {
    this.cpu = cpu;
  }

  /**
   * Walks for one access. `user` is the privilege of the access; `implicit` marks a supervisor access the processor makes on
   * its own (descriptor tables, TSS), which SMAP never lets touch user pages. False: {@link error} holds the code.
   */
  translate(high: number, low: number, access: Access, user: boolean, implicit: boolean): boolean {
    const { cpu } = this;
    const cr0 = cpu.get32(CR0);
    if ((cr0 & CR0_PG) === 0) {
      this.frame = low >>> 12;
      this.writable = true;
      this.global = false;
      this.userPage = true;
      this.pageShift = 12;
      return true;
    }
    const cr4 = cpu.get32(CR4);
    const efer = cpu.get32(EFER);
    if ((cr4 & CR4_PAE) === 0) return this.walk32(low, access, user, implicit, cr4);
    return this.walkPae(high, low, access, user, implicit, (efer & EFER_LMA) !== 0, (efer & EFER_NXE) !== 0);
  }

  private read(frame: number, offset: number, wide: boolean): void {
    const { cpu } = this;
    const host = cpu.physical.page(frame, false);
    this.entryHost = host === 0 ? 0 : host + offset;
    this.entryFrame = frame;
    if (host === 0) {
      const address = frame * 4096 + offset;
      this.entryLow = cpu.physical.mmioRead(address, 4);
      this.entryHigh = wide ? cpu.physical.mmioRead(address + 4, 4) : 0;
      return;
    }
    const at = (host + offset) >>> 2;
    this.entryLow = cpu.u32[at];
    this.entryHigh = wide ? cpu.u32[at + 1] : 0;
  }

  /** Sets bits in the entry just read. */
  private mark(bits: number): void {
    if ((this.entryLow & bits) === bits || this.entryHost === 0) return;
    this.entryLow |= bits;
    if (this.cpu.physical.page(this.entryFrame, true) === 0) return;
    this.cpu.u32[this.entryHost >>> 2] |= bits;
    this.cpu.code.written(this.entryFrame, this.entryHost & 0xfff, 4);
  }

  private fail(present: boolean, access: Access, user: boolean, reserved: boolean): false {
    const { cpu } = this;
    const nx = (cpu.get32(EFER) & EFER_NXE) !== 0 && (cpu.get32(CR4) & CR4_PAE) !== 0;
    const reportsFetch = nx || (cpu.get32(CR4) & CR4_SMEP) !== 0;
    this.error =
      (present ? PFEC_P : 0) |
      (access === WRITE ? PFEC_W : 0) |
      (user ? PFEC_U : 0) |
      (reserved ? PFEC_RSVD : 0) |
      (access === EXECUTE && reportsFetch ? PFEC_I : 0);
    return false;
  }

  private walk32(low: number, access: Access, user: boolean, implicit: boolean, cr4: number): boolean {
    this.read(this.cpu.get32(CR3) >>> 12, (low >>> 22) << 2, false);
    if ((this.entryLow & P) === 0) return this.fail(false, access, user, false);
    const pde = this.entryLow;
    if ((pde & PS) !== 0 && (cr4 & CR4_PSE) !== 0) {
      // Bits 13-20 extend the address to 40 bits; bit 21 is reserved.
      const extension = (pde >>> 13) & 0xff;
      if ((pde & (1 << 21)) !== 0 || extension >>> Math.max(0, this.cpu.model.physicalBits - 32) !== 0)
        return this.fail(true, access, user, true);
      if (!this.permitted(access, user, implicit, (pde & US) !== 0, (pde & RW) !== 0, false)) return false;
      this.mark(access === WRITE ? A | D : A);
      return this.done(
        extension * 0x10_0000 + (pde >>> 22) * 1024 + ((low >>> 12) & 0x3ff),
        (pde & US) !== 0,
        (pde & RW) !== 0,
        user,
        22,
      );
    }
    const pdeHost = this.entryHost,
      pdeFrame = this.entryFrame;
    this.read(pde >>> 12, ((low >>> 12) & 0x3ff) << 2, false);
    const pte = this.entryLow;
    if ((pte & P) === 0) return this.fail(false, access, user, false);
    const userPage = (pde & pte & US) !== 0,
      writable = (pde & pte & RW) !== 0;
    if (!this.permitted(access, user, implicit, userPage, writable, false)) return false;
    this.mark(access === WRITE ? A | D : A);
    this.markOther(pde, pdeHost, pdeFrame);
    return this.done(pte >>> 12, userPage, writable, user, 12);
  }

  /** Sets the accessed bit of an upper-level entry read earlier. */
  private markOther(entry: number, host: number, frame: number): void {
    if ((entry & A) !== 0 || host === 0 || this.cpu.physical.page(frame, true) === 0) return;
    this.cpu.u32[host >>> 2] |= A;
    this.cpu.code.written(frame, host & 0xfff, 4);
  }

  private readonly upperLow = new Uint32Array(4);
  private readonly upperHost = new Uint32Array(4);
  private readonly upperFrame = new Float64Array(4);

  private walkPae(
    high: number,
    low: number,
    access: Access,
    user: boolean,
    implicit: boolean,
    long: boolean,
    nxe: boolean,
  ): boolean {
    const { cpu } = this;
    const physHigh =
      cpu.model.physicalBits > 32 ? (0x000f_ffff & ~((1 << (cpu.model.physicalBits - 32)) - 1)) >>> 0 : 0x000f_ffff;
    const reservedHigh = nxe ? physHigh : (physHigh | NX_HIGH) >>> 0;
    let userPage = true,
      writable = true,
      noExecute = false;
    let depth = 0;
    let table: number;
    let level: number;
    if (long) {
      table = cpu.get32(CR3) >>> 12;
      table += (cpu.get32(CR3 + 4) & 0x000f_ffff) * 0x10_0000;
      level = 4;
    } else {
      const entry = PDPTE + (low >>> 30) * 8;
      const pdpte = cpu.get32(entry);
      if ((pdpte & P) === 0) return this.fail(false, access, user, false);
      table = (pdpte >>> 12) + (cpu.get32(entry + 4) & 0x000f_ffff) * 0x10_0000;
      level = 2;
    }
    for (;;) {
      const index =
        level === 4
          ? (high >>> 7) & 511
          : level === 3
            ? ((high & 0x7f) << 2) | (low >>> 30)
            : level === 2
              ? (low >>> 21) & 511
              : (low >>> 12) & 511;
      this.read(table, index << 3, true);
      const entryLow = this.entryLow,
        entryHigh = this.entryHigh;
      if ((entryLow & P) === 0) return this.fail(false, access, user, false);
      const large = (entryLow & PS) !== 0 && level > 1;
      if (
        (entryHigh & (long ? reservedHigh : reservedHigh | 0x7ff0_0000)) !== 0 ||
        (large &&
          (level === 4 ||
            (level === 3 && (entryLow & 0x3fff_e000) !== 0) ||
            (level === 2 && (entryLow & 0x001f_e000) !== 0)))
      )
        return this.fail(true, access, user, true);
      userPage &&= (entryLow & US) !== 0;
      writable &&= (entryLow & RW) !== 0;
      noExecute ||= nxe && (entryHigh & NX_HIGH) !== 0;
      table = (entryLow >>> 12) + (entryHigh & 0x000f_ffff) * 0x10_0000;
      if (large || level === 1) {
        if (!this.permitted(access, user, implicit, userPage, writable, noExecute)) return false;
        this.mark(access === WRITE ? A | D : A);
        const leaf = this.entryLow;
        for (let i = 0; i < depth; i++) this.markOther(this.upperLow[i], this.upperHost[i], this.upperFrame[i]);
        this.entryLow = leaf;
        if (level === 3) table = table - (table % 0x4_0000) + ((low >>> 12) & 0x3_ffff);
        else if (level === 2) table = table - (table % 0x200) + ((low >>> 12) & 0x1ff);
        return this.done(table, userPage, writable, user, level * 9 + 3);
      }
      this.upperLow[depth] = entryLow;
      this.upperHost[depth] = this.entryHost;
      this.upperFrame[depth] = this.entryFrame;
      depth++;
      level--;
    }
  }

  private permitted(
    access: Access,
    user: boolean,
    implicit: boolean,
    userPage: boolean,
    writable: boolean,
    noExecute: boolean,
  ): boolean {
    const { cpu } = this;
    let allowed: boolean;
    if (user) allowed = userPage && (access !== WRITE || writable) && (access !== EXECUTE || !noExecute);
    else {
      const cr4 = cpu.get32(CR4);
      if (access === EXECUTE) allowed = !noExecute && !(userPage && (cr4 & CR4_SMEP) !== 0);
      else {
        const smap = userPage && (cr4 & CR4_SMAP) !== 0 && (implicit || (cpu.get32(EFLAGS_REST) & AC) === 0);
        allowed = !smap && (access !== WRITE || writable || (cpu.get32(CR0) & CR0_WP) === 0);
      }
    }
    return allowed || this.fail(true, access, user, false);
  }

  private done(frame: number, userPage: boolean, writable: boolean, user: boolean, pageShift: number): true {
    this.frame = frame;
    this.pageShift = pageShift;
    this.userPage = userPage;
    this.writable = (this.entryLow & D) !== 0 && (writable || (!user && (this.cpu.get32(CR0) & CR0_WP) === 0));
    this.global = (this.entryLow & G) !== 0 && (this.cpu.get32(CR4) & CR4_PGE) !== 0;
    return true;
  }
}
