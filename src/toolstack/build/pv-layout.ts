/** Where the parts of a new PV guest lie, in pseudo-physical frames and in its initial mapping. */
import { BadInput } from '../bad-input.ts';
import { InitialTables } from './pv-tables.ts';

const PAGE = 4096;
const MIB_PAGES = 256;
/** The initial mapping leaves this much room behind everything, and ends on a 4 MiB boundary. */
const SLACK_PAGES = 128;
const END_ALIGNMENT = 1n << 22n;

export interface LayoutInput {
  readonly type: 'pv64' | 'pv32';
  /** Pages of RAM. */
  readonly pages: number;
  readonly virtBase: bigint;
  /** First frame of the kernel and one behind it. */
  readonly kernelStart: number;
  readonly kernelEnd: number;
  /** Bytes of the ramdisk, 0 for none, and whether it needs no mapping. */
  readonly ramdiskBytes: number;
  readonly ramdiskUnmapped: boolean;
  /** Where the P2M list is mapped; undefined puts it among the rest. */
  readonly p2mBase: bigint | undefined;
}

/** Frame numbers, and counts of frames. */
export interface PvLayout {
  readonly ramdisk: number;
  readonly p2m: number;
  /** Frames of the P2M list, with its own page tables when it is mapped elsewhere. */
  readonly p2mFrames: number;
  readonly startInfo: number;
  readonly store: number;
  readonly console: number;
  readonly tables: InitialTables;
  readonly tablesStart: number;
  /** Tables of the initial mapping. */
  readonly tableCount: number;
  readonly bootStack: number;
  /** First address behind the initial mapping. */
  readonly mappingEnd: bigint;
}

/**
 * Order as Xen's tools have it: kernel, ramdisk, P2M list, start info, XenStore page, console page, page tables, boot stack, slack; behind the
 * mapping a ramdisk that needs none and a P2M list that is mapped elsewhere. Throws {@link BadInput} `memory-too-small`.
 */
export function layoutPv(input: LayoutInput): PvLayout {
  const { type, pages, virtBase, p2mBase } = input;
  const take = taker(input.kernelEnd, pages);
  const entryBytes = type === 'pv64' ? 8 : 4;
  const listFrames = Math.ceil((pages * entryBytes) / PAGE);
  const ramdiskFrames = Math.ceil(input.ramdiskBytes / PAGE);

  const mappedRamdisk = input.ramdiskUnmapped ? 0 : take('ramdisk', ramdiskFrames);
  const mappedP2m = p2mBase === undefined ? take('P2M list', listFrames) : 0;
  const startInfo = take('start info', 1);
  const store = take('XenStore page', 1);
  const consolePfn = take('console page', 1);

  const tables = new InitialTables(type);
  const tablesStart = take('page tables', 0);
  const { count, last } = sizeTables(tables, virtBase, tablesStart);
  take('page tables', count);
  const bootStack = take('boot stack', 1);
  const mappedFrames = Number((last + 1n - virtBase) >> 12n);
  take('initial mapping', mappedFrames - bootStack - 1);
  tables.map({ first: virtBase, last, pfn: 0 }, tablesStart);

  const ramdisk = input.ramdiskUnmapped ? take('ramdisk', ramdiskFrames) : mappedRamdisk;
  const magic = { startInfo, store, console: consolePfn, bootStack };
  const rest = { ramdisk, ...magic, tables, tablesStart, tableCount: count, mappingEnd: last + 1n };
  if (p2mBase === undefined) return { ...rest, p2m: mappedP2m, p2mFrames: listFrames };
  const p2mLast = p2mBase + BigInt(listFrames * PAGE) - 1n;
  const p2mFrames = listFrames + tables.missing(p2mBase, p2mLast);
  const p2m = take('P2M list', p2mFrames);
  tables.map({ first: p2mBase, last: p2mLast, pfn: p2m }, p2m + listFrames);
  return { ...rest, p2m, p2mFrames };
}

/** Number of tables for a mapping that covers the tables themselves, the boot stack and the slack, and its last byte. */
function sizeTables(tables: InitialTables, virtBase: bigint, start: number): { count: number; last: bigint } {
  for (let count = 0; ; ) {
    const needed = virtBase + BigInt((start + count + 1 + SLACK_PAGES) * PAGE);
    const last = ((needed + END_ALIGNMENT) / END_ALIGNMENT) * END_ALIGNMENT - 1n;
    const more = tables.missing(virtBase, last);
    if (virtBase + BigInt((start + more + 1 + SLACK_PAGES) * PAGE) <= last + 1n) return { count: more, last };
    count = more;
  }
}

/** Hands out frames one behind the other. */
function taker(first: number, pages: number): (what: string, count: number) => number {
  let next = first;
  return (what, count) => {
    const at = next;
    next += count;
    if (next > pages) {
      throw new BadInput(
        'memory-too-small',
        `no room for the ${what}: it would end at ${Math.ceil((next / MIB_PAGES) * 10) / 10} MiB, the guest has ${pages / MIB_PAGES} MiB`,
      );
    }
    return at;
  };
}
