/**
 * Finds the instructions of a region: what can be reached from its entry without leaving the page, as blocks.
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
}

const PAGE = 4096;
const MAX_INSTRUCTIONS = 200;

/** The translator leaves these to the interpreter. */
const foreign = (d: Decoded): boolean =>
  d.row.mean === undefined || d.row.alone === true || (d.row.rep !== undefined && d.repeat !== 0);

/** Offset a near branch goes to, when it stays in the page. */
export const branchTarget = (d: Decoded, end: number): number | undefined => {
  if (!d.parsed.operands.some((o) => o.letter === 'J')) return undefined;
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
): Block[] => {
  const found = new Map<number, Decoded>();
  const leaders = new Set([entry]);
  const work = [entry];
  for (let offset = work.pop(); offset !== undefined; offset = work.pop()) {
    while (offset < PAGE && !found.has(offset) && found.size < MAX_INSTRUCTIONS) {
      const d = decoder.decode(bytes, host + offset, host + PAGE, codeSize, real);
      if (typeof d === 'string' || foreign(d)) break;
      found.set(offset, d);
      offset += d.length;
      if (d.row.ends !== true) continue;
      const target = branchTarget(d, offset);
      if (target !== undefined && d.row.name !== 'CALL') {
        leaders.add(target);
        work.push(target);
      }
      if (alwaysJumps(d.row.name)) break;
      leaders.add(offset);
    }
  }
  const blocks: Block[] = [];
  for (const offset of [...leaders].sort((a, b) => a - b)) {
    if (!found.has(offset)) continue;
    const instructions: Decoded[] = [];
    let at = offset;
    let after: Block['after'] = 'interpret';
    for (let d = found.get(at); d !== undefined; d = found.get(at)) {
      instructions.push(d);
      at += d.length;
      if (d.row.ends === true) {
        after = alwaysJumps(d.row.name) ? 'none' : 'next';
        break;
      }
      if (leaders.has(at) && found.has(at)) {
        after = 'next';
        break;
      }
    }
    blocks.push({ offset, instructions, end: at, after });
  }
  return blocks;
};
