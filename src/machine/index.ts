/** The virtual hardware: buses, interrupt controllers, timers, and the platform that assembles them. */

export { MmioBus } from './bus/mmio.ts';
export { PioBus } from './bus/pio.ts';
export { allOnes, RangeBus, type RangeHandler, wholeRegisters } from './bus/ranges.ts';
export type { ApicSinks } from './irq/apic-bus.ts';
export type { Lapic } from './irq/lapic.ts';
export * as APIC from './irq/lapic-registers.ts';
export { GSI_COUNT, isaIrqToGsi, pciIntxToGsi, pciIntxToLink } from './irq/routing.ts';
export { type Frame, GuestMemory, type MemoryLayout, PAGE_SHIFT, PAGE_SIZE } from './memory/guest-memory.ts';
export {
  type Emulation,
  emulationFromFlags,
  HVM_EMULATION,
  Platform,
  type PlatformOptions,
  type PlatformSinks,
  type PlatformState,
  PV_EMULATION,
  PVH_EMULATION,
} from './platform.ts';
export { fromSeconds, toSeconds } from './time/calendar.ts';
export { Clock } from './time/clock.ts';
export { Alarm, EventQueue, type ScheduledEvent } from './time/event-queue.ts';
