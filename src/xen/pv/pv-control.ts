/** What a tool stack may ask of the hypervisor to build a PV domain: frames, a pinned root, shared_info, the first vCPU's registers. */
import { contextSize } from '../../abi/xen/vcpu-guest-context.ts';
import { shared_info } from '../../abi/xen/xen.ts';
import type { Domain } from '../domain.ts';
import { writePvHypercallPage } from './hypercall-page.ts';

/** The part of memory management a builder uses. */
export interface BuilderMemory {
  readonly sharedInfoMfn: number;
  /** A zeroed machine frame for a pseudo-physical one, undefined when memory is exhausted. */
  allocate(pfn: number): number | undefined;
  bytes(mfn: number): Uint8Array;
  /** Validates and pins a table: 0 or -errno. */
  pin(level: 3 | 4, mfn: number): number;
}

export class PvControl {
  private readonly domain: Domain;
  private readonly memory: BuilderMemory;
  private readonly loadContext: (context: Uint8Array) => number;
  private readonly frames: number[] = [];

  /** `loadContext` sets the registers of vCPU 0: 0 or -errno. */
  constructor(domain: Domain, memory: BuilderMemory, loadContext: (context: Uint8Array) => number) {
    this.domain = domain;
    this.memory = memory;
    this.loadContext = loadContext;
  }

  get sharedInfo(): number {
    return this.memory.sharedInfoMfn;
  }

  /** Throws a RangeError when the domain may not have so many pages. */
  populate(pages: number): void {
    for (let pfn = 0; pfn < pages; pfn++) {
      const mfn = this.memory.allocate(pfn);
      if (mfn === undefined) throw new RangeError(`no memory for frame ${pfn} of ${pages}`);
      this.frames.push(mfn);
    }
  }

  machineFrame(pfn: number): number {
    const mfn = this.frames[pfn];
    if (mfn === undefined) throw new RangeError(`the domain has no frame ${pfn}`);
    return mfn;
  }

  bytes(mfn: number): Uint8Array {
    return this.memory.bytes(mfn);
  }

  writeHypercallPage(mfn: number): void {
    writePvHypercallPage(this.memory.bytes(mfn), this.width);
  }

  /** Throws a RangeError for tables that are not valid: the builder made a mistake. */
  pinRoot(mfn: number): void {
    const error = this.memory.pin(this.width === 64 ? 4 : 3, mfn);
    if (error !== 0)
      throw new RangeError(`the initial page tables at frame 0x${mfn.toString(16)} are refused: ${error}`);
  }

  resetSharedInfo(): void {
    const { layout, info } = this.domain;
    const bytes = this.memory.bytes(this.sharedInfo);
    bytes.fill(0);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const base = shared_info.offset('vcpu_info', layout);
    for (let slot = 0; slot < LEGACY_SLOTS; slot++) view.setUint8(base + slot * SLOT_BYTES + UPCALL_MASK, 1);
    info.updateWallclock();
  }

  /** Throws a RangeError for a context the hypervisor refuses. */
  setContext(context: Uint8Array): void {
    const error = context.length === contextSize(this.domain.layout) ? this.loadContext(context) : undefined;
    if (error !== 0) throw new RangeError(`the registers of the first vCPU are refused: ${error ?? 'wrong size'}`);
  }

  private get width(): 32 | 64 {
    return this.domain.config.type === 'pv32' ? 32 : 64;
  }
}

const LEGACY_SLOTS = 32;
const SLOT_BYTES = 64;
/** Offset of evtchn_upcall_mask in vcpu_info. */
const UPCALL_MASK = 1;
