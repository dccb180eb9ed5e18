/** A platform with recorded sinks and a TSC of 1 GHz, for the tests of this folder. */
import { type VcpuId, vcpuId } from '../base/int.ts';
import { type Emulation, HVM_EMULATION, Platform } from './platform.ts';

/** 2026-01-02 03:04:05 UTC, a Friday. */
export const TEST_WALL_CLOCK = 1_767_323_045n * 1_000_000_000n;

export interface TestPlatform {
  readonly platform: Platform;
  /** Sink calls other than kicks, as text. */
  readonly log: string[];
  /** vCPUs kicked. */
  readonly kicks: number[];
  /** Advances time by `ns`, running every timer at its own deadline. */
  pass(ns: bigint): void;
  /** Takes the pending interrupt of a vCPU: its vector, or -1. */
  take(vcpu?: number): number;
  /** Reads and writes an APIC register by memory, as a vCPU. */
  apicRead(offset: number, vcpu?: number): number;
  apicWrite(offset: number, value: number, vcpu?: number): void;
}

export function testPlatform(vcpus = 1, emulation: Emulation = HVM_EMULATION): TestPlatform {
  const log: string[] = [];
  const kicks: number[] = [];
  let platform: Platform;
  const sinks = {
    nmi: (vcpu: VcpuId) => void log.push(`nmi ${vcpu}`),
    init: (vcpu: VcpuId) => {
      log.push(`init ${vcpu}`);
      return true;
    },
    sipi: (vcpu: VcpuId, vector: number) => void log.push(`sipi ${vcpu} ${vector}`),
    kick: (vcpu: VcpuId) => void kicks.push(vcpu),
    softwareEnabled: (vcpu: VcpuId) => void log.push(`enabled ${vcpu}`),
    crash: (reason: string) => void log.push(`crash ${reason}`),
    readTsc: () => platform.clock.now() as bigint,
    tscToNanoseconds: (ticks: bigint) => ticks,
    debugByte: (byte: number) => void log.push(`byte ${byte}`),
    reset: () => void log.push('reset'),
    sleep: (type: number) => void log.push(`sleep ${type}`),
    timeOffset: (seconds: number) => void log.push(`offset ${seconds}`),
  };
  platform = new Platform({ vcpus, emulation, sinks, wallClockBase: TEST_WALL_CLOCK, legacyPorts: emulation.pic });
  return {
    platform,
    log,
    kicks,
    pass(ns) {
      const end = platform.clock.now() + ns;
      for (let next = platform.events.nextDeadline(); next !== undefined && next <= end; ) {
        platform.clock.advanceTo(next);
        platform.runTimers();
        next = platform.events.nextDeadline();
      }
      platform.clock.advance(end - platform.clock.now());
    },
    take: (vcpu = 0) => {
      const line = platform.interruptLine(vcpuId(vcpu));
      return line.pending() < 0 ? -1 : line.acknowledge();
    },
    apicRead(offset, vcpu = 0) {
      platform.current = vcpuId(vcpu);
      return platform.mmioRead(0xfee0_0000 + offset, 4);
    },
    apicWrite(offset, value, vcpu = 0) {
      platform.current = vcpuId(vcpu);
      platform.mmioWrite(0xfee0_0000 + offset, 4, value);
    },
  };
}
