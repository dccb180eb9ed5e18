/** hvm_start_info, version 1 (`xen:public/arch-x86/hvm/start_info.h`): what ebx points to at a PVH entry. */
import { BadInput } from '../bad-input.ts';
import { alignUp, encodeText, viewOf } from '../bytes.ts';
import type { MemoryRegion } from './image.ts';

export const XEN_HVM_START_MAGIC_VALUE = 0x336ec578;
const SIZE = 56;
const MODULE_SIZE = 32;
const MEMMAP_ENTRY_SIZE = 24;
/** Xen's tools keep room for two modules, each with a command line of up to 1023 bytes; more are added when asked for. */
const MODULE_SLOTS = 2;
const MODULE_CMDLINE_SIZE = 1024;

export interface StartInfoModule {
  readonly start: number;
  readonly size: number;
  /** Command line; no pointer is given when absent. */
  readonly cmdline?: string;
}

export interface StartInfoInput {
  /** Physical address the structure will be at. */
  readonly base: number;
  readonly cmdline?: string;
  readonly modules: readonly StartInfoModule[];
  /** Physical address of the RSDP, 0 for none. */
  readonly rsdp: number;
  readonly memoryMap: readonly MemoryRegion[];
}

const commandLineSize = (cmdline: string | undefined): number =>
  cmdline === undefined ? 0 : alignUp(encodeText(cmdline).length + 1, 8);

/**
 * The structure followed by the command line, the module list, the modules' command lines and the memory map, in one
 * piece to be written at `base`. Throws {@link BadInput} `module-cmdline` for a module command line of 1024 bytes or more.
 */
export function buildStartInfo(input: StartInfoInput): Uint8Array {
  const slots = Math.max(MODULE_SLOTS, input.modules.length);
  const modlist = SIZE + commandLineSize(input.cmdline);
  const cmdlines = modlist + slots * MODULE_SIZE;
  const memmap = cmdlines + slots * MODULE_CMDLINE_SIZE;
  const bytes = new Uint8Array(memmap + input.memoryMap.length * MEMMAP_ENTRY_SIZE);
  const view = viewOf(bytes);
  const address = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);

  view.setUint32(0, XEN_HVM_START_MAGIC_VALUE, true);
  view.setUint32(4, 1, true);
  view.setUint32(12, input.modules.length, true);
  if (input.modules.length > 0) address(16, input.base + modlist);
  if (input.cmdline !== undefined) {
    address(24, input.base + SIZE);
    bytes.set(encodeText(input.cmdline), SIZE);
  }
  address(32, input.rsdp);
  address(40, input.base + memmap);
  view.setUint32(48, input.memoryMap.length, true);

  input.modules.forEach((module, i) => {
    const at = modlist + i * MODULE_SIZE;
    address(at, module.start);
    address(at + 8, module.size);
    if (module.cmdline === undefined) return;
    const text = encodeText(module.cmdline);
    if (text.length >= MODULE_CMDLINE_SIZE) {
      throw new BadInput(
        'module-cmdline',
        `command line of module ${i} has ${text.length} bytes, the limit is ${MODULE_CMDLINE_SIZE - 1}`,
      );
    }
    const place = cmdlines + i * MODULE_CMDLINE_SIZE;
    address(at + 16, input.base + place);
    bytes.set(text, place);
  });

  input.memoryMap.forEach((region, i) => {
    const at = memmap + i * MEMMAP_ENTRY_SIZE;
    address(at, region.start);
    address(at + 8, region.size);
    view.setUint32(at + 16, region.type, true);
  });
  return bytes;
}
