/**
 * What the builder of PV domains produces. Unlike a translated guest's, the contents of its first pages depend on which machine frames the domain
 * gets, so the value has two halves: the plan, and {@link pvContents}, which fills it in once the frames are known.
 */
import { start_info } from '../../abi/xen/start-info.ts';
import { encode, type Layout } from '../../abi/xen/struct.ts';
import {
  FLAT_RING1_CS,
  FLAT_RING1_DS,
  FLAT_RING3_CS64,
  FLAT_RING3_SS64,
  frameToCr3,
  type GuestContext32,
  type GuestContext64,
  VGCF_in_kernel,
  VGCF_online,
  vcpu_guest_context_32,
  vcpu_guest_context_64,
} from '../../abi/xen/vcpu-guest-context.ts';
import { encodeText } from '../bytes.ts';
import type { MemoryWrite } from './image.ts';
import type { PageTable } from './pv-tables.ts';

const PAGE = 4096;
const IF = 1n << 9n;
const DR6_DEFAULT = 0xffff_0ff0n;
const DR7_DEFAULT = 0x400n;
const VMASST_pae_extended_cr3 = 1n << 3n;

/** Frame numbers are pseudo-physical (0 to `pages` - 1), addresses are the guest's virtual ones. */
export interface PvImage {
  readonly type: 'pv64' | 'pv32';
  readonly maxVcpus: number;
  readonly vcpus: number;
  readonly pages: number;
  /** Kernel and ramdisk, at pseudo-physical byte addresses. */
  readonly writes: readonly MemoryWrite[];
  /** Frame that the hypervisor fills with its call stubs. */
  readonly hypercallPage: number | undefined;
  /** Initial page tables; the first is the root. */
  readonly tables: readonly PageTable[];
  readonly encodeTable: (table: PageTable, machineFrame: (pfn: number) => number) => Uint8Array;
  readonly p2m: number;
  readonly startInfo: number;
  readonly store: number;
  readonly console: number;
  /** Registers of the first vCPU. */
  readonly entry: { readonly ip: bigint; readonly sp: bigint; readonly si: bigint; readonly extendedCr3: boolean };
  /** start_info without what depends on machine frames and ports. */
  readonly info: {
    readonly flags: number;
    readonly ptBase: bigint;
    readonly tableCount: number;
    readonly mfnList: bigint;
    /** Address, or frame number with the flag for it; 0 without a ramdisk. */
    readonly modStart: bigint;
    readonly modLen: bigint;
    readonly cmdline: string;
    /** 0 unless the list is mapped elsewhere. */
    readonly firstP2mPfn: number;
    readonly p2mFrames: number;
  };
}

export interface MachineFrames {
  /** Machine frame of a pseudo-physical one. */
  readonly machineFrame: (pfn: number) => number;
  readonly sharedInfo: number;
  readonly storePort: number;
  readonly consolePort: number;
}

export interface PvContents {
  readonly writes: readonly MemoryWrite[];
  /** `vcpu_guest_context` in the guest's width. */
  readonly context: Uint8Array;
}

const layoutOf = (image: PvImage): Layout => (image.type === 'pv64' ? 'native' : 'compat');

/** Page tables, P2M list and start info, at pseudo-physical byte addresses, and the first vCPU's registers. */
export function pvContents(image: PvImage, frames: MachineFrames): PvContents {
  return {
    writes: [
      ...image.tables.map((table) => ({
        gpa: table.pfn * PAGE,
        bytes: image.encodeTable(table, frames.machineFrame),
      })),
      { gpa: image.p2m * PAGE, bytes: p2mList(image, frames.machineFrame) },
      { gpa: image.startInfo * PAGE, bytes: startInfo(image, frames) },
    ],
    context: image.type === 'pv64' ? context64(image, frames) : context32(image, frames),
  };
}

function p2mList(image: PvImage, machineFrame: (pfn: number) => number): Uint8Array {
  if (image.type === 'pv32')
    return new Uint8Array(Uint32Array.from({ length: image.pages }, (_, i) => machineFrame(i)).buffer);
  return new Uint8Array(BigUint64Array.from({ length: image.pages }, (_, i) => BigInt(machineFrame(i))).buffer);
}

function startInfo(image: PvImage, frames: MachineFrames): Uint8Array {
  const { info } = image;
  return encode(
    start_info,
    {
      magic: encodeText(image.type === 'pv64' ? 'xen-3.0-x86_64' : 'xen-3.0-x86_32p'),
      nr_pages: BigInt(image.pages),
      shared_info: BigInt(frames.sharedInfo) << 12n,
      flags: info.flags,
      store_mfn: BigInt(frames.machineFrame(image.store)),
      store_evtchn: frames.storePort,
      console_mfn: BigInt(frames.machineFrame(image.console)),
      console_evtchn: frames.consolePort,
      pt_base: info.ptBase,
      nr_pt_frames: BigInt(info.tableCount),
      mfn_list: info.mfnList,
      mod_start: info.modStart,
      mod_len: info.modLen,
      cmd_line: encodeText(info.cmdline),
      first_p2m_pfn: BigInt(info.firstP2mPfn),
      nr_p2m_frames: BigInt(info.p2mFrames),
    },
    layoutOf(image),
  );
}

/** A context of zeros to set fields in. */
const blank64 = (): GuestContext64 =>
  vcpu_guest_context_64.read(new DataView(new ArrayBuffer(vcpu_guest_context_64.size('native'))), 0, 'native');
const blank32 = (): GuestContext32 =>
  vcpu_guest_context_32.read(new DataView(new ArrayBuffer(vcpu_guest_context_32.size('compat'))), 0, 'compat');

const rootCr3 = (image: PvImage, frames: MachineFrames): bigint =>
  frameToCr3(BigInt(frames.machineFrame(image.tables[0]!.pfn)), layoutOf(image));

function context64(image: PvImage, frames: MachineFrames): Uint8Array {
  const { entry } = image;
  const context = blank64();
  Object.assign(context.user_regs, { rip: entry.ip, rsp: entry.sp, rsi: entry.si, rflags: IF });
  Object.assign(context.user_regs, { cs: FLAT_RING3_CS64, ss: FLAT_RING3_SS64 });
  context.flags = BigInt(VGCF_in_kernel | VGCF_online);
  context.kernel_ss = BigInt(FLAT_RING3_SS64);
  context.kernel_sp = entry.sp;
  context.debugreg[6] = DR6_DEFAULT;
  context.debugreg[7] = DR7_DEFAULT;
  context.ctrlreg[3] = rootCr3(image, frames);
  return encode(vcpu_guest_context_64, context, 'native');
}

function context32(image: PvImage, frames: MachineFrames): Uint8Array {
  const { entry } = image;
  const context = blank32();
  const [eip, esp, esi] = [Number(entry.ip), Number(entry.sp), Number(entry.si)];
  const data = FLAT_RING1_DS;
  Object.assign(context.user_regs, { eip, esp, esi, eflags: Number(IF), cs: FLAT_RING1_CS });
  Object.assign(context.user_regs, { ss: data, ds: data, es: data, fs: data, gs: data });
  context.flags = BigInt(VGCF_in_kernel | VGCF_online);
  context.kernel_ss = BigInt(data);
  context.kernel_sp = entry.sp;
  context.debugreg[6] = DR6_DEFAULT;
  context.debugreg[7] = DR7_DEFAULT;
  context.ctrlreg[3] = rootCr3(image, frames);
  if (entry.extendedCr3) context.vm_assist = VMASST_pae_extended_cr3;
  return encode(vcpu_guest_context_32, context, 'compat');
}
