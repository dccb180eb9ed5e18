/** Builder of PVH domains (`xen:misc/pvh.pandoc`): no firmware, the kernel is entered at its PHYS32_ENTRY note. */
import { BadInput } from '../bad-input.ts';
import { alignUp } from '../bytes.ts';
import { ACPI_INFO_ADDRESS, type AcpiTables, buildAcpi } from './acpi.ts';
import {
  type DomainImage,
  E820_NVS,
  E820_RAM,
  E820_RESERVED,
  flatEntry,
  type MemoryRegion,
  type PhysicalRange,
} from './image.ts';
import { describeNotes, type Kernel } from './kernel.ts';
import { checkCounts, highRange, layoutRam, loadSegments, placer, type RamLayout } from './layout.ts';
import { wantsLowRsdp } from './notes.ts';
import { CONSOLE_GFN, identityPageDirectory, STORE_GFN, specialPages, specialParams } from './special-pages.ts';
import { buildStartInfo, type StartInfoModule } from './start-info.ts';

export interface ModuleInput {
  readonly bytes: Uint8Array;
  readonly cmdline?: string;
}

export interface PvhInput {
  readonly kernel: Kernel;
  readonly memoryMib: number;
  readonly vcpus: number;
  readonly maxVcpus: number;
  readonly cmdline?: string;
  readonly modules: readonly ModuleInput[];
}

/**
 * The domain ready to run. Order in memory as Xen's tools have it: kernel where it is linked, modules, start info.
 * Throws {@link BadInput}, in this order: `vcpus`, `memory`, `no-pvh-entry`, `image-too-large`, `memory-too-small`.
 */
export function buildPvh(input: PvhInput): DomainImage {
  checkCounts(input);
  const { kernel } = input;
  const entry = kernel.pvhEntry;
  if (entry === undefined) {
    throw new BadInput(
      'no-pvh-entry',
      `not a PVH kernel: no PHYS32_ENTRY note (type 18); ${describeNotes(kernel.notes)}`,
    );
  }
  const ram = layoutRam(input.memoryMib, ACPI_INFO_ADDRESS);
  const kernelWrites = loadSegments(kernel.elf, ram);
  const acpi = buildAcpi({ maxVcpus: input.maxVcpus, vcpus: input.vcpus, lowRsdp: wantsLowRsdp(kernel.notes) });
  const memoryMap = pvhMemoryMap(ram, acpi);

  const place = placer(kernel.elf.end, ram);
  const moduleWrites = input.modules.map((module, i) => ({
    gpa: place(`module ${i}`, module.bytes.length),
    bytes: module.bytes,
  }));
  const modules = input.modules.map((module, i): StartInfoModule => {
    const base = { start: moduleWrites[i]!.gpa, size: module.bytes.length };
    return module.cmdline === undefined ? base : { ...base, cmdline: module.cmdline };
  });
  const startInfoInput = {
    modules,
    rsdp: acpi.rsdp.gpa,
    memoryMap,
    ...(input.cmdline === undefined ? {} : { cmdline: input.cmdline }),
  };
  const startInfo = place('start info', buildStartInfo({ base: 0, ...startInfoInput }).length);

  return {
    type: 'pvh',
    maxVcpus: input.maxVcpus,
    vcpus: input.vcpus,
    populate: [{ start: 0, size: ram.lowEnd }, specialPages, acpiRange(acpi), ...highRange(ram)],
    writes: [
      ...kernelWrites,
      ...moduleWrites,
      { gpa: startInfo, bytes: buildStartInfo({ base: startInfo, ...startInfoInput }) },
      identityPageDirectory(),
      acpi.info,
      acpi.tables,
      acpi.rsdp,
    ],
    entry: flatEntry(entry, startInfo),
    memoryMap,
    hvmParams: specialParams(false),
    storeGfn: STORE_GFN,
    consoleGfn: CONSOLE_GFN,
  };
}

/** Info page, tables and, unless it lies in low RAM, the page of the RSDP. */
function acpiRange(acpi: AcpiTables): PhysicalRange {
  const end = Math.max(acpi.tables.gpa + acpi.tables.bytes.length, alignUp(acpi.rsdp.gpa + 1, 4096));
  return { start: ACPI_INFO_ADDRESS, size: end - ACPI_INFO_ADDRESS };
}

/** Entries in the order Xen's tools write them, which is not by address: an RSDP below 1 MiB overlaps low RAM. */
export function pvhMemoryMap(ram: RamLayout, acpi: AcpiTables): MemoryRegion[] {
  const rsdpPage = acpi.rsdp.gpa - (acpi.rsdp.gpa % 4096);
  return [
    { start: 0, size: ram.lowEnd, type: E820_RAM },
    { ...specialPages, type: E820_RESERVED },
    { start: rsdpPage, size: acpi.rsdp.gpa + acpi.rsdp.bytes.length - rsdpPage, type: E820_NVS },
    { start: acpi.info.gpa, size: acpi.info.bytes.length, type: E820_NVS },
    { start: acpi.tables.gpa, size: acpi.tables.bytes.length, type: E820_NVS },
    ...highRange(ram).map((range) => ({ ...range, type: E820_RAM })),
  ];
}
