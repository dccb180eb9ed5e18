/** Pages at fixed frames that a toolstack shares with a guest, and the parameters that tell it where they are. */
import { type Gfn, gfn } from '../../base/int.ts';
import { viewOf } from '../bytes.ts';
import type { MemoryWrite, PhysicalRange } from './image.ts';

const FIRST = 0xfeff8;
const COUNT = 8;
/** Pages for further I/O request servers of a domain with a device model. */
const IOREQ_SERVERS = 0xfeff0;
const IOREQ_SERVER_COUNT = 8;

export const PAGING_GFN = gfn(FIRST);
export const ACCESS_GFN = gfn(FIRST + 1);
export const SHARING_GFN = gfn(FIRST + 2);
export const BUFIOREQ_GFN = gfn(FIRST + 3);
export const STORE_GFN = gfn(FIRST + 4);
export const IOREQ_GFN = gfn(FIRST + 5);
export const IDENT_PT_GFN = gfn(FIRST + 6);
export const CONSOLE_GFN = gfn(FIRST + 7);

export const specialPages: PhysicalRange = { start: FIRST * 4096, size: COUNT * 4096 };
export const ioreqServerPages: PhysicalRange = { start: IOREQ_SERVERS * 4096, size: IOREQ_SERVER_COUNT * 4096 };

/** `xen:public/hvm/params.h`. */
const HVM_PARAM_STORE_PFN = 1,
  HVM_PARAM_IOREQ_PFN = 5,
  HVM_PARAM_BUFIOREQ_PFN = 6,
  HVM_PARAM_IDENT_PT = 12;
const HVM_PARAM_CONSOLE_PFN = 17,
  HVM_PARAM_PAGING_RING_PFN = 27,
  HVM_PARAM_MONITOR_RING_PFN = 28;
const HVM_PARAM_SHARING_RING_PFN = 29,
  HVM_PARAM_IOREQ_SERVER_PFN = 32,
  HVM_PARAM_NR_IOREQ_SERVER_PAGES = 33;

export function specialParams(deviceModel: boolean): (readonly [number, bigint])[] {
  const at = (index: number, frame: Gfn): readonly [number, bigint] => [index, BigInt(frame)];
  const params = [
    at(HVM_PARAM_STORE_PFN, STORE_GFN),
    at(HVM_PARAM_BUFIOREQ_PFN, BUFIOREQ_GFN),
    at(HVM_PARAM_IOREQ_PFN, IOREQ_GFN),
    at(HVM_PARAM_CONSOLE_PFN, CONSOLE_GFN),
    at(HVM_PARAM_PAGING_RING_PFN, PAGING_GFN),
    at(HVM_PARAM_MONITOR_RING_PFN, ACCESS_GFN),
    at(HVM_PARAM_SHARING_RING_PFN, SHARING_GFN),
    [HVM_PARAM_IDENT_PT, BigInt(IDENT_PT_GFN) << 12n] as const,
  ];
  if (!deviceModel) return params;
  return [
    ...params,
    [HVM_PARAM_IOREQ_SERVER_PFN, BigInt(IOREQ_SERVERS)],
    [HVM_PARAM_NR_IOREQ_SERVER_PAGES, BigInt(IOREQ_SERVER_COUNT)],
  ];
}

/** The page directory of 1024 4 MiB identity mappings that hardware uses while the guest's paging is off. */
export function identityPageDirectory(): MemoryWrite {
  const bytes = new Uint8Array(4096);
  const view = viewOf(bytes);
  // Present, writable, user, accessed, dirty, 4 MiB page.
  for (let i = 0; i < 1024; i++) view.setUint32(i * 4, ((i << 22) | 0xe7) >>> 0, true);
  return { gpa: IDENT_PT_GFN * 4096, bytes };
}
