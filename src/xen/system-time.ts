/** Virtual time of a machine for its domain: clock and event queue of the platform, moved by the scheduler. */
import type { Nanoseconds } from '../base/int.ts';
import { nanoseconds } from '../base/int.ts';
import { Clock, EventQueue, type ScheduledEvent } from '../machine/index.ts';
import type { Alarm, SystemTime } from './domain.ts';

/** An event queue that tells when something is scheduled, so that a slice under way can be cut short. */
export class MachineEvents extends EventQueue {
  onSchedule: (deadline: Nanoseconds) => void = () => {};

  override schedule(deadline: Nanoseconds, run: () => void): ScheduledEvent {
    const event = super.schedule(deadline, run);
    this.onSchedule(deadline);
    return event;
  }
}

export class MachineTime implements SystemTime {
  readonly clock = new Clock();
  readonly events = new MachineEvents();

  now(): bigint {
    return this.clock.now();
  }

  alarm(deadline: bigint, callback: () => void): Alarm {
    const event = this.events.schedule(nanoseconds(deadline), callback);
    return { cancel: () => this.events.cancel(event) };
  }
}
