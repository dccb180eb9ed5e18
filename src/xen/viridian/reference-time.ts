/** Partition reference time: 100 ns units since the domain first ran, from the guest TSC, and the page that lets guests work it out. */
import { PAGE_ENABLED } from './bits.ts';
import type { ViridianHost } from './host.ts';

const MASK64 = 0xffff_ffff_ffff_ffffn;
/** HV_REFERENCE_TSC_PAGE: u32 sequence, u32 reserved, u64 scale, s64 offset. */
const SEQUENCE = 0;
const SCALE = 8;
const OFFSET = 16;

export interface ReferenceTimeState {
  readonly page: bigint;
  readonly offset: bigint;
  readonly frozen: bigint | undefined;
}

export class ReferenceTime {
  /** MSR REFERENCE_TSC. */
  page = 0n;
  private readonly host: ViridianHost;
  private offset = 0n;
  /** Time while the domain is paused, as it is until {@link thaw}. */
  private frozen: bigint | undefined = 0n;

  constructor(host: ViridianHost) {
    this.host = host;
  }

  /** Reference time in 100 ns. */
  now(): bigint {
    return this.frozen ?? this.at(this.offset);
  }

  /** The domain is paused: time stands still. */
  freeze(): void {
    this.frozen = this.now();
  }

  /** The domain runs: time goes on from where it stood, 0 the first time. */
  thaw(): void {
    if (this.frozen === undefined) return;
    this.offset = this.frozen - this.at(0n);
    this.frozen = undefined;
    if ((this.page & PAGE_ENABLED) !== 0n) this.updatePage(false);
  }

  /** WRMSR of the page: an enabled page that is no RAM is remembered but not written. */
  writePage(value: bigint): void {
    this.page = value;
    if ((value & PAGE_ENABLED) !== 0n) this.updatePage(true);
  }

  /** 100 ns units per TSC tick, as a fraction of 2^64; the low half is 0. */
  private get scale(): bigint {
    return (((10_000n << 32n) / this.host.tscKhz) << 32n) & MASK64;
  }

  private at(offset: bigint): bigint {
    return (((this.host.readTsc() * this.scale) >> 64n) + offset) & MASK64;
  }

  /** Sequence 0 tells the guest to read the MSR instead. */
  private updatePage(fresh: boolean): void {
    const bytes = this.host.writablePage(this.page >> 12n);
    if (!bytes) return;
    if (fresh) bytes.fill(0);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (!this.host.tscIsStable) {
      view.setUint32(SEQUENCE, 0, true);
      return;
    }
    view.setBigUint64(SCALE, this.scale, true);
    view.setBigInt64(OFFSET, BigInt.asIntN(64, this.offset), true);
    const next = (view.getUint32(SEQUENCE, true) + 1) >>> 0;
    view.setUint32(SEQUENCE, next === 0 ? 1 : next, true);
  }

  save(): ReferenceTimeState {
    return { page: this.page, offset: this.offset, frozen: this.frozen };
  }

  load(state: ReferenceTimeState): void {
    this.page = state.page;
    this.offset = state.offset;
    this.frozen = state.frozen;
  }
}
