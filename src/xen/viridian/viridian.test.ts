import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type VcpuId, vcpuId } from '../../base/int.ts';
import { Clock, EventQueue, Platform, PVH_EMULATION } from '../../machine/index.ts';
import * as B from './bits.ts';
import { Viridian } from './viridian.ts';

const bit = (...names: B.ViridianFeature[]): number => names.reduce((mask, name) => mask | (1 << B.FEATURES[name]), 1);

/** Pages 1 to 3 are RAM; the TSC runs at 1 GHz. */
function domain(mask: number, vcpus = 1) {
  const clock = new Clock();
  const events = new EventQueue();
  const log: string[] = [];
  const nothing = (): void => {};
  const platform = new Platform({
    vcpus,
    emulation: PVH_EMULATION,
    clock,
    events,
    wallClockBase: 0n,
    sinks: {
      nmi: nothing,
      init: () => false,
      sipi: nothing,
      kick: nothing,
      softwareEnabled: nothing,
      crash: nothing,
      readTsc: () => clock.now() as bigint,
      tscToNanoseconds: (ticks) => ticks,
      debugByte: nothing,
      reset: nothing,
      sleep: nothing,
      timeOffset: nothing,
    },
  });
  const memory = new Map([1n, 2n, 3n].map((gfn) => [gfn, new Uint8Array(4096)]));
  const host = {
    vcpus,
    clock,
    events,
    tscKhz: 1_000_000n,
    tscIsStable: true,
    readTsc: () => clock.now() as bigint,
    lapic: (vcpu: VcpuId) => platform.lapic(vcpu)!,
    writablePage: (gfn: bigint) => memory.get(gfn),
    readPhysical: (address: bigint, length: number) => {
      const start = Number(address & 0xfffn);
      return memory.get(address >> 12n)?.subarray(start, start + length);
    },
    flushTlb: (list: readonly VcpuId[]) => void log.push(`flush ${list.join()}`),
    yield: (vcpu: VcpuId) => void log.push(`yield ${vcpu}`),
    crashed: (_vcpu: VcpuId, parameters: readonly bigint[]) => void log.push(`crash ${parameters.join()}`),
    intel: true,
  };
  const viridian = new Viridian(host, mask);
  viridian.time.thaw();
  for (let v = 0; v < vcpus; v++) platform.lapic(vcpuId(v))!.writeRegister(0xf0, 0x1ff);
  const pass = (ns: bigint): void => {
    clock.advance(ns);
    events.runDue(clock.now());
  };
  return { viridian, memory, host, platform, log, pass };
}
const cpu = vcpuId(0);
const page = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

test('viridian CPUID: signature, interface and features; version and advice wait for the guest OS id', () => {
  const { viridian } = domain(bit('reference_tsc', 'time_ref_count', 'synic', 'stimer'));
  const out = new Uint32Array(4);
  const leaf = (n: number): number[] => {
    viridian.cpuid(0x4000_0000 + n, out);
    return [...out];
  };
  assert.deepEqual(leaf(0), [0x4000_0006, 0x7263694d, 0x666f736f, 0x76482074]);
  assert.deepEqual(leaf(1), [0x31237648, 0, 0, 0]);
  assert.deepEqual(leaf(2), [0, 0, 0, 0]);
  assert.deepEqual(leaf(3), [0xa7e, 0, 0, 1 << 17]);
  assert.deepEqual(leaf(4), [0, 0, 0, 0]);
  viridian.writeMsr(cpu, B.GUEST_OS_ID, 0x0001_0406_0000_0000n);
  assert.deepEqual(leaf(2), [0x1772, 0x60000, 0, 0]);
  assert.deepEqual(leaf(4), [0x28, 2047, 0, 0]);
  assert.deepEqual(leaf(5), [0, 0, 0, 0]);
});

test('viridian MSRs: features that are off and unknown registers are #GP', () => {
  const { viridian } = domain(bit('no_freq'));
  for (const index of [
    B.REFERENCE_TSC,
    B.TIME_REF_COUNT,
    B.SCONTROL,
    B.SINT0,
    B.STIMER0_CONFIG,
    B.TSC_FREQUENCY,
    0x4000_0003,
  ]) {
    assert.equal(viridian.readMsr(cpu, index), undefined, index.toString(16));
    assert.equal(viridian.writeMsr(cpu, index, 0n), false, index.toString(16));
  }
  assert.equal(viridian.readMsr(cpu, B.VP_INDEX), 0n);
  assert.equal(viridian.readMsr(cpu, B.EOI), undefined);
});

test('viridian hypercall page: the stub marks eax and calls; a frame that is no RAM is left alone', () => {
  const { viridian, memory } = domain(1);
  assert.ok(viridian.writeMsr(cpu, B.HYPERCALL, 0x99001n));
  assert.ok(viridian.writeMsr(cpu, B.HYPERCALL, 0x1001n));
  assert.deepEqual([...memory.get(1n)!.subarray(0, 10)], [0x0d, 0, 0, 0, 0x80, 0x0f, 0x01, 0xc1, 0xc3, 0xcc]);
  assert.equal(viridian.readMsr(cpu, B.HYPERCALL), 0x1001n);
});

test('viridian reference TSC: the page gives scale and offset, ~0 and disabled values are only remembered', () => {
  const { viridian, memory, pass } = domain(bit('reference_tsc', 'time_ref_count'));
  assert.ok(viridian.writeMsr(cpu, B.REFERENCE_TSC, 0xffff_ffff_ffff_ffffn));
  assert.equal(viridian.readMsr(cpu, B.REFERENCE_TSC), 0xffff_ffff_ffff_ffffn);
  assert.ok(viridian.writeMsr(cpu, B.REFERENCE_TSC, 0x1001n));
  const view = page(memory.get(1n)!);
  assert.equal(view.getUint32(0, true), 1);
  const scale = view.getBigUint64(8, true);
  pass(5_000_000n);
  assert.equal(viridian.readMsr(cpu, B.TIME_REF_COUNT), (5_000_000n * scale) >> 64n);
  viridian.time.freeze();
  pass(1_000_000n);
  const frozen = viridian.readMsr(cpu, B.TIME_REF_COUNT);
  viridian.time.thaw();
  assert.equal(viridian.readMsr(cpu, B.TIME_REF_COUNT), frozen);
  assert.equal(view.getUint32(0, true), 2);
  assert.ok(viridian.writeMsr(cpu, B.REFERENCE_TSC, 0n));
});

test('viridian timers: without a message page an expired timer stays pending and reads disabled', () => {
  const { viridian, memory, platform } = domain(bit('synic', 'stimer'));
  assert.ok(viridian.writeMsr(cpu, B.STIMER0_CONFIG + 1, 1n));
  const { clock } = platform;
  clock.advance(1_000n);
  assert.ok(viridian.writeMsr(cpu, B.STIMER0_CONFIG, (1n << 16n) | 1n));
  assert.equal(viridian.readMsr(cpu, B.STIMER0_CONFIG), 1n << 16n);
  viridian.writeMsr(cpu, B.SINT0 + 1, 0x51n);
  viridian.writeMsr(cpu, B.SIMP, 0x2001n);
  const view = page(memory.get(2n)!);
  assert.equal(view.getUint32(256, true), 0x8000_0010);
  assert.equal(view.getBigUint64(256 + 24, true), 1n);
  assert.equal(platform.interruptLine(cpu).pending(), 0x51);
});

test('viridian timers: a periodic timer waits for its slot and makes up missed expirations', () => {
  const { viridian, memory, platform, pass } = domain(bit('synic', 'stimer'));
  viridian.writeMsr(cpu, B.SIMP, 0x2001n);
  assert.equal(viridian.writeMsr(cpu, B.SINT0 + 2, 0x0fn), false);
  viridian.writeMsr(cpu, B.SINT0 + 2, 0x52n | (1n << 17n));
  platform.automaticEoi = (vcpu, vector) => viridian.isAutoEoi(vcpu, vector);
  viridian.writeMsr(cpu, B.STIMER0_CONFIG + 2, (2n << 16n) | 3n);
  assert.equal(viridian.readMsr(cpu, B.STIMER0_CONFIG + 2), (2n << 16n) | 2n, 'no count, not enabled');
  viridian.writeMsr(cpu, B.STIMER0_CONFIG + 2, (2n << 16n) | 10n);
  viridian.writeMsr(cpu, B.STIMER0_CONFIG + 3, 10_000n);
  const line = platform.interruptLine(cpu);
  const slot = page(memory.get(2n)!);
  pass(1_000_100n);
  assert.equal(slot.getUint32(512, true), 0x8000_0010);
  assert.equal(line.acknowledge(), 0x52);
  pass(1_000_100n);
  assert.equal(line.pending(), -1, 'slot taken');
  slot.setUint32(512, 0, true);
  viridian.poll(cpu);
  assert.equal(line.acknowledge(), 0x52, 'no EOI was needed');
});

test('viridian APIC MSRs: TPR, ICR and EOI act on the LAPIC', () => {
  const { viridian, platform } = domain(1);
  viridian.writeMsr(cpu, B.TPR, 0x20n);
  assert.equal(platform.lapic(cpu)!.readCr8(), 2);
  viridian.writeMsr(cpu, B.ICR, 0x4_0061n);
  assert.equal(viridian.readMsr(cpu, B.ICR), 0x4_0061n);
  const line = platform.interruptLine(cpu);
  assert.equal(line.acknowledge(), 0x61);
  viridian.writeMsr(cpu, B.ICR, 0x4_0062n);
  assert.equal(line.pending(), -1);
  viridian.writeMsr(cpu, B.EOI, 0n);
  assert.equal(line.pending(), 0x62);
});

test('viridian hypercalls: spin wait, IPIs and flushes; errors for unknown codes and bad parameters', () => {
  const { viridian, memory, platform, log } = domain(1, 3);
  const call = (control: bigint, input = 0n, output = 0n): bigint =>
    viridian.hypercall(cpu, { control, input, output });
  assert.equal(call(8n), 0n);
  assert.equal(call(0x8001n), 2n);
  assert.equal(call(0x1000bn, 0x45n, 0b110n), 0n);
  assert.deepEqual(
    [0, 1, 2].map((v) => platform.interruptLine(vcpuId(v)).pending()),
    [-1, 0x45, 0x45],
  );
  assert.equal(call(0x1000bn, 0x0fn, 1n), 5n);
  assert.equal(call(0xbn, 0x99000n), 5n);
  const view = page(memory.get(3n)!);
  view.setBigUint64(16, 0b101n, true);
  assert.equal(call((7n << 32n) | 3n, 0x3000n), 7n << 32n);
  view.setBigUint64(16, 0n, true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, 0b010n, true);
  assert.equal(call(0x13n, 0x3000n), 0n);
  view.setBigUint64(16, 1n, true);
  assert.equal(call(0x13n, 0x3000n), 0n);
  assert.deepEqual(log, ['yield 0', 'flush 0,2', 'flush 1', 'flush 0,1,2']);
});

test('save and load: MSRs, timers and crash parameters survive', () => {
  const a = domain(bit('synic', 'stimer', 'reference_tsc', 'crash_ctl'));
  a.viridian.writeMsr(cpu, B.GUEST_OS_ID, 1n << 40n);
  a.viridian.writeMsr(cpu, B.CRASH_P0 + 4, 99n);
  a.viridian.writeMsr(cpu, B.STIMER0_CONFIG + 1, 1_000n);
  a.viridian.writeMsr(cpu, B.STIMER0_CONFIG, (1n << 16n) | 1n);
  const b = domain(bit('synic', 'stimer', 'reference_tsc', 'crash_ctl'));
  b.viridian.load(structuredClone(a.viridian.save()));
  assert.deepEqual(b.viridian.save(), a.viridian.save());
  b.viridian.writeMsr(cpu, B.CRASH_CTL, 1n << 63n);
  assert.deepEqual(b.log, ['crash 0,0,0,0,99']);
});
