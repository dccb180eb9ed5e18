/** The tool stack: builds domains, reads xl configuration, serves XenStore and consoles. */
export { BadInput } from './bad-input.ts';
export type { Compression, Decompress } from './build/bzimage.ts';
export { compressionOf, isBzImage } from './build/bzimage.ts';
export { isElf, readElf } from './build/elf.ts';
export { buildHvm, type HvmInput } from './build/hvm.ts';
export type {
  DomainImage,
  EntryContext,
  MemoryRegion,
  MemoryWrite,
  PhysicalRange,
  SegmentRegister,
} from './build/image.ts';
export { describeNotes, type Kernel, openKernel } from './build/kernel.ts';
export { HVM_MAX_VCPUS, PV_MAX_VCPUS } from './build/layout.ts';
export { readXenNotes, type XenNote } from './build/notes.ts';
export { buildPv, hasPvEntry, type PvInput } from './build/pv.ts';
export { type MachineFrames, type PvContents, type PvImage, pvContents } from './build/pv-image.ts';
export { buildPvh, type ModuleInput, type PvhInput } from './build/pvh.ts';
export { type Action, type DomainConfig, type GuestType, readConfig } from './cfg/config.ts';
export { viridianBits } from './cfg/viridian.ts';
export { Console, type ConsolePort } from './console/console.ts';
export {
  type DomainControl,
  type GuestImage,
  type LaunchOptions,
  launch,
  ramBytes,
  type Services,
} from './launch.ts';
export type { PvControl } from './launch-pv.ts';
export { type DomainNodes, fillDomainNodes } from './xenstore/domain-nodes.ts';
export { RingServer } from './xenstore/ring-server.ts';
export { Store } from './xenstore/store.ts';
