/**
 * Finds the instructions of a region: what can be reached from its entry without leaving the page, as blocks. Direct calls are
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
  /** What follows the last instruction: another instruction, nothing (it jumps), or one the region cannot hold. */
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
}

const PAGE = 4096;
const MAX_INSTRUCTIONS = 300;

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

const alwaysJumps = (name: string): boolean => name === 'JMP' || name === 'RET' || name === 'CALL';

export const discover = (
  decoder: Decoder,
  bytes: Uint8Array,
  host: number,
  entry: number,
  codeSize: CodeSize,
  real: boolean,
  frequent: () => readonly number[],
): RegionCode => {
  const found = new Map<number, Decoded>();
  const leaders = new Set([entry]);
  const returns = new Set<number>();
  const work = [entry];
  const lead = (offset: number): void => {
    leaders.add(offset);
    work.push(offset);
  };
  let indirect = false;
  const follow = (): void => {
    for (let offset = work.shift(); offset !== undefined; offset = work.shift()) {
      while (offset < PAGE && !found.has(offset) && found.size < MAX_INSTRUCTIONS) {
        const d = decoder.decode(bytes, host + offset, host + PAGE, codeSize, real);
        if (typeof d === 'string' || foreign(d)) break;
        found.set(offset, d);
        offset += d.length;
        if (d.row.ends !== true) continue;
        const target = branchTarget(d, offset);
        if (target !== undefined) lead(target);
        else if (d.row.name === 'CALL' || d.row.name === 'JMP')
          indirect ||= !d.parsed.operands.some((o) => o.letter === 'J');
        if (d.row.name === 'CALL') {
          returns.add(offset);
          lead(offset);
        }
        if (alwaysJumps(d.row.name)) break;
        leaders.add(offset);
      }
    }
  };
  follow();
  const entries = new Set([entry]);
  if (indirect)
    for (const offset of frequent()) {
      if (found.has(offset)) continue;
      entries.add(offset);
      lead(offset);
      follow();
    }
  for (const offset of returns) entries.add(offset);
  const blocks: Block[] = [];
  for (const offset of [...leaders].sort((a, b) => a - b))
    if (found.has(offset)) blocks.push(blockAt(found, leaders, offset));
  return { blocks, entries: [...entries].filter((e) => found.has(e)), indirect };
};

const blockAt = (found: ReadonlyMap<number, Decoded>, leaders: ReadonlySet<number>, offset: number): Block => {
  const instructions: Decoded[] = [];
  let at = offset;
  let after: Block['after'] = 'interpret';
  let target: number | undefined;
  for (let d = found.get(at); d !== undefined; d = found.get(at)) {
    instructions.push(d);
    at += d.length;
    if (d.row.ends === true) {
      after = alwaysJumps(d.row.name) ? 'none' : 'next';
      target = branchTarget(d, at);
      break;
    }
    if (leaders.has(at) && found.has(at)) {
      after = 'next';
      break;
    }
  }
  return { offset, instructions, end: at, after, target };
};
