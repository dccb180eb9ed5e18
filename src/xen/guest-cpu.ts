/** What the hypervisor needs of a processor; the `Cpu` class satisfies it structurally, and tests use a small stand-in. */
export interface GuestCpu {
  /** Fields of the state block, by the offsets of `cpu/state.ts`. */
  get32(offset: number): number;
  set32(offset: number, value: number): void;
  get64(offset: number): bigint;
  set64(offset: number, value: bigint): void;
  /** Executes at most `budget` instructions; returns how many were executed. */
  run(budget: number): number;
  /** Makes the current {@link run} return after the instruction being executed. */
  requestExit(): void;
  /** Linear memory of the guest through its paging, with supervisor rights; false when any byte is inaccessible (nothing is injected). */
  tryReadLinear(address: bigint, into: Uint8Array): boolean;
  tryWriteLinear(address: bigint, from: Uint8Array): boolean;
}
