/**
 * Results of a host processor in a file, for machines without one. A record names its case by shape and number; the case itself is made again
 * from the seed, and a checksum tells whether it still is the same.
 *
 * Record (little-endian): shape u32, number u8, checksum u32, vector s8, rip u64, count of differing bytes u16, then for each offset u16
 * and byte. Offsets are into registers, flags, memory and FXSAVE image one after the other; what is not listed is as it was before.
 */
import { brotliCompressSync, brotliDecompressSync } from 'node:zlib';
import { type Case, makeCase, shapeNumber, shapes } from './cases.ts';
import type { Execution, Registers } from './layout.ts';
import { FX_SIZE, WINDOW_SIZE } from './layout.ts';

/** Seed of the recorded cases and how many there are of each shape. */
export const RECORDED_SEED = 1,
  RECORDED_PER_SHAPE = 1;

const FLAGS_AT = 128,
  MEMORY_AT = FLAGS_AT + 4,
  FX_AT = MEMORY_AT + WINDOW_SIZE,
  STATE_BYTES = FX_AT + FX_SIZE;

const flatten = (r: Registers): Uint8Array => {
  const out = new Uint8Array(STATE_BYTES);
  const view = new DataView(out.buffer);
  r.gpr.forEach((value, n) => {
    view.setBigUint64(n * 8, value, true);
  });
  view.setUint32(FLAGS_AT, r.flags, true);
  out.set(r.memory, MEMORY_AT);
  // Behind the registers there is only what the operating system keeps there.
  out.set(r.fx.subarray(0, 416), FX_AT);
  return out;
};

const expand = (state: Uint8Array): Registers => {
  const view = new DataView(state.buffer);
  return {
    gpr: Array.from({ length: 16 }, (_, n) => view.getBigUint64(n * 8, true)),
    flags: view.getUint32(FLAGS_AT, true),
    memory: state.slice(MEMORY_AT, FX_AT),
    fx: state.slice(FX_AT),
  };
};

/** FNV-1a. */
const checksum = (parts: readonly Uint8Array[]): number => {
  let h = 0x811c_9dc5;
  for (const part of parts) for (const byte of part) h = Math.imul(h ^ byte, 0x0100_0193);
  return h >>> 0;
};
const caseChecksum = (c: Case): number => checksum([c.code, flatten(c)]);

/** The cases a file holds results of. */
export const recordedCases = (): { c: Case; shape: number; number: number }[] =>
  shapes().flatMap((shape) =>
    Array.from({ length: RECORDED_PER_SHAPE }, (_, number) => ({
      c: makeCase(RECORDED_SEED, shape, number),
      shape: shapeNumber(shape),
      number,
    })),
  );

export const encodeRecords = (results: readonly Execution[]): Uint8Array => {
  const chunks: Uint8Array[] = [];
  recordedCases().forEach(({ c, shape, number }, i) => {
    const result = results[i]!;
    const before = flatten(c),
      after = flatten(result);
    const changed = [...after.keys()].filter((at) => after[at] !== before[at]);
    const chunk = new Uint8Array(20 + changed.length * 3);
    const view = new DataView(chunk.buffer);
    view.setUint32(0, shape, true);
    view.setUint8(4, number);
    view.setUint32(5, caseChecksum(c), true);
    view.setInt8(9, result.vector);
    view.setBigUint64(10, result.rip, true);
    view.setUint16(18, changed.length, true);
    changed.forEach((at, n) => {
      view.setUint16(20 + n * 3, at, true);
      view.setUint8(22 + n * 3, after[at]!);
    });
    chunks.push(chunk);
  });
  return brotliCompressSync(Buffer.concat(chunks));
};

/** Results by shape and number, each with the checksum of its case. */
const decodeRecords = (file: Uint8Array): Map<string, { at: number; checksum: number }> => {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const out = new Map<string, { at: number; checksum: number }>();
  for (let at = 0; at < file.length; at += 20 + view.getUint16(at + 18, true) * 3)
    out.set(`${view.getUint32(at, true)} ${view.getUint8(at + 4)}`, { at, checksum: view.getUint32(at + 5, true) });
  return out;
};

/** Cases with their recorded results; cases that changed since are left out. */
export const readRecords = (compressed: Uint8Array): { c: Case; expected: Execution }[] => {
  const file = new Uint8Array(brotliDecompressSync(compressed));
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const records = decodeRecords(file);
  return recordedCases().flatMap(({ c, shape, number }) => {
    const record = records.get(`${shape} ${number}`);
    if (record === undefined || record.checksum !== caseChecksum(c)) return [];
    const { at } = record;
    const state = flatten(c);
    for (let n = 0; n < view.getUint16(at + 18, true); n++)
      state[view.getUint16(at + 20 + n * 3, true)] = view.getUint8(at + 22 + n * 3);
    return [{ c, expected: { ...expand(state), vector: view.getInt8(at + 9), rip: view.getBigUint64(at + 10, true) } }];
  });
};
