/**
 * The page walk that compiled code uses against the one in TypeScript, on random page tables: after each access registers, faults, CR2, tables
 * and memory are equal.
 *
 * XENOLITH_FUZZ multiplies the number of address spaces, XENOLITH_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../../src/cpu/state.ts';
import { GP, PFV } from '../../src/cpu/system/fault.ts';
import { Bench, CODE, HANDLERS } from '../../src/cpu/system/testing.ts';
import { Random } from './support/random.ts';

const SPACES = 60 * Number(process.env['XENOLITH_FUZZ'] ?? 1);
const ACCESSES = 150;

/** Tables: the top is at TOP, lower ones behind it; each page from here on may be anything. */
const TOP = 0x2_0000,
  LOWER = 0x2_1000,
  IDENTITY = 0x3_0000,
  RANDOM_TABLES = 0x3_1000,
  RAM = 0x4_0000,
  RAM_END = 0x20_0000;
/** Load, store, read-modify-write, and a byte load, each at a place of its own. */
const CODES = [
  [0x8b, 0x01],
  [0x89, 0x01],
  [0x01, 0x01],
  [0x8a, 0x01],
] as const;
const FETCH = CODES.length;

type Paging = '32' | 'pae' | 'long';

interface Setting {
  readonly paging: Paging;
  readonly cr0: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
}

const settingOf = (random: Random): Setting => {
  const paging = random.pick(['32', 'pae', 'long'] as const);
  const flag = (bit: bigint): bigint => (random.once(2) ? bit : 0n);
  const pae = paging === '32' ? 0n : 0x20n;
  return {
    paging,
    cr0: 0x8000_0011n | flag(0x1_0000n),
    cr4: pae | flag(0x10n) | flag(0x80n) | flag(0x10_0000n) | flag(0x20_0000n),
    efer: flag(0x800n) | (paging === 'long' ? 0x500n : 0n),
  };
};

/** An entry: usually present and sensible, with any flag now and then. `to` is a physical address. */
const entryOf = (random: Random, to: number, wide: boolean): bigint => {
  let entry = BigInt(to) | 0x27n;
  for (const bit of [0, 1, 2, 5, 6, 7, 8, 12])
    if (random.once(bit === 7 || bit === 12 ? 12 : 4)) entry ^= 1n << BigInt(bit);
  if (random.once(2)) entry |= 0x40n;
  if (wide && random.once(6)) entry |= 1n << 63n;
  if (wide && random.once(20)) entry |= 1n << BigInt(random.pick([40, 45, 51, 52, 58, 62]));
  if (random.once(20)) entry ^= 0x20_0000n;
  return BigInt.asUintN(wide ? 64 : 32, entry);
};

const frame = (random: Random): number =>
  random.once(20) ? 0x40_0000 : RAM + random.below((RAM_END - RAM) >>> 12) * 4096;

const memory = (b: Bench, from: number, to: number): Buffer =>
  Buffer.from(b.memory.buffer, 0x20_0000 + from, to - from);

class Pair {
  readonly sides = [new Bench(), new Bench()] as const;

  constructor() {
    // The second side's compiled walk finds nothing, so everything is left to TypeScript.
    this.sides[1].cpu.set32(S.FRAME_COUNT, 0);
  }

  /** The two have the same contents. */
  alike(from: number, to: number): boolean {
    const [left, right] = this.sides;
    return memory(left, from, to).equals(memory(right, from, to));
  }

  each(act: (b: Bench) => void): void {
    for (const side of this.sides) act(side);
  }
}

/** Builds the tables: the first megabytes are identity-mapped for both levels, what follows is random. */
const begin = (random: Random, pair: Pair, { paging, cr0, cr4, efer }: Setting): void => {
  const wide = paging !== '32';
  const put = (at: number, value: bigint): void =>
    pair.each((b) => (wide ? b.write64(at, value) : b.write32(at, Number(value & 0xffff_ffffn))));
  const size = wide ? 8 : 4;
  pair.each((b) => {
    b.protect();
    for (const vector of [PFV, GP]) b.gate(vector);
    // One directory entry of the identity mapping covers what handlers and tables need.
    b.write32(TOP, 0);
  });
  const directory = wide ? LOWER : TOP;
  if (paging === 'long') {
    put(TOP, 0x2_2027n);
    put(0x2_2000, BigInt(LOWER) | 0x27n);
    put(0x2_2008, entryOf(random, frame(random), true) | (random.once(2) ? 0x80n : 0n));
  } else if (paging === 'pae') put(TOP, BigInt(LOWER) | 1n);
  put(directory, BigInt(IDENTITY) | 0x27n);
  for (let i = 0; i < 4096 / size && i < 512; i++)
    put(IDENTITY + i * size, BigInt(i * 4096) | (i === CODE >>> 12 ? 0x67n : 0x63n));
  for (let n = 1; n < 6; n++) {
    put(directory + n * size, entryOf(random, random.once(3) ? frame(random) : RANDOM_TABLES + (n % 3) * 4096, wide));
    for (let i = 0; i < 8; i++) put(RANDOM_TABLES + (n % 3) * 4096 + i * size, entryOf(random, frame(random), wide));
  }
  CODES.forEach((code, n) => {
    pair.each((b) => b.bytes(CODE + n * 16, code));
  });
  // Each frame says which it is: MOV AL, its number.
  for (let at = RAM; at < RAM_END; at += 4096)
    pair.each((b) => new Uint16Array(b.memory.buffer, 0x20_0000 + at, 2048).fill(0xb0 | ((at >>> 12) << 8)));
  const flags = random.once(3) ? S.AC : 0;
  pair.each(({ cpu }) => {
    cpu.set64(S.CR0, cr0);
    cpu.set64(S.CR4, cr4);
    cpu.set64(S.EFER, efer);
    cpu.set64(S.CR3, BigInt(TOP));
    if (paging === 'pae') cpu.set64(S.PDPTE, BigInt(LOWER) | 1n);
    for (let n = 1; n < 4; n++) cpu.set64(S.PDPTE + n * 8, 0n);
    cpu.eflags = 2 | flags;
    cpu.flushTlb(true);
  });
};

const address = (random: Random, paging: Paging): bigint => {
  if (paging === 'long' && random.once(12))
    return random.pick([0x8000_0000_0000n, 0x4000_0000n, 0xffff_8000_0000_0000n, 0x7fff_ffff_f000n]);
  const large = paging === '32' ? 0x40_0000 : 0x20_0000;
  const offset = random.once(8) ? 0xffd + random.below(4) : random.below(0x3ff) * 4;
  return BigInt(random.below(6) * large + random.below(8) * 4096 + offset);
};

/** Where code is fetched: few places, so that they are met again under another mapping. */
const place = (random: Random, paging: Paging): bigint => {
  const large = paging === '32' ? 0x40_0000 : 0x20_0000;
  return BigInt((1 + random.below(2)) * large + random.below(2) * 4096 + 0x800);
};

const look = (b: Bench, before: number): unknown => {
  const { cpu } = b;
  return {
    registers: [S.RAX, S.RCX, S.RSP].map((r) => cpu.gpr(r)),
    rip: cpu.rip,
    executed: before,
    cr2: cpu.get64(S.CR2),
  };
};

const runSpace = (random: Random): number => {
  const pair = new Pair();
  const setting = settingOf(random);
  begin(random, pair, setting);
  let served = 0;
  for (let n = 0; n < ACCESSES; n++) {
    const level = random.once(2) ? 0 : 3;
    const code = random.below(2 * FETCH);
    const at = code < FETCH ? address(random, setting.paging) : place(random, setting.paging);
    const value = random.u64();
    if (random.once(5)) {
      const wide = setting.paging !== '32';
      const slot = RANDOM_TABLES + random.below(3) * 4096 + random.below(random.once(2) ? 2 : 8) * (wide ? 8 : 4);
      const [left] = pair.sides;
      const old = wide ? left.read64(slot) : BigInt(left.read32(slot));
      const bit = 1n << BigInt(random.pick(wide ? [1, 2, 2, 63] : [1, 2, 2, 5]));
      // The same page with other rights, or another page.
      const entry = random.once(2) ? old ^ bit : entryOf(random, frame(random), wide);
      const other = address(random, setting.paging);
      const how = random.below(3);
      pair.each((b) => {
        if (wide) b.write64(slot, entry);
        else b.write32(slot, Number(entry));
        // What was decoded from a page stays valid: pages do not change, translations do.
        if (how === 0) b.cpu.flushTlb(false);
        else if (how === 1) b.cpu.invalidatePage(other);
      });
    }
    const [left, right] = pair.sides.map((b) => {
      const { cpu } = b;
      b.flat(level);
      cpu.rip = code < FETCH ? BigInt(CODE + code * 16) : at;
      cpu.setGpr(S.RSP, 0x7000n);
      cpu.setGpr(S.RAX, value);
      cpu.setGpr(S.RCX, at);
      return look(b, cpu.run(1));
    });
    assert.deepEqual(
      left,
      right,
      `${JSON.stringify(setting, (_, v) => (typeof v === 'bigint' ? v.toString(16) : v))}, level ${level}, ${at.toString(16)}`,
    );
    assert.ok(pair.alike(TOP, RAM), `tables after an access to ${at.toString(16)}`);
    if (pair.sides[0].cpu.rip < BigInt(HANDLERS)) served++;
  }
  assert.ok(pair.alike(0, RAM_END), 'memory');
  return served;
};

test('compiled page walk: does what the page walk of routines does', () => {
  const { seed } = Random.fromEnvironment();
  let served = 0;
  for (let n = 0; n < SPACES; n++)
    try {
      served += runSpace(new Random((seed + n) >>> 0));
    } catch (e) {
      assert.fail(`XENOLITH_SEED=${(seed + n) >>> 0}: ${e instanceof Error ? e.message : String(e)}`);
    }
  assert.ok(served > (SPACES * ACCESSES) / 10, `only ${served} accesses reached memory`);
});
