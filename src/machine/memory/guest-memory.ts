/**
 * Guest-physical memory: page frames in one linear memory and the table that maps guest frame numbers to them.
 *
 * Linear memory holds, in this order: a reserved page, the vCPU state blocks, the table of guest frames below 4 GiB, the code cache, page frames. A frame is named by its page index
 * in linear memory (byte address >> 12), so index 0 means "nothing there".
 */
import type { Gfn } from '../../base/int.ts';
import type { PhysicalMemory } from '../../cpu/ports.ts';

export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 4096;
const WASM_PAGE = 65536;
/** Largest linear memory: 4 GiB less one WASM page, so that every address fits in 32 bits. */
const LIMIT_BYTES = 65535 * WASM_PAGE;
/** Set in a p2m entry whose frame the guest may only read. */
const READ_ONLY = 0x8000_0000;
/** Guest frames below 4 GiB. */
const LOW_FRAMES = 1 << 20;

/** Index of a 4 KiB frame in linear memory; 0 is none. */
export type Frame = number;

export interface MemoryLayout {
  /** Bytes for vCPU state blocks. */
  readonly cpuBytes: number;
  /** Bytes for decoded code. */
  readonly codeBytes: number;
  /** Guest page frames, special pages included. */
  readonly frames: number;
}

/** What answers where no page is. */
export interface DeviceSpace {
  mmioRead(address: number, size: number): number;
  mmioWrite(address: number, size: number, value: number): void;
}

export class GuestMemory implements PhysicalMemory {
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** First byte of the vCPU blocks and of the code cache. */
  readonly cpuBase = WASM_PAGE;
  readonly codeBase: number;
  readonly codeBytes: number;
  readonly frameTable: number;
  readonly frameTableLength = LOW_FRAMES;
  devices: DeviceSpace = {
    mmioRead: (_address, size) => (size === 4 ? 0xffff_ffff : 2 ** (size * 8) - 1),
    mmioWrite: () => {},
  };
  /** Called when the mapping of a guest frame changes, so that translations of it can be dropped. */
  onRemap: () => void = () => {};

  /** Writes `first`, `first` + 1... to so many 32-bit words from a byte address on; compiled code may take its place. */
  count = (at: number, words: number, first: number): void => {
    const table = new Uint32Array(this.memory.buffer, at, words);
    for (let i = 0; i < words; i++) table[i] = first + i;
  };

  private readonly firstFrame: Frame;
  private readonly lastFrame: Frame;
  private nextFrame: Frame;
  private readonly freeFrames: Frame[] = [];
  private readonly low: Uint32Array;
  /** Nothing was ever mapped from this guest frame on. */
  private lowEnd = 0;
  private readonly high = new Map<number, number>();

  constructor(layout: MemoryLayout) {
    this.frameTable = this.cpuBase + roundUp(layout.cpuBytes, WASM_PAGE);
    this.codeBase = this.frameTable + LOW_FRAMES * 4;
    this.codeBytes = roundUp(layout.codeBytes, WASM_PAGE);
    const frameBase = this.codeBase + this.codeBytes;
    const total = frameBase + roundUp(layout.frames * PAGE_SIZE, WASM_PAGE);
    if (total > LIMIT_BYTES) {
      const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;
      throw new RangeError(
        `${mib(layout.frames * PAGE_SIZE)} of guest memory, ${mib(layout.cpuBytes)} for its vCPUs and ${mib(layout.codeBytes)} for decoded ` +
          'code are more than 4 GiB; give it fewer vCPUs or less memory',
      );
    }
    this.memory = new WebAssembly.Memory({ initial: total / WASM_PAGE, maximum: total / WASM_PAGE });
    this.bytes = new Uint8Array(this.memory.buffer);
    this.firstFrame = frameBase >>> PAGE_SHIFT;
    this.lastFrame = this.firstFrame + layout.frames;
    this.nextFrame = this.firstFrame;
    this.low = new Uint32Array(this.memory.buffer, this.frameTable, LOW_FRAMES);
  }

  /** A zeroed frame, or 0 when memory is exhausted. */
  allocatePage(): Frame {
    const reused = this.freeFrames.pop();
    if (reused !== undefined) {
      this.bytes.fill(0, reused * PAGE_SIZE, (reused + 1) * PAGE_SIZE);
      return reused;
    }
    return this.nextFrame < this.lastFrame ? this.nextFrame++ : 0;
  }

  freePage(frame: Frame): void {
    if (frame < this.firstFrame || frame >= this.nextFrame) throw new RangeError(`frame ${frame} was never allocated`);
    this.freeFrames.push(frame);
  }

  /** Frames that are or were in use: from `first` to before `end`. */
  get touched(): { readonly first: Frame; readonly end: Frame } {
    return { first: this.firstFrame, end: this.nextFrame };
  }

  /** Frames that can still be allocated. */
  get available(): number {
    return this.lastFrame - this.nextFrame + this.freeFrames.length;
  }

  /**
   * Maps fresh frames at consecutive guest frames; false, and nothing done, when one of them is mapped already, lies above
   * 4 GiB, or memory does not suffice.
   */
  mapFresh(gfn: Gfn, count: number): boolean {
    const end = gfn + count;
    if (end > this.low.length || this.nextFrame + count > this.lastFrame) return false;
    const { low } = this;
    const used = Math.min(end, this.lowEnd);
    for (let at: number = gfn; at < used; at++) if (low[at] !== 0) return false;
    // All of a guest's memory comes through here when it starts.
    this.count(this.frameTable + gfn * 4, count, this.nextFrame);
    this.nextFrame += count;
    this.lowEnd = Math.max(this.lowEnd, end);
    this.onRemap();
    return true;
  }

  /** Maps a guest frame; what was there before is forgotten, not freed. */
  map(gfn: Gfn, frame: Frame, options: { writable: boolean } = { writable: true }): void {
    const entry = options.writable ? frame : (frame | READ_ONLY) >>> 0;
    if (gfn < this.low.length) {
      this.low[gfn] = entry;
      this.lowEnd = Math.max(this.lowEnd, gfn + 1);
    } else this.high.set(gfn, entry);
    this.onRemap();
  }

  unmap(gfn: Gfn): void {
    if (gfn < this.low.length) this.low[gfn] = 0;
    else this.high.delete(gfn);
    this.onRemap();
  }

  /** Frame mapped at a guest frame number, 0 when none. */
  pageAt(gfn: Gfn): Frame {
    return this.entry(gfn) & ~READ_ONLY;
  }

  isWritable(gfn: Gfn): boolean {
    const entry = this.entry(gfn);
    return entry !== 0 && (entry & READ_ONLY) === 0;
  }

  private entry(gfn: number): number {
    return gfn < this.low.length ? this.low[gfn] : (this.high.get(gfn) ?? 0);
  }

  page(frame: number, write: boolean): number {
    const entry = this.entry(frame);
    if (entry >= READ_ONLY) return write ? 0 : (entry - READ_ONLY) * PAGE_SIZE;
    return entry * PAGE_SIZE;
  }

  mmioRead(address: number, size: number): number {
    return this.devices.mmioRead(address, size);
  }

  mmioWrite(address: number, size: number, value: number): void {
    this.devices.mmioWrite(address, size, value);
  }

  /** A view of one frame's 4096 bytes. */
  frameBytes(frame: Frame): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE);
  }

  /** Copies from guest-physical memory; holes read as all ones. True when every byte came from a page. */
  readPhysical(address: number, into: Uint8Array): boolean {
    return this.eachPage(address, into.length, false, (host, at, length) => {
      if (host === 0) into.fill(0xff, at, at + length);
      else into.set(this.bytes.subarray(host, host + length), at);
    });
  }

  /**
   * Copies to guest-physical memory; bytes for holes and read-only pages are lost. True when every byte had a page. Code that a CPU has
   * decoded is not dropped: whoever writes where code may be calls {@link onRemap} afterwards, or writes through the CPU.
   */
  writePhysical(address: number, from: Uint8Array): boolean {
    return this.eachPage(address, from.length, true, (host, at, length) => {
      if (host !== 0) this.bytes.set(from.subarray(at, at + length), host);
    });
  }

  private eachPage(
    address: number,
    length: number,
    write: boolean,
    visit: (host: number, at: number, length: number) => void,
  ): boolean {
    let whole = true;
    for (let at = 0; at < length; ) {
      const offset = (address + at) % PAGE_SIZE;
      const part = Math.min(PAGE_SIZE - offset, length - at);
      const page = this.page(Math.floor((address + at) / PAGE_SIZE), write);
      if (page === 0) whole = false;
      visit(page === 0 ? 0 : page + offset, at, part);
      at += part;
    }
    return whole;
  }
}

const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to;
