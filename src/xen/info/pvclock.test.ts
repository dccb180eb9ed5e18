import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shared_info, vcpu_time_info } from '../../abi/xen/xen.ts';
import { TestDomain } from '../testing.ts';
import { readClock, timeScale, writeTimeInfo, writeWallclock } from './pvclock.ts';

test('timeScale: turns ticks into nanoseconds for slow, fast and odd frequencies', () => {
  for (const khz of [1000n, 999_999n, 1_000_000n, 2_000_001n, 2_893_437n, 5_000_000n]) {
    const ns = readClock({ tsc_timestamp: 100n, system_time: 7n, ...timeScale(khz * 1000n) }, 100n + khz * 1000n);
    const error = ns - 1_000_000_007n;
    assert.ok(error <= 0n && error > -10n, `${khz} kHz is ${error} ns off after a second`);
  }
});

test('writeTimeInfo: leaves an even version that grew', () => {
  const view = new DataView(new ArrayBuffer(32));
  const clock = { tsc: 5n, systemTime: 6n, stable: true, ...timeScale(1_000_000_000n) };
  for (const version of [2, 4]) {
    writeTimeInfo(view, 0, clock);
    assert.equal(vcpu_time_info.get(view, 0, 'version', 'native'), version);
  }
  const time = vcpu_time_info.read(view, 0, 'native');
  assert.deepEqual([time.tsc_timestamp, time.system_time, time.flags], [5n, 6n, 1]);
});

test('writeWallclock: high seconds are in shared_info (64-bit) or behind it (32-bit)', () => {
  const base = ((5n << 32n) + 77n) * 1_000_000_000n + 3n;
  for (const layout of ['native', 'compat'] as const) {
    const view = new DataView(new ArrayBuffer(4096));
    writeWallclock(view, base, layout);
    assert.equal(shared_info.get(view, 0, 'wc_sec', layout), 77);
    assert.equal(shared_info.get(view, 0, 'wc_nsec', layout), 3);
    assert.equal(shared_info.get(view, 0, 'wc_version', layout), 2);
    assert.equal(view.getUint32(layout === 'native' ? 3084 : 2340, true), 5);
  }
});

test('latchWidth: moves the layout of the shared areas and writes the wallclock there', () => {
  const d = new TestDomain({ config: { wallclockBase: 9_000_000_000n } });
  d.domain.info.latchWidth(true);
  assert.equal(d.domain.layout, 'compat');
  assert.equal(shared_info.get(d.domain.info.shared, 0, 'wc_sec', 'compat'), 9);
});
