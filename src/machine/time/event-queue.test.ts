import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nanoseconds as ns } from '../../base/int.ts';
import { Clock } from './clock.ts';
import { Alarm, EventQueue } from './event-queue.ts';

test('EventQueue: events run by deadline, equal deadlines in order of scheduling', () => {
  const queue = new EventQueue();
  const ran: string[] = [];
  for (const [deadline, name] of [
    [30, 'c'],
    [10, 'a'],
    [20, 'b1'],
    [20, 'b2'],
    [40, 'd'],
  ] as const)
    queue.schedule(ns(BigInt(deadline)), () => ran.push(name));
  assert.equal(queue.nextDeadline(), 10n);
  assert.equal(queue.runDue(ns(30n)), 4);
  assert.deepEqual(ran, ['a', 'b1', 'b2', 'c']);
  assert.equal(queue.nextDeadline(), 40n);
});

test('EventQueue: an event scheduled by a due event runs in the same pass when it is due too', () => {
  const queue = new EventQueue();
  const ran: number[] = [];
  queue.schedule(ns(5n), () => {
    ran.push(1);
    queue.schedule(ns(3n), () => ran.push(2));
    queue.schedule(ns(50n), () => ran.push(3));
  });
  queue.runDue(ns(5n));
  assert.deepEqual(ran, [1, 2]);
});

test('EventQueue: random schedules and cancels run what is left in sorted order', () => {
  const seed = 0x5eed;
  let state = seed;
  const random = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const queue = new EventQueue();
  const ran: number[] = [];
  const left: { key: number; order: number }[] = [];
  const live: { event: ReturnType<EventQueue['schedule']>; entry: { key: number; order: number } }[] = [];
  for (let i = 0; i < 2000; i++) {
    const key = random(300);
    const entry = { key, order: i };
    live.push({ event: queue.schedule(ns(BigInt(key)), () => ran.push(i)), entry });
    if (random(3) === 0) queue.cancel(live.splice(random(live.length), 1)[0]!.event);
  }
  left.push(...live.map((l) => l.entry));
  left.sort((a, b) => a.key - b.key || a.order - b.order);
  queue.runDue(ns(1000n));
  assert.deepEqual(
    ran,
    left.map((entry) => entry.order),
    `seed ${seed}`,
  );
});

test('Alarm: setting it again forgets the earlier deadline', () => {
  const queue = new EventQueue();
  let rang = 0;
  const alarm = new Alarm(queue, () => rang++);
  alarm.set(ns(10n));
  alarm.set(ns(20n));
  queue.runDue(ns(15n));
  assert.equal(rang, 0);
  queue.runDue(ns(20n));
  assert.equal(rang, 1);
  assert.equal(alarm.deadline, undefined);
});

test('Clock: time moves forward only and asks its owner before each read', () => {
  const clock = new Clock();
  clock.beforeRead = () => clock.advance(1n);
  assert.equal(clock.now(), 1n);
  assert.equal(clock.now(), 2n);
  clock.advanceTo(ns(1n));
  assert.equal(clock.now(), 3n);
  assert.throws(() => clock.advance(-1n), RangeError);
});
