/** What the hypervisor needs of a processor; the `Cpu` class satisfies it structurally, and tests use a small stand-in. */
export interface GuestCpu {
  /** Byte address of the state block in linear memory. */
  readonly base: number;
  /** Fields of the state block, by the offsets of `cpu/state.ts`. */
  get32(offset: number): number;
  set32(offset: number, value: number): void;
  get64(offset: number): bigint;
  set64(offset: number, value: bigint): void;
  /** EFLAGS, lazy flags included. */
  eflags: number;
  setSegment(n: number, selector: number, base: bigint, limit: number, attr: number): void;
  /** Loads a data segment register from the guest's tables at the present privilege; false, and nothing changed, when that faults. */
  tryLoadSegment(n: number, selector: number): boolean;
  /** Recomputes what derives from control registers, segments and EFLAGS; needed after writing any of them from outside. */
  updateMode(cpl?: number): void;
  /** Power-up state. */
  reset(): void;
  flushTlb(global: boolean): void;
  invalidatePage(linear: bigint): void;
  readonly protectedMode: boolean;
  readonly virtual8086: boolean;
  /** Executing 64-bit code. */
  readonly code64: boolean;
  readonly cpl: number;
  nmiPending: boolean;
  raiseNmi(): void;
  /** An NMI or a deliverable maskable interrupt waits (IF honoured). */
  hasEvent(): boolean;
  /** Executes at most `budget` instructions; returns how many were executed. */
  run(budget: number): number;
  /** Instructions started in the present {@link run}; undefined when the processor cannot tell while it runs. */
  readonly executed?: number;
  /** Makes the current {@link run} return after the instruction being executed. */
  requestExit(): void;
  /** Linear memory of the guest through its paging, with supervisor rights; false when any byte is inaccessible (nothing is injected). */
  tryReadLinear(address: bigint, into: Uint8Array): boolean;
  tryWriteLinear(address: bigint, from: Uint8Array): boolean;
}
