/** The workloads of guests/bench32.elf and guests/bench64.elf, and how fast they are meant to be. */

/** Builds of the benchmark guest. */
export type Bits = 32 | 64;

export interface Workload {
  /** Millions of guest instructions at div=1 (guests/README.md). */
  readonly millions: Readonly<Record<Bits, number>>;
  /** Least speed wanted, as a multiple of QEMU's TCG and of v86. */
  readonly qemu: number;
  readonly v86: number;
}

/** In the order in which the guest runs them. */
export const WORKLOADS: Readonly<Record<string, Workload>> = {
  int: { millions: { 32: 1742.297, 64: 1755.025 }, qemu: 1, v86: 1.5 },
  mem: { millions: { 32: 733.7, 64: 770.311 }, qemu: 1, v86: 1 },
  rep: { millions: { 32: 68.81, 64: 67.994 }, qemu: 1.5, v86: 1 },
  call: { millions: { 32: 950.024, 64: 875.015 }, qemu: 1, v86: 1.5 },
  sort: { millions: { 32: 1809.379, 64: 1802.877 }, qemu: 1, v86: 1.5 },
  sse: { millions: { 32: 853.644, 64: 854.946 }, qemu: 1, v86: 1.5 },
  cr3: { millions: { 32: 45.582, 64: 43.482 }, qemu: 1.5, v86: 1 },
  pte: { millions: { 32: 84.082, 64: 78.082 }, qemu: 1.5, v86: 1 },
  int80: { millions: { 32: 75, 64: 69 }, qemu: 1.5, v86: 1 },
  pio: { millions: { 32: 192, 64: 192 }, qemu: 0.7, v86: 1.5 },
  smc: { millions: { 32: 42.697, 64: 44.731 }, qemu: 1.5, v86: 1 },
};

/** Those that need no privilege: an ordinary program can run them. */
export const UNPRIVILEGED: readonly string[] = ['int', 'mem', 'rep', 'call', 'sort', 'sse', 'smc'];
