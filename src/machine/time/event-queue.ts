/**
 * Timers in system time. Those due run in order of deadline, and of scheduling where deadlines are equal, so a run does not depend on
 * the host. A binary heap that knows each entry's place, so cancelling is as cheap as scheduling.
 */
import type { Nanoseconds } from '../../base/int.ts';

/** A scheduled callback; opaque to its owner. */
export interface ScheduledEvent {
  readonly deadline: Nanoseconds;
  readonly sequence: number;
  readonly run: () => void;
  /** Place in the heap; -1 once it ran or was cancelled. */
  place: number;
}

export class EventQueue {
  private readonly heap: ScheduledEvent[] = [];
  private nextSequence = 0;

  /** Runs `run` once, in the {@link runDue} that first reaches `deadline`. */
  schedule(deadline: Nanoseconds, run: () => void): ScheduledEvent {
    const event: ScheduledEvent = { deadline, sequence: this.nextSequence++, run, place: this.heap.length };
    this.heap.push(event);
    this.rise(event);
    return event;
  }

  /** Forgets an event; one that ran already is left alone. */
  cancel(event: ScheduledEvent): void {
    if (event.place < 0) return;
    const last = this.heap.pop()!;
    if (last !== event) {
      this.put(last, event.place);
      this.rise(last);
      this.sink(last);
    }
    event.place = -1;
  }

  /** Deadline of the first event, or undefined when nothing is scheduled. */
  nextDeadline(): Nanoseconds | undefined {
    return this.heap[0]?.deadline;
  }

  /** Runs every event with a deadline up to `now`, including ones those schedule. Returns how many ran. */
  runDue(now: Nanoseconds): number {
    let count = 0;
    for (let first = this.heap[0]; first && first.deadline <= now; first = this.heap[0]) {
      this.cancel(first);
      first.run();
      count++;
    }
    return count;
  }

  private put(event: ScheduledEvent, place: number): void {
    this.heap[place] = event;
    event.place = place;
  }

  private rise(event: ScheduledEvent): void {
    let place = event.place;
    while (place > 0) {
      const parent = this.heap[(place - 1) >> 1]!;
      if (!before(event, parent)) break;
      this.put(parent, place);
      place = (place - 1) >> 1;
    }
    this.put(event, place);
  }

  private sink(event: ScheduledEvent): void {
    let place = event.place;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.heap.length) break;
      if (child + 1 < this.heap.length && before(this.heap[child + 1]!, this.heap[child]!)) child++;
      const smaller = this.heap[child]!;
      if (!before(smaller, event)) break;
      this.put(smaller, place);
      place = child;
    }
    this.put(event, place);
  }
}

function before(a: ScheduledEvent, b: ScheduledEvent): boolean {
  return a.deadline === b.deadline ? a.sequence < b.sequence : a.deadline < b.deadline;
}

/** One re-settable timer with a fixed action: what most devices want. */
export class Alarm {
  private readonly events: EventQueue;
  private readonly action: () => void;
  private event: ScheduledEvent | undefined;

  constructor(events: EventQueue, action: () => void) {
    this.events = events;
    this.action = action;
  }

  /** When it will ring, or undefined. */
  get deadline(): Nanoseconds | undefined {
    return this.event?.deadline;
  }

  /** Rings at `deadline` and no longer at an earlier set one; undefined stops it. */
  set(deadline: Nanoseconds | undefined): void {
    if (this.event) this.events.cancel(this.event);
    this.event =
      deadline === undefined
        ? undefined
        : this.events.schedule(deadline, () => {
            this.event = undefined;
            this.action();
          });
  }

  stop(): void {
    this.set(undefined);
  }
}
