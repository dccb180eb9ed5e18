import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as R from '../irq/lapic-registers.ts';
import { testPlatform } from '../test-platform.ts';
import { fromSeconds, toSeconds } from './calendar.ts';
import * as C from './rtc.ts';

type T = ReturnType<typeof testPlatform>;
const get = (t: T, index: number): number => {
  t.platform.ports.out(0x70, 1, index);
  return t.platform.ports.in(0x71, 1);
};
const set = (t: T, index: number, value: number): void => {
  t.platform.ports.out(0x70, 1, index);
  t.platform.ports.out(0x71, 1, value);
};
const SECOND = 1_000_000_000n;

/** Pin 8 of the IO-APIC gives vector 0x38. */
function machine(): T {
  const t = testPlatform();
  t.apicWrite(R.SPIV, 0x1ff);
  t.platform.mmioWrite(0xfec0_0000, 4, 0x20);
  t.platform.mmioWrite(0xfec0_0010, 4, 0x38);
  return t;
}

test('calendar: seconds and fields convert both ways, also around leap days', () => {
  const cases: [number, number[]][] = [
    [0, [1970, 1, 1, 4, 0, 0, 0]],
    [951_782_399, [2000, 2, 28, 1, 23, 59, 59]],
    [951_782_400, [2000, 2, 29, 2, 0, 0, 0]],
    [1_767_323_045, [2026, 1, 2, 5, 3, 4, 5]],
    [4_107_542_400, [2100, 3, 1, 1, 0, 0, 0]],
    [-1, [1969, 12, 31, 3, 23, 59, 59]],
  ];
  for (const [seconds, [year, month, day, weekday, hour, minute, second]] of cases) {
    const fields = fromSeconds(seconds);
    assert.deepEqual(fields, { year, month, day, weekday, hour, minute, second });
    assert.equal(toSeconds(fields), seconds);
  }
});

test('RTC: time of day in BCD, binary and 12-hour form', () => {
  const t = machine();
  const time = (): number[] =>
    [C.HOURS, C.MINUTES, C.SECONDS, C.DAY_OF_WEEK, C.DAY_OF_MONTH, C.MONTH, C.YEAR].map((i) => get(t, i));
  assert.deepEqual(time(), [3, 4, 5, 5, 2, 1, 0x26]);
  t.pass(36_006n * SECOND);
  assert.deepEqual(time(), [0x13, 4, 0x11, 5, 2, 1, 0x26]);
  set(t, C.REG_B, 0);
  assert.equal(get(t, C.HOURS), 0x81);
  set(t, C.REG_B, 6);
  assert.equal(get(t, C.HOURS), 13);
  assert.equal(get(t, C.REG_D), 0x80);
  assert.equal(t.platform.ports.in(0x70, 1), 0xff);
});

test('RTC: setting the clock moves local time and tells the tool stack', () => {
  const t = machine();
  set(t, C.REG_B, 0x82);
  set(t, C.HOURS, 0x05);
  set(t, C.MINUTES, 0x00);
  t.pass(3n * SECOND);
  assert.equal(get(t, C.SECONDS), 5, 'stands still while set');
  set(t, C.REG_B, 0x02);
  assert.equal(t.log.at(-1), `offset ${7200 - 240 - 3}`);
  assert.deepEqual([get(t, C.HOURS), get(t, C.MINUTES), get(t, C.SECONDS)], [5, 0, 5]);
});

test('RTC: the periodic interrupt needs no acknowledgement in register C', () => {
  const t = machine();
  set(t, C.REG_B, 0x42);
  for (let i = 0; i < 3; i++) {
    t.pass(976_563n);
    assert.equal(t.take(), 0x38);
    t.apicWrite(R.EOI, 0);
  }
  assert.equal(get(t, C.REG_C) & 0xc0, 0xc0);
  assert.equal(get(t, C.REG_C) & 0xc0, 0);
});

test('RTC: PF is worked out on reading when the periodic interrupt is off', () => {
  const t = machine();
  set(t, C.REG_A, 0x2a);
  t.pass(20_000_000n);
  assert.equal(get(t, C.REG_C) & 0x40, 0x40);
  assert.equal(get(t, C.REG_C) & 0x40, 0);
});

test('RTC: update in progress precedes the second, update-ended interrupts', () => {
  const t = machine();
  set(t, C.REG_B, 0x12);
  t.pass(SECOND - 244_001n);
  assert.equal(get(t, C.REG_A) & 0x80, 0);
  t.pass(1n);
  assert.equal(get(t, C.REG_A) & 0x80, 0x80);
  t.pass(244_000n);
  assert.equal(get(t, C.REG_A) & 0x80, 0);
  assert.equal(t.take(), 0x38);
  assert.equal(get(t, C.REG_C), 0x90);
});

test('RTC: alarms at a full time and with any-value fields', () => {
  const b = machine();
  set(b, C.REG_B, 0x22);
  set(b, C.HOURS_ALARM, 0xff);
  set(b, C.MINUTES_ALARM, 0x03);
  set(b, C.SECONDS_ALARM, 0x30);
  b.pass((59n * 60n + 25n) * SECOND - 1n);
  assert.equal(b.take(), -1);
  b.pass(1n);
  assert.equal(b.take(), 0x38);
  assert.equal(get(b, C.REG_C) & 0xa0, 0xa0);
});

test('RTC: bytes behind the clock registers are RAM', () => {
  const t = machine();
  t.platform.rtc!.setByte(0x34, 0x12);
  assert.equal(get(t, 0x34), 0x12);
  set(t, 0x7f, 0x55);
  assert.equal(get(t, 0x7f), 0x55);
  assert.throws(() => t.platform.rtc!.setByte(3, 0), RangeError);
});

test('save and load: a ticking RTC goes on', () => {
  const a = machine();
  set(a, C.REG_B, 0x42);
  a.pass(500_000n);
  const b = testPlatform();
  b.platform.load(structuredClone(a.platform.save()));
  assert.deepEqual(b.platform.save(), a.platform.save());
  b.pass(476_563n);
  assert.equal(b.take(), 0x38);
});
