/** Where guest RAM lies, and placing things in it. */
import { BadInput } from '../bad-input.ts';
import { alignUp } from '../bytes.ts';
import type { ElfImage } from './elf.ts';
import type { MemoryWrite, PhysicalRange } from './image.ts';

const MIB = 1024 * 1024;
export const FOUR_GIB = 2 ** 32;

/** RAM of a domain: below the hole under 4 GiB, the rest from 4 GiB up. Ends are in bytes; highEnd is 0 without high RAM. */
export interface RamLayout {
  readonly lowEnd: number;
  readonly highEnd: number;
}

/** `holeStart` is where RAM below 4 GiB must end at the latest. */
export function layoutRam(memoryMib: number, holeStart: number): RamLayout {
  const size = memoryMib * MIB;
  return size <= holeStart ? { lowEnd: size, highEnd: 0 } : { lowEnd: holeStart, highEnd: FOUR_GIB + size - holeStart };
}

export const highRange = (ram: RamLayout): PhysicalRange[] =>
  ram.highEnd > 0 ? [{ start: FOUR_GIB, size: ram.highEnd - FOUR_GIB }] : [];

/** Writes of an image's loadable segments. RAM is zero before, so only bytes from the file are written. Throws `image-too-large`. */
export function loadSegments(elf: ElfImage, ram: RamLayout): MemoryWrite[] {
  if (elf.end > ram.lowEnd) {
    throw new BadInput(
      'image-too-large',
      `the image needs memory up to ${mib(elf.end)} MiB (0x${elf.end.toString(16)}), the guest has ${mib(ram.lowEnd)} MiB`,
    );
  }
  return elf.loadable
    .filter((segment) => segment.data.length > 0)
    .map((segment) => ({ gpa: segment.paddr, bytes: segment.data }));
}

const mib = (bytes: number): string => String(Math.ceil((bytes / MIB) * 10) / 10);

/** Hands out page-aligned places behind the image, one after the other. Throws `memory-too-small`. */
export function placer(start: number, ram: RamLayout): (what: string, size: number) => number {
  let next = alignUp(start, 4096);
  return (what, size) => {
    const at = next;
    next = alignUp(at + size, 4096);
    if (next > ram.lowEnd) {
      throw new BadInput(
        'memory-too-small',
        `no room for the ${what}: it would end at ${mib(next)} MiB, the guest has ${mib(ram.lowEnd)} MiB`,
      );
    }
    return at;
  };
}

/** Most vCPUs by kind of guest (`xen:public/hvm/hvm_info_table.h#HVM_MAX_VCPUS`, `xen:arch/x86/include/asm/config.h#MAX_VIRT_CPUS`). */
export const HVM_MAX_VCPUS = 128,
  PV_MAX_VCPUS = 8192;

export interface Counts {
  readonly vcpus: number;
  readonly maxVcpus: number;
  readonly memoryMib: number;
}

/** Range check of counts shared by the builders. */
export function checkCounts(input: Counts, kind = 'an HVM or PVH guest', most = HVM_MAX_VCPUS): void {
  const { vcpus, maxVcpus, memoryMib } = input;
  if (!Number.isInteger(maxVcpus) || maxVcpus < 1 || maxVcpus > most) {
    throw new BadInput('vcpus', `${maxVcpus} vCPUs: ${kind} has 1 to ${most}`);
  }
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > maxVcpus) {
    throw new BadInput('vcpus', `${vcpus} vCPUs online: must be 1 to ${maxVcpus}, the number that exist`);
  }
  if (!Number.isInteger(memoryMib) || memoryMib < 1)
    throw new BadInput('memory', `${memoryMib} MiB of memory: must be a whole number from 1`);
}
