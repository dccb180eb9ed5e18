/**
 * The paravirtual clock: vcpu_time_info and the wallclock of shared_info.
 *
 * A guest computes `system_time + ((tsc - tsc_timestamp) << shift) * mul >> 32` (a negative shift goes right). Writers make `version` odd, write,
 * and make it even; readers retry on odd or changed versions. `xen:public/xen.h#vcpu_time_info`
 */
import type { Layout } from '../../abi/xen/struct.ts';
import { shared_info, vcpu_time_info } from '../../abi/xen/xen.ts';

const BILLION = 1_000_000_000n;

export interface TimeScale {
  /** 32-bit fraction. */
  readonly mul: number;
  readonly shift: number;
}

/** Scale that turns ticks of a counter into nanoseconds. The fraction is between 1/2 and 1 (exclusive of 1), so it keeps 32 bits of precision. */
export function timeScale(ticksPerSecond: bigint): TimeScale {
  let ticks = ticksPerSecond;
  let shift = 0;
  while (ticks > 2n * BILLION) {
    ticks >>= 1n;
    shift--;
  }
  while (ticks <= BILLION) {
    ticks <<= 1n;
    shift++;
  }
  return { mul: Number((BILLION << 32n) / ticks), shift };
}

/** What a guest's clock reads at a time-stamp, ns. */
export function readClock(time: { tsc_timestamp: bigint; system_time: bigint } & TimeScale, tsc: bigint): bigint {
  const delta = BigInt.asUintN(64, tsc - time.tsc_timestamp);
  const shifted = time.shift >= 0 ? BigInt.asUintN(64, delta << BigInt(time.shift)) : delta >> BigInt(-time.shift);
  return time.system_time + ((shifted * BigInt(time.mul)) >> 32n);
}

/** What the clock of a vCPU is computed from. */
export interface ClockState extends TimeScale {
  readonly tsc: bigint;
  readonly systemTime: bigint;
  readonly stable: boolean;
}

/** Byte offset of `time` in vcpu_info, both layouts. */
export const VCPU_INFO_TIME = 32;
/** Size of vcpu_time_info, both layouts. */
export const TIME_INFO_SIZE = 32;

/** Writes a vcpu_time_info that starts at `at`. Layouts are the same but for the structure's alignment. */
export function writeTimeInfo(view: DataView, at: number, clock: ClockState): void {
  const version = vcpu_time_info.get(view, at, 'version', 'native');
  vcpu_time_info.set(view, at, 'version', (version | 1) >>> 0, 'native');
  vcpu_time_info.set(view, at, 'tsc_timestamp', clock.tsc, 'native');
  vcpu_time_info.set(view, at, 'system_time', clock.systemTime, 'native');
  vcpu_time_info.set(view, at, 'tsc_to_system_mul', clock.mul, 'native');
  vcpu_time_info.set(view, at, 'tsc_shift', clock.shift, 'native');
  vcpu_time_info.set(view, at, 'flags', clock.stable ? 1 : 0, 'native');
  vcpu_time_info.set(view, at, 'version', ((version | 1) + 1) >>> 0, 'native');
}

/** Writes the wallclock: UTC nanoseconds at system time 0. */
export function writeWallclock(view: DataView, utcBase: bigint, layout: Layout): void {
  const version = shared_info.get(view, 0, 'wc_version', layout);
  const seconds = utcBase / BILLION;
  const high = Number((seconds >> 32n) & 0xffff_ffffn);
  shared_info.set(view, 0, 'wc_version', (version | 1) >>> 0, layout);
  shared_info.set(view, 0, 'wc_sec', Number(seconds & 0xffff_ffffn), layout);
  shared_info.set(view, 0, 'wc_nsec', Number(utcBase % BILLION), layout);
  if (layout === 'native') shared_info.set(view, 0, 'wc_sec_hi', high, layout);
  else view.setUint32(COMPAT_WC_SEC_HI, high, true);
  shared_info.set(view, 0, 'wc_version', ((version | 1) + 1) >>> 0, layout);
}
/** wc_sec_hi of the compat layout lives in arch_shared_info. */
const COMPAT_WC_SEC_HI = 2340;
