/**
 * The interpreter and the translator side by side on random code: after every slice all registers, counts and memory are equal.
 *
 * XENOLITH_FUZZ multiplies the number of programs, XENOLITH_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { interpreterModules } from '../../src/cpu/interpret/instance.ts';
import { CODE_BASE, CODE_PAGES, DATA_PAGES, type Setting, Side } from './support/lockstep.ts';
import { randomProgram } from './support/lockstep-code.ts';
import { structuredProgram } from './support/lockstep-programs.ts';
import { Random } from './support/random.ts';

const TIMES = Number(process.env['XENOLITH_FUZZ'] ?? 1);

/** What random code looks like. */
interface Kind {
  readonly name: string;
  readonly programs: number;
  /** Instructions of each program, and of one slice at most. */
  readonly instructions: number;
  readonly slice: number;
  readonly code: (random: Random, bits: 32 | 64) => Uint8Array;
  /** Goes on at a random place at times: programs without structure soon end in a small loop. */
  readonly redirected: boolean;
}

const KINDS: readonly Kind[] = [
  {
    name: 'any instructions in any order',
    programs: 6,
    instructions: 4_000,
    slice: 200,
    code: randomProgram,
    redirected: true,
  },
  {
    name: 'functions and loops',
    programs: 6,
    instructions: 20_000,
    slice: 3_000,
    code: structuredProgram,
    redirected: false,
  },
];

/** On one side the loop that long runs are in, on the other the one that they begin in. */
const long = interpreterModules({ firstInstructions: 0 }),
  short = interpreterModules();

const settingOf = (random: Random): Setting => {
  const bits = random.pick([64, 64, 64, 32, 32, 16] as const);
  return {
    bits,
    ring: random.once(4) ? 0 : 3,
    codeBase: bits === 64 || random.once(2) ? 0 : random.pick([0x1000, 0x0fff_fff0, 0x123, CODE_BASE]),
    segmented: bits !== 64 && random.once(4),
    // With the greater ones regions leave out what was not reached.
    hotThreshold: random.pick([1, 1, 2, 5, 16, 40]),
    // A small cache is dropped again and again.
    codeBytes: random.once(3) ? 0x3_0000 : 0x10_0000,
  };
};

/** Runs one program on both sides; instructions executed, and regions made. Throws when the sides differ. */
const runProgram = (random: Random, kind: Kind): { done: number; regions: number } => {
  const setting = settingOf(random);
  const sides = [new Side(setting, false, long), new Side(setting, true, short)] as const;
  const code = kind.code(random, setting.bits === 64 ? 64 : 32);
  const data = Uint8Array.from({ length: DATA_PAGES * 4096 }, () => random.u8());
  const registers = Array.from({ length: 16 }, () => random.u64() & (setting.bits === 64 ? -1n : 0xffff_ffffn));
  for (const side of sides) side.begin(setting, code, data, registers);
  const [left, right] = sides;
  let done = 0;
  while (done < kind.instructions && !left.stopped) {
    if (random.once(kind.redirected ? 3 : 50)) {
      const offset = random.below(CODE_PAGES * 4096);
      for (const side of sides) side.redirect(offset, setting);
    }
    const budget = random.once(3) ? 1 + random.below(5) : 1 + random.below(kind.slice);
    const before = right.cpu.rip;
    const counts = sides.map((side) => side.cpu.run(budget));
    const where = `${JSON.stringify(setting)}, ${budget} instructions from ${before.toString(16)}, ${done} before`;
    const expected = left.registers(),
      found = right.registers();
    const differences = Object.keys(expected)
      .filter((name) => expected[name] !== found[name])
      .map((name) => `${name}: ${found[name]!.toString(16)} instead of ${expected[name]!.toString(16)}`);
    if (counts[1] !== counts[0]) differences.push(`${counts[1]} instructions instead of ${counts[0]}`);
    if (Buffer.compare(left.ram(), right.ram()) !== 0) differences.push('memory');
    assert.ok(differences.length === 0, `${where}\n${differences.join('\n')}`);
    done += counts[0]!;
    if (counts[0] === 0) break;
  }
  return { done, regions: right.code.counts.regions };
};

for (const kind of KINDS)
  test(`translated code does what interpreted code does, slice by slice: ${kind.name}`, (context) => {
    const { seed } = Random.fromEnvironment();
    let instructions = 0,
      regions = 0;
    for (let n = 0; n < kind.programs * TIMES; n++) {
      try {
        const result = runProgram(new Random((seed + n) >>> 0), kind);
        instructions += result.done;
        regions += result.regions;
      } catch (e) {
        assert.fail(`XENOLITH_SEED=${(seed + n) >>> 0}: ${e instanceof Error ? e.message : String(e)}`);
      }
    }
    assert.ok(regions > 0);
    context.diagnostic(`seed ${seed}: ${instructions} instructions, ${regions} regions, no difference`);
  });
