/** Placeholder of the type other files see; filled in below in the same file. */
export interface SchedulerOptions {
  /** Instructions per slice. */
  readonly slice: number;
  /** Shuffles the slice lengths when not 0. */
  readonly seed: number;
}
