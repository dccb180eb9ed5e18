/** Notes by which an image tells Xen how to start it (`xen:public/elfnote.h`). */
import { type ElfImage, PT_NOTE } from './elf.ts';
import { SHT_NOTE } from './elf-sections.ts';

/** Names of note types 0..19 as the header spells them. */
export const XEN_ELFNOTE_NAMES = [
  'INFO',
  'ENTRY',
  'HYPERCALL_PAGE',
  'VIRT_BASE',
  'PADDR_OFFSET',
  'XEN_VERSION',
  'GUEST_OS',
  'GUEST_VERSION',
  'LOADER',
  'PAE_MODE',
  'FEATURES',
  'BSD_SYMTAB',
  'HV_START_LOW',
  'L1_MFN_VALID',
  'SUSPEND_CANCEL',
  'INIT_P2M',
  'MOD_START_PFN',
  'SUPPORTED_FEATURES',
  'PHYS32_ENTRY',
  'PHYS32_RELOC',
] as const;

export const XEN_ELFNOTE_ENTRY = 1;
export const XEN_ELFNOTE_HYPERCALL_PAGE = 2;
export const XEN_ELFNOTE_VIRT_BASE = 3;
export const XEN_ELFNOTE_PADDR_OFFSET = 4;
export const XEN_ELFNOTE_XEN_VERSION = 5;
export const XEN_ELFNOTE_GUEST_OS = 6;
export const XEN_ELFNOTE_LOADER = 8;
export const XEN_ELFNOTE_PAE_MODE = 9;
export const XEN_ELFNOTE_FEATURES = 10;
export const XEN_ELFNOTE_BSD_SYMTAB = 11;
export const XEN_ELFNOTE_INIT_P2M = 15;
export const XEN_ELFNOTE_MOD_START_PFN = 16;
export const XEN_ELFNOTE_SUPPORTED_FEATURES = 17;
export const XEN_ELFNOTE_PHYS32_ENTRY = 18;
/** XENFEAT_linux_rsdp_unrestricted. */
const LINUX_RSDP_UNRESTRICTED = 15n;

export interface XenNote {
  readonly type: number;
  /** Name of the type, or its number when the header has none. */
  readonly name: string;
  /** Descriptor bytes: a view into the file. */
  readonly data: Uint8Array;
}

/**
 * Xen notes of an image: those of its PT_NOTE segments or, when these have none, of its SHT_NOTE sections. Notes of
 * other owners (GNU, Linux) are passed over. The last note of a container may be cut off by its end; it has the bytes that are there.
 */
export function readXenNotes(image: ElfImage): XenNote[] {
  const fromSegments = image.segments
    .filter((segment) => segment.type === PT_NOTE)
    .flatMap((segment) => parse(segment.data));
  if (fromSegments.length > 0) return fromSegments;
  return image
    .sections()
    .filter((section) => section.type === SHT_NOTE)
    .flatMap((section) => parse(section.data));
}

/** Every note owned by "Xen" in a container. Name and descriptor are each padded to four bytes in both ELF classes. */
function parse(container: Uint8Array): XenNote[] {
  const view = new DataView(container.buffer, container.byteOffset, container.byteLength);
  const notes: XenNote[] = [];
  let at = 0;
  while (at + 12 <= container.length) {
    const nameSize = view.getUint32(at, true);
    const dataSize = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const data = at + 12 + align4(nameSize);
    if (data > container.length) break;
    if (nameSize === 4 && view.getUint32(at + 12, true) === 0x006e6558) {
      notes.push({
        type,
        name: XEN_ELFNOTE_NAMES[type] ?? String(type),
        data: container.subarray(data, data + dataSize),
      });
    }
    at = data + align4(dataSize);
  }
  return notes;
}

const align4 = (size: number): number => Math.ceil(size / 4) * 4;

/** Value of a numeric note of 1, 2, 4 or 8 bytes; undefined for any other size. */
export function noteNumber(note: XenNote): bigint | undefined {
  const size = note.data.length;
  if (size !== 1 && size !== 2 && size !== 4 && size !== 8) return undefined;
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(note.data[i]!);
  return value;
}

/** Text of a string note, without its terminator. */
export function noteText(note: XenNote): string {
  const end = note.data.indexOf(0);
  return String.fromCharCode(...note.data.subarray(0, end < 0 ? note.data.length : end));
}

export const findNote = (notes: readonly XenNote[], type: number): XenNote | undefined =>
  notes.find((note) => note.type === type);

/** Physical address of the PVH entry point, or undefined when the image has none. */
export function pvhEntry(notes: readonly XenNote[]): number | undefined {
  const note = findNote(notes, XEN_ELFNOTE_PHYS32_ENTRY);
  const value = note && noteNumber(note);
  return value === undefined || value > 0xffff_ffffn ? undefined : Number(value);
}

/**
 * Linux before its `linux_rsdp_unrestricted` feature finds the RSDP only by scanning below 1 MiB, so the builder puts
 * it there (`xen:public/features.h#XENFEAT_linux_rsdp_unrestricted`).
 */
export function wantsLowRsdp(notes: readonly XenNote[]): boolean {
  const os = findNote(notes, XEN_ELFNOTE_GUEST_OS);
  if (!os || noteText(os) !== 'linux') return false;
  const supported = findNote(notes, XEN_ELFNOTE_SUPPORTED_FEATURES);
  const bits = supported && noteNumber(supported);
  if (bits !== undefined && (bits >> LINUX_RSDP_UNRESTRICTED) & 1n) return false;
  const features = findNote(notes, XEN_ELFNOTE_FEATURES);
  return (
    !features ||
    !noteText(features)
      .split('|')
      .some((word) => word.replace('!', '') === 'linux_rsdp_unrestricted')
  );
}
