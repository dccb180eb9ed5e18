/** Builder of PV domains (`xen:tools/libs/guest/xg_dom_x86.c`): paging is on from the first instruction, over machine frames. */
import { MAX_GUEST_CMDLINE, SIF_MOD_START_PFN } from '../../abi/xen/start-info.ts';
import { BadInput } from '../bad-input.ts';
import { alignUp, encodeText } from '../bytes.ts';
import { EM_X86_64 } from './elf.ts';
import type { MemoryWrite } from './image.ts';
import { describeNotes, type Kernel } from './kernel.ts';
import { type Counts, checkCounts, PV_MAX_VCPUS } from './layout.ts';
import type { PvImage } from './pv-image.ts';
import { layoutPv, type PvLayout } from './pv-layout.ts';
import { checkParameters, type PvParameters, pvParameters } from './pv-notes.ts';
import { symbolTable } from './pv-symbols.ts';
import type { ModuleInput } from './pvh.ts';

const PAGE = 4096;
const MIB_PAGES = 256;
/** Where the hypervisor's part of an address space begins (`xen:public/arch-x86/xen-x86_32.h`, `xen-x86_64.h`). */
const HYPERVISOR_START = { pv64: 0xffff_8000_0000_0000n, pv32: 0xf580_0000n } as const;
const HYPERVISOR_END_64 = 0xffff_8800_0000_0000n;

export interface PvInput extends Counts {
  readonly kernel: Kernel;
  readonly cmdline?: string;
  /** At most one: the ramdisk. */
  readonly modules: readonly ModuleInput[];
}

/**
 * The domain ready to run. Throws {@link BadInput}, in this order: `vcpus`, `memory`, `no-pv-entry` (nothing says how to start it as PV), what
 * {@link checkParameters} finds, `pv-address` (parts of the kernel outside its own range, or in the hypervisor's), `cmdline`, `modules`,
 * `memory-too-small`.
 */
export function buildPv(input: PvInput): PvImage {
  checkCounts(input, 'a PV guest', PV_MAX_VCPUS);
  const { kernel } = input;
  const parameters = pvParameters(kernel);
  if (parameters === undefined || !startsPv(parameters)) {
    const other = kernel.pvhEntry === undefined ? '' : '; it can be started as PVH (type pvh)';
    throw new BadInput('no-pv-entry', `not a PV kernel: ${describeNotes(kernel.notes)}${other}`);
  }
  checkParameters(parameters, kernel.elf.bits);
  const type = kernel.elf.machine === EM_X86_64 ? 'pv64' : 'pv32';
  const virtBase = parameters.virtBase ?? 0n;
  const placed = placeKernel(kernel, parameters, virtBase);
  const entry = parameters.entry ?? kernel.elf.entry;
  checkAddresses(placed, entry, virtBase);
  const cmdline = input.cmdline ?? '';
  const cmdlineBytes = encodeText(cmdline).length;
  if (cmdlineBytes >= MAX_GUEST_CMDLINE) {
    throw new BadInput(
      'cmdline',
      `the command line has ${cmdlineBytes} bytes, a PV guest takes ${MAX_GUEST_CMDLINE - 1}`,
    );
  }
  if (input.modules.length > 1) {
    throw new BadInput('modules', `${input.modules.length} modules: a PV guest takes one, its ramdisk`);
  }
  const ramdisk = input.modules[0]?.bytes;
  const pages = input.memoryMib * MIB_PAGES;
  const layout = layoutPv({
    type,
    pages,
    virtBase,
    kernelStart: placed.start / PAGE,
    kernelEnd: Math.ceil(placed.end / PAGE),
    ramdiskBytes: ramdisk?.length ?? 0,
    ramdiskUnmapped: parameters.modStartPfn,
    p2mBase: listBase(parameters, type, virtBase),
  });
  checkRange(type, virtBase, layout);
  const at = (pfn: number): bigint => virtBase + BigInt(pfn * PAGE);
  return {
    type,
    maxVcpus: input.maxVcpus,
    vcpus: input.vcpus,
    pages,
    writes: [...placed.writes, ...(ramdisk === undefined ? [] : [{ gpa: layout.ramdisk * PAGE, bytes: ramdisk }])],
    hypercallPage: hypercallFrame(parameters, virtBase, pages),
    tables: layout.tables.all,
    encodeTable: (table, machineFrame) => layout.tables.encode(table, machineFrame),
    p2m: layout.p2m,
    startInfo: layout.startInfo,
    store: layout.store,
    console: layout.console,
    entry: {
      ip: entry,
      sp: at(layout.bootStack + 1),
      si: at(layout.startInfo),
      extendedCr3: type === 'pv32' && parameters.pae === 'extended',
    },
    info: {
      ptBase: at(layout.tablesStart),
      tableCount: layout.tableCount,
      cmdline,
      ...listInfo(parameters, type, virtBase, layout),
      ...ramdiskInfo(ramdisk, parameters, layout, at),
    },
  };
}

/** PVH-only kernels have notes too; one of these is what a PV kernel cannot do without. */
export const startsPv = (parameters: PvParameters): boolean =>
  parameters.xenVersion !== '' && (parameters.loader !== '' || parameters.guestOs !== '');

/** Whether an image says how to start it as a PV guest. */
export function hasPvEntry(kernel: Kernel): boolean {
  const parameters = pvParameters(kernel);
  return parameters !== undefined && startsPv(parameters);
}

interface PlacedKernel {
  /** Pseudo-physical byte addresses; `end` includes zeros and symbols. */
  readonly start: number;
  readonly end: number;
  readonly writes: readonly MemoryWrite[];
}

function placeKernel(kernel: Kernel, parameters: PvParameters, virtBase: bigint): PlacedKernel {
  const { elf } = kernel;
  const offset = Number(parameters.paddrOffset ?? 0n);
  const symbols = parameters.bsdSymtab ? symbolTable(elf) : undefined;
  const start = elf.start - offset;
  if (start < 0 || start % PAGE !== 0) {
    throw new BadInput(
      'pv-address',
      start < 0
        ? `begins at ${hex(elf.start)}, below what its note PADDR_OFFSET takes away (${hex(offset)})`
        : `begins at ${hex(virtBase + BigInt(start))}, which is not on a page boundary`,
    );
  }
  return {
    start,
    end: (symbols === undefined ? elf.end : symbols.start + symbols.bytes.length) - offset,
    writes: [
      ...elf.loadable
        .filter((segment) => segment.data.length > 0)
        .map((segment) => ({ gpa: segment.paddr - offset, bytes: segment.data })),
      ...(symbols === undefined ? [] : [{ gpa: symbols.start - offset, bytes: symbols.bytes }]),
    ],
  };
}

function checkAddresses(placed: PlacedKernel, entry: bigint, virtBase: bigint): void {
  const first = virtBase + BigInt(placed.start);
  const end = virtBase + BigInt(placed.end);
  if (entry < first || entry > end) {
    throw new BadInput(
      'pv-address',
      `its entry point ${hex(entry)} is outside the kernel, which lies from ${hex(first)} to ${hex(end)} (notes ENTRY, VIRT_BASE, PADDR_OFFSET)`,
    );
  }
}

/** The initial mapping must leave the hypervisor's part of the address space alone. */
function checkRange(type: 'pv64' | 'pv32', virtBase: bigint, layout: PvLayout): void {
  const end = layout.mappingEnd;
  const start = HYPERVISOR_START[type];
  const within =
    type === 'pv32' ? end <= start : end <= 1n << 47n || (virtBase >= HYPERVISOR_END_64 && end <= 1n << 64n);
  if (!within) {
    throw new BadInput(
      'pv-address',
      `wants addresses from ${hex(virtBase)} to ${hex(end)} (note VIRT_BASE), which are not the guest's: the hypervisor's begin at ${hex(start)}`,
    );
  }
}

/** INIT_P2M counts when it is on a page boundary below the kernel's addresses, for 64-bit guests. */
function listBase(parameters: PvParameters, type: 'pv64' | 'pv32', virtBase: bigint): bigint | undefined {
  const { initP2m } = parameters;
  return type === 'pv64' && initP2m !== undefined && initP2m < virtBase && initP2m % BigInt(PAGE) === 0n
    ? initP2m
    : undefined;
}

function listInfo(
  parameters: PvParameters,
  type: 'pv64' | 'pv32',
  virtBase: bigint,
  layout: PvLayout,
): Pick<PvImage['info'], 'mfnList' | 'firstP2mPfn' | 'p2mFrames'> {
  const base = listBase(parameters, type, virtBase);
  if (base === undefined) return { mfnList: virtBase + BigInt(layout.p2m * PAGE), firstP2mPfn: 0, p2mFrames: 0 };
  return { mfnList: base, firstP2mPfn: layout.p2m, p2mFrames: layout.p2mFrames };
}

function ramdiskInfo(
  ramdisk: Uint8Array | undefined,
  parameters: PvParameters,
  layout: PvLayout,
  at: (pfn: number) => bigint,
): Pick<PvImage['info'], 'flags' | 'modStart' | 'modLen'> {
  if (ramdisk === undefined) return { flags: 0, modStart: 0n, modLen: 0n };
  if (!parameters.modStartPfn) return { flags: 0, modStart: at(layout.ramdisk), modLen: BigInt(ramdisk.length) };
  const modLen = BigInt(alignUp(ramdisk.length, PAGE));
  return { flags: SIF_MOD_START_PFN, modStart: BigInt(layout.ramdisk), modLen };
}

function hypercallFrame(parameters: PvParameters, virtBase: bigint, pages: number): number | undefined {
  const { hypercallPage } = parameters;
  if (hypercallPage === undefined) return undefined;
  const frame = (hypercallPage - virtBase) >> 12n;
  if (frame < 0n || frame >= BigInt(pages)) {
    throw new BadInput(
      'pv-address',
      `its hypercall page ${hex(hypercallPage)} (note HYPERCALL_PAGE) is not in its memory`,
    );
  }
  return Number(frame);
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
