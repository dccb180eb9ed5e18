/**
 * How a PV kernel wants to be started: from its ELF notes, or from the string in a `__xen_guest` section that kernels had before notes
 * (`xen:public/elfnote.h`).
 */
import { BadInput } from '../bad-input.ts';
import type { Kernel } from './kernel.ts';
import {
  findNote,
  noteNumber,
  noteText,
  XEN_ELFNOTE_BSD_SYMTAB,
  XEN_ELFNOTE_ENTRY,
  XEN_ELFNOTE_FEATURES,
  XEN_ELFNOTE_GUEST_OS,
  XEN_ELFNOTE_HYPERCALL_PAGE,
  XEN_ELFNOTE_INIT_P2M,
  XEN_ELFNOTE_LOADER,
  XEN_ELFNOTE_MOD_START_PFN,
  XEN_ELFNOTE_PADDR_OFFSET,
  XEN_ELFNOTE_PAE_MODE,
  XEN_ELFNOTE_SUPPORTED_FEATURES,
  XEN_ELFNOTE_VIRT_BASE,
  XEN_ELFNOTE_XEN_VERSION,
} from './notes.ts';

/** Addresses are virtual and 64-bit; undefined where the kernel does not say. */
export interface PvParameters {
  readonly entry: bigint | undefined;
  readonly hypercallPage: bigint | undefined;
  readonly virtBase: bigint | undefined;
  /** Subtracted from the physical addresses of the ELF file. */
  readonly paddrOffset: bigint | undefined;
  /** Where the P2M list is to be mapped. */
  readonly initP2m: bigint | undefined;
  readonly loader: string;
  readonly guestOs: string;
  readonly xenVersion: string;
  /** `no`, or 32-bit kernels with PAE page tables: a root below 4 GiB only, or anywhere. */
  readonly pae: 'no' | 'yes' | 'extended';
  /** Names behind FEATURES with `!` in front of what is required, and the bits of SUPPORTED_FEATURES. */
  readonly features: readonly string[];
  readonly supported: bigint;
  readonly bsdSymtab: boolean;
  /** The kernel finds its ramdisk by frame number, so that it need not be mapped. */
  readonly modStartPfn: boolean;
}

/** Name of the section in kernels from before notes. */
const GUEST_SECTION = '__xen_guest';

/** What a PV kernel says, or undefined when it says nothing to Xen. */
export function pvParameters(kernel: Kernel): PvParameters | undefined {
  if (kernel.notes.length > 0) return fromNotes(kernel);
  const section = kernel.elf.sections().find(({ name }) => name === GUEST_SECTION);
  return section && fromSection(String.fromCharCode(...section.data.subarray(0, section.data.indexOf(0))));
}

function fromNotes({ notes }: Kernel): PvParameters {
  const number = (type: number): bigint | undefined => {
    const note = findNote(notes, type);
    return note && (noteNumber(note) ?? 0n);
  };
  const text = (type: number): string => {
    const note = findNote(notes, type);
    return note ? noteText(note) : '';
  };
  const pae = text(XEN_ELFNOTE_PAE_MODE);
  return {
    entry: number(XEN_ELFNOTE_ENTRY),
    hypercallPage: number(XEN_ELFNOTE_HYPERCALL_PAGE),
    virtBase: number(XEN_ELFNOTE_VIRT_BASE),
    paddrOffset: number(XEN_ELFNOTE_PADDR_OFFSET) ?? 0n,
    initP2m: number(XEN_ELFNOTE_INIT_P2M),
    loader: text(XEN_ELFNOTE_LOADER),
    guestOs: text(XEN_ELFNOTE_GUEST_OS),
    xenVersion: text(XEN_ELFNOTE_XEN_VERSION),
    // A note says less than it may mean: kernels with notes all cope with a root above 4 GiB.
    pae: pae === 'yes' || pae.includes('bimodal') ? 'extended' : 'no',
    features: text(XEN_ELFNOTE_FEATURES).split('|').filter(Boolean),
    supported: number(XEN_ELFNOTE_SUPPORTED_FEATURES) ?? 0n,
    bsdSymtab: text(XEN_ELFNOTE_BSD_SYMTAB) === 'yes',
    modStartPfn: (number(XEN_ELFNOTE_MOD_START_PFN) ?? 0n) !== 0n,
  };
}

/** `NAME=value,NAME=value`. The hypercall page is a frame number behind VIRT_BASE there, and ELF addresses are virtual unless said. */
function fromSection(text: string): PvParameters {
  const values = new Map(
    text.split(',').map((part) => {
      const split = part.indexOf('=');
      return split < 0 ? ([part, ''] as const) : ([part.slice(0, split), part.slice(split + 1)] as const);
    }),
  );
  const number = (name: string): bigint | undefined => {
    const value = values.get(name);
    return value !== undefined && /^(?:0x[0-9a-f]+|[0-9]+)$/i.test(value) ? BigInt(value) : undefined;
  };
  const virtBase = number('VIRT_BASE');
  const page = number('HYPERCALL_PAGE');
  const pae = values.get('PAE') ?? '';
  return {
    entry: number('VIRT_ENTRY'),
    hypercallPage: page === undefined ? undefined : (page << 12n) + (virtBase ?? 0n),
    virtBase,
    paddrOffset: number('ELF_PADDR_OFFSET') ?? virtBase ?? 0n,
    initP2m: undefined,
    loader: values.get('LOADER') ?? '',
    guestOs: values.get('GUEST_OS') ?? '',
    xenVersion: values.get('XEN_VER') ?? '',
    pae: pae === 'yes[extended-cr3]' ? 'extended' : pae.startsWith('yes') ? 'yes' : 'no',
    features: (values.get('FEATURES') ?? '').split('|').filter(Boolean),
    supported: 0n,
    bsdSymtab: values.has('BSD_SYMTAB'),
    modStartPfn: false,
  };
}

/** Features a kernel may name, by bit (`xen:public/features.h`). */
const FEATURES: Readonly<Record<string, bigint>> = {
  writable_page_tables: 0n,
  writable_descriptor_tables: 1n,
  auto_translated_physmap: 2n,
  supervisor_mode_kernel: 3n,
  pae_pgdir_above_4gb: 4n,
  hvm_callback_vector: 8n,
  dom0: 11n,
};

/**
 * The kernel can be a PV guest here. Throws {@link BadInput}, in this order: `pv-loader`, `pv-version`, `pv-feature` (a required feature nobody
 * knows, being the control domain, or translated physical addresses), `pv-width` (32-bit without PAE).
 */
export function checkParameters(parameters: PvParameters, bits: 32 | 64): void {
  const { loader, guestOs, xenVersion, features } = parameters;
  if (!loader.startsWith('generic') && !guestOs.startsWith('linux')) {
    throw new BadInput(
      'pv-loader',
      `not for this builder: PV kernels have the note LOADER = "generic" or GUEST_OS = "linux", this one says "${loader}" and "${guestOs}"`,
    );
  }
  if (!xenVersion.startsWith('xen-3.0')) {
    throw new BadInput(
      'pv-version',
      `made for another interface: the note XEN_VERSION must be "xen-3.0", it is "${xenVersion}"`,
    );
  }
  for (const name of features.filter((text) => text.startsWith('!')).map((text) => text.slice(1))) {
    if (FEATURES[name] === undefined)
      throw new BadInput('pv-feature', `requires the feature ${name}, which is not known`);
    if (name === 'dom0')
      throw new BadInput('pv-feature', 'can only be the control domain: it requires the feature dom0');
    if (name === 'auto_translated_physmap')
      throw new BadInput(
        'pv-feature',
        'requires translated physical addresses (auto_translated_physmap), which Xen no longer has',
      );
  }
  if (bits === 32 && parameters.pae === 'no') {
    throw new BadInput(
      'pv-width',
      'a 32-bit kernel without PAE: the note PAE_MODE must be "yes"; Xen has no other 32-bit PV guests',
    );
  }
}
