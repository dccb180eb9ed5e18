/**
 * Finds the instructions of a region: what can be reached from its entry without leaving the page, and was, as blocks. Direct calls are
 * followed, so that a function and the small ones it calls are one region; where it jumps through a register or memory, it also holds the
 * places of the page where control arrived often.
 */
import type { CodeSize, Decoded, Decoder } from '../decode/decoder.ts';

/** Instructions with one way in (the first) and ways out only at the end. */
export interface Block {
  /** Offset in the page of the first instruction. */
  readonly offset: number;
  readonly instructions: readonly Decoded[];
  /** Offset behind the last instruction. */
  readonly end: number;
  /** What follows the last instruction: another instruction (of the region or not), nothing (it jumps), or one no region can hold. */
  readonly after: 'next' | 'none' | 'interpret';
  /** Where the last instruction may jump to, when that is a place in the page. */
  readonly target: number | undefined;
}

export interface RegionCode {
  readonly blocks: readonly Block[];
  /** Where the region can be entered: first the place that was asked for, then the places behind calls. */
  readonly entries: readonly number[];
  /** Entries that jumps and calls through a register or memory may lead to. */
  readonly indirect: boolean;
  /** It often stores beside the code of pages. */
  readonly storesBeside: boolean;
}

const PAGE = 4096;
/** Instructions of a region, and those that each frequent place may add. */
const MAX_INSTRUCTIONS = 250,
  MAX_FREQUENT = 24;

/** The translator leaves these to the interpreter. */
const foreign = (d: Decoded): boolean =>
  d.row.mean === undefined || d.row.alone === true || (d.row.rep !== undefined && d.repeat !== 0);

/** Offset a near branch goes to, when it stays in the page and needs no check there: 16-bit operands cut the instruction pointer. */
export const branchTarget = (d: Decoded, end: number): number | undefined => {
  if (!d.parsed.operands.some((o) => o.letter === 'J')) return undefined;
  if (d.operandSize !== d.codeSize || d.operandSize === 16) return undefined;
  const target = BigInt(end) + d.immediate;
  return target >= 0n && target < BigInt(PAGE) ? Number(target) : undefined;
};

/** A call or jump through a register or memory. */
export const jumpsAnywhere = ({ row, parsed }: Decoded): boolean =>
  (row.name === 'CALL' || row.name === 'JMP') && !parsed.operands.some((o) => o.letter === 'J');

const alwaysJumps = (name: string): boolean => name === 'JMP' || name === 'RET' || name === 'CALL';

/** The bytes of a page, and how to read them. */
export interface PageCode {
  readonly decoder: Decoder;
  readonly bytes: Uint8Array;
  /** Where the page begins in `bytes`. */
  readonly host: number;
  readonly codeSize: CodeSize;
  readonly real: boolean;
  /** Code of the page often stored beside the code of pages. */
  readonly storesBeside: boolean;
  /** Control came to a place some time, as far as anybody knows. */
  reached(offset: number): boolean;
  /** Places of the page where control arrived often, the most frequent first. */
  frequent(): readonly number[];
}

class Discovery {
  private readonly page: PageCode;
  /** Only what control came to. */
  private readonly sparing: boolean;
  private readonly found = new Map<number, Decoded>();
  private readonly leaders = new Set<number>();
  /** Places behind calls. */
  private readonly returns = new Set<number>();
  /** Instructions that are left to the interpreter. */
  private readonly outside = new Set<number>([PAGE]);
  private readonly work: number[] = [];
  private indirect = false;

  constructor(page: PageCode, sparing: boolean) {
    this.page = page;
    this.sparing = sparing;
  }

  region(entry: number): RegionCode {
    const { found, leaders } = this;
    const entries = new Set([entry]);
    this.follow(entry, MAX_INSTRUCTIONS);
    if (this.indirect)
      for (const offset of this.page.frequent()) {
        if (found.has(offset)) continue;
        entries.add(offset);
        this.follow(offset, found.size + MAX_FREQUENT);
      }
    for (const offset of this.returns) entries.add(offset);
    const blocks: Block[] = [];
    for (const offset of [...leaders].sort((a, b) => a - b)) if (found.has(offset)) blocks.push(this.block(offset));
    return {
      blocks,
      entries: [...entries].filter((e) => found.has(e)),
      indirect: this.indirect,
      storesBeside: this.page.storesBeside,
    };
  }

  private lead(offset: number): void {
    if (this.sparing && !this.page.reached(offset)) return;
    this.leaders.add(offset);
    this.work.push(offset);
  }

  /** Decodes what can be reached from a place, the nearest first, while there are less than so many instructions. */
  private follow(from: number, limit: number): void {
    const { found, work } = this;
    this.leaders.add(from);
    work.push(from);
    for (let offset = work.shift(); offset !== undefined; offset = work.shift())
      while (offset < PAGE && !found.has(offset) && found.size < limit) {
        const end = this.instruction(offset);
        if (end === undefined) break;
        offset = end;
      }
  }

  /** Decodes an instruction; the offset behind it when control goes on there in any case. */
  private instruction(offset: number): number | undefined {
    const { decoder, bytes, host, codeSize, real } = this.page;
    const d = decoder.decode(bytes, host + offset, host + PAGE, codeSize, real);
    if (typeof d === 'string' || foreign(d)) {
      this.outside.add(offset);
      return undefined;
    }
    this.found.set(offset, d);
    const end = offset + d.length;
    if (d.row.ends !== true) return end;
    const target = branchTarget(d, end);
    if (target !== undefined) this.lead(target);
    else if (jumpsAnywhere(d)) this.indirect = true;
    if (d.row.name === 'CALL') this.returns.add(end);
    if (d.row.name === 'CALL' || !alwaysJumps(d.row.name)) this.lead(end);
    return undefined;
  }

  private block(offset: number): Block {
    const { found, leaders, outside } = this;
    const instructions: Decoded[] = [];
    let at = offset;
    for (let d = found.get(at); d !== undefined; d = found.get(at)) {
      instructions.push(d);
      at += d.length;
      if (d.row.ends === true) {
        const after = alwaysJumps(d.row.name) ? 'none' : 'next';
        return { offset, instructions, end: at, after, target: branchTarget(d, at) };
      }
      if (leaders.has(at)) break;
    }
    return { offset, instructions, end: at, after: outside.has(at) ? 'interpret' : 'next', target: undefined };
  }
}

/** Control comes to a place from within. */
const isLooped = ({ blocks }: RegionCode, offset: number): boolean =>
  blocks.some(({ target, end, after }) => target === offset || (after === 'next' && end === offset));

/**
 * The region that begins at an offset of a page. A place that was reached so often from elsewhere has been left as often: what was never
 * reached until now hardly will be, so it is left out. Where a loop begins, what comes behind it may still be to come.
 */
export const discover = (page: PageCode, entry: number): RegionCode => {
  const sparing = new Discovery(page, true).region(entry);
  return isLooped(sparing, entry) ? new Discovery(page, false).region(entry) : sparing;
};
