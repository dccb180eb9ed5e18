/**
 * Builder of HVM domains whose firmware is an ELF image (`firmware_override` of xl.cfg): hvmloader, or a test kernel
 * that stands in for it. It is loaded at its physical addresses and entered at e_entry in flat protected mode.
 */
import { BadInput } from '../bad-input.ts';
import { buildHvmInfo, HVM_INFO_ADDRESS } from './hvm-info.ts';
import { type DomainImage, E820_RAM, flatEntry, type MemoryRegion } from './image.ts';
import type { Kernel } from './kernel.ts';
import { checkCounts, highRange, layoutRam, loadSegments, placer, type RamLayout } from './layout.ts';
import type { ModuleInput } from './pvh.ts';
import {
  CONSOLE_GFN,
  identityPageDirectory,
  ioreqServerPages,
  STORE_GFN,
  specialPages,
  specialParams,
} from './special-pages.ts';
import { buildStartInfo } from './start-info.ts';

/** `xen:public/hvm/e820.h#HVM_BELOW_4G_RAM_END`. */
const HVM_BELOW_4G_RAM_END = 0xf0000000;
const VGA_HOLE_START = 0xa0000;
const VGA_HOLE_END = 0xc0000;
const ONE_MIB = 0x100000;

export interface HvmInput {
  readonly firmware: Kernel;
  readonly memoryMib: number;
  readonly vcpus: number;
  readonly maxVcpus: number;
  readonly modules: readonly ModuleInput[];
}

/**
 * The domain ready to run. Throws {@link BadInput}, in this order: `vcpus`, `memory`, `memory-too-small` (below 2 MiB),
 * `hvm-entry` (e_entry outside the image), `image-in-hole`, `image-too-large`.
 */
export function buildHvm(input: HvmInput): DomainImage {
  checkCounts(input);
  if (input.memoryMib < 2) throw new BadInput('memory-too-small', 'an HVM guest needs at least 2 MiB of memory');
  const { elf } = input.firmware;
  const entry = Number(elf.entry);
  if (entry < elf.start || entry >= elf.end || entry >= 2 ** 32) {
    throw new BadInput(
      'hvm-entry',
      `cannot be started as HVM firmware: its entry point 0x${elf.entry.toString(16)} is outside its physical addresses 0x${elf.start.toString(16)} to 0x${elf.end.toString(16)}`,
    );
  }
  if (
    elf.loadable.some((segment) => segment.paddr < VGA_HOLE_END && segment.paddr + segment.memorySize > VGA_HOLE_START)
  ) {
    throw new BadInput(
      'image-in-hole',
      'a segment lies in the VGA hole (0xa0000 to 0xbffff), where an HVM guest has no RAM',
    );
  }
  const ram = layoutRam(input.memoryMib, HVM_BELOW_4G_RAM_END);
  const firmware = loadSegments(elf, ram);
  const memoryMap = hvmMemoryMap(ram);
  const place = placer(Math.max(elf.end, ONE_MIB), ram);
  const moduleWrites = input.modules.map((module, i) => ({
    gpa: place(`module ${i}`, module.bytes.length),
    bytes: module.bytes,
  }));
  const modules = moduleWrites.map((write) => ({ start: write.gpa, size: write.bytes.length }));
  const startInfo = place('start info', buildStartInfo({ base: 0, modules, rsdp: 0, memoryMap }).length);
  return {
    type: 'hvm',
    maxVcpus: input.maxVcpus,
    vcpus: input.vcpus,
    populate: [
      { start: 0, size: VGA_HOLE_START },
      { start: VGA_HOLE_END, size: ram.lowEnd - VGA_HOLE_END },
      ioreqServerPages,
      specialPages,
      ...highRange(ram),
    ],
    writes: [
      ...firmware,
      ...moduleWrites,
      { gpa: startInfo, bytes: buildStartInfo({ base: startInfo, modules, rsdp: 0, memoryMap }) },
      {
        gpa: HVM_INFO_ADDRESS,
        bytes: buildHvmInfo({
          maxVcpus: input.maxVcpus,
          vcpus: input.vcpus,
          lowMemoryEnd: ram.lowEnd,
          highMemoryEnd: ram.highEnd,
          reservedStart: ioreqServerPages.start,
        }),
      },
      identityPageDirectory(),
    ],
    entry: flatEntry(entry, startInfo),
    memoryMap,
    hvmParams: specialParams(true),
    storeGfn: STORE_GFN,
    consoleGfn: CONSOLE_GFN,
  };
}

/** RAM from 1 MiB up: what lies below is described by the firmware. */
const hvmMemoryMap = (ram: RamLayout): MemoryRegion[] => [
  { start: ONE_MIB, size: ram.lowEnd - ONE_MIB, type: E820_RAM },
  ...highRange(ram).map((range) => ({ ...range, type: E820_RAM })),
];
