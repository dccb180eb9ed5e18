/** Loads a PV domain: machine frames first, then the pages that name them. */
import { type Gfn, gfn, type Port } from '../base/int.ts';
import type { MemoryWrite } from './build/image.ts';
import { E820_RAM } from './build/image.ts';
import { type PvImage, pvContents } from './build/pv-image.ts';
import type { DomainControl, Placed } from './launch.ts';

const PAGE = 4096;
const MIB = 1024 * 1024;

/** What a builder of PV domains asks of the hypervisor. Frames are machine frames unless called pseudo-physical. */
export interface PvControl {
  /** Frame of the domain's shared_info page. */
  readonly sharedInfo: number;
  /** Gives the domain pseudo-physical frames 0 to `pages` - 1. */
  populate(pages: number): void;
  /** Frame behind a pseudo-physical one of a new domain. */
  machineFrame(pfn: number): number;
  /** The 4096 bytes of one of the domain's frames. */
  bytes(mfn: number): Uint8Array;
  /** Fills a frame with the stubs by which the guest makes hypercalls. */
  writeHypercallPage(mfn: number): void;
  /** Validates the page tables below a root and keeps them. */
  pinRoot(mfn: number): void;
  /** Empty but for every vCPU's events masked. */
  resetSharedInfo(): void;
  /** `vcpu_guest_context` of vCPU 0 in the guest's width. */
  setContext(context: Uint8Array): void;
}

/** Everything but what the ports change, which is the start info page. */
export function placePv(
  control: DomainControl,
  image: PvImage,
  { maxMemoryMib }: { readonly maxMemoryMib: number },
): Placed {
  const { pv } = control;
  pv.populate(image.pages);
  control.setMemoryMap([{ start: 0, size: maxMemoryMib * MIB, type: E820_RAM }]);
  for (const write of image.writes) copyIn(pv, write);
  if (image.hypercallPage !== undefined) pv.writeHypercallPage(pv.machineFrame(image.hypercallPage));
  const machineFrame = (pfn: number): number => pv.machineFrame(pfn);
  const frameOf = (pfn: number): Gfn => gfn(machineFrame(pfn));
  let ports: { readonly storePort: number; readonly consolePort: number } = { storePort: 0, consolePort: 0 };
  return {
    storeGfn: frameOf(image.store),
    consoleGfn: frameOf(image.console),
    setPorts: (store: Port, console: Port) => {
      ports = { storePort: store, consolePort: console };
    },
    start: () => {
      const { writes, context } = pvContents(image, { machineFrame, sharedInfo: pv.sharedInfo, ...ports });
      for (const write of writes) copyIn(pv, write);
      pv.pinRoot(machineFrame(image.tables[0]!.pfn));
      pv.resetSharedInfo();
      pv.setContext(context);
    },
  };
}

/** Pages that follow each other for the guest need not do so in the machine. */
function copyIn(pv: PvControl, { gpa, bytes }: MemoryWrite): void {
  for (let at = 0; at < bytes.length; ) {
    const offset = (gpa + at) % PAGE;
    const part = bytes.subarray(at, at + PAGE - offset);
    pv.bytes(pv.machineFrame(Math.floor((gpa + at) / PAGE))).set(part, offset);
    at += part.length;
  }
}
