import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Environment, PE } from './environment.ts';
import { BINARY32, BINARY64, type Float, type Format, pack32, pack64, unpack32, unpack64 } from './format.ts';
import * as soft from './softfloat.ts';

const SEED = 0x5eed_0001;

/** xorshift32. */
const generator = (seed: number) => () => {
  let x = seed;
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  seed = x >>> 0;
  return seed;
};

const bytes = new DataView(new ArrayBuffer(8));
const bits64 = (n: number): bigint => {
  bytes.setFloat64(0, n);
  return bytes.getBigUint64(0);
};
const number64 = (bits: bigint): number => {
  bytes.setBigUint64(0, bits);
  return bytes.getFloat64(0);
};
const bits32 = (n: number): number => {
  bytes.setFloat32(0, n);
  return bytes.getUint32(0);
};
const number32 = (bits: number): number => {
  bytes.setUint32(0, bits);
  return bytes.getFloat32(0);
};

const SPECIAL64 = [
  0,
  -0,
  1,
  -1,
  Number.MIN_VALUE,
  -Number.MIN_VALUE,
  2.2250738585072014e-308,
  2.225073858507201e-308,
  Number.MAX_VALUE,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  0.5,
  3,
  1 + Number.EPSILON,
  2 ** 53,
  2 ** 63,
  Number.NaN,
];
const SPECIAL32 = [
  0, 0x8000_0000, 1, 0x8000_0001, 0x007f_ffff, 0x0080_0000, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x3f80_0000,
  0x7fc0_0000,
];

const operations = {
  add: (e: Environment, f: Format, a: Float, b: Float) => soft.add(e, f, a, b),
  sub: (e: Environment, f: Format, a: Float, b: Float) => soft.add(e, f, a, b, true),
  mul: soft.mul,
  div: soft.div,
  sqrt: (e: Environment, f: Format, a: Float) => soft.sqrt(e, f, a),
} as const;
const native: Record<keyof typeof operations, (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  sqrt: (a) => Math.sqrt(a),
};

const same = (got: number, want: number) => (Number.isNaN(want) ? Number.isNaN(got) : Object.is(got, want));

for (const name of Object.keys(operations) as (keyof typeof operations)[]) {
  test(`binary64 ${name}: agrees with the host for random and special operands`, () => {
    const random = generator(SEED);
    const operand = (near: bigint): bigint => {
      const r = random() % 8;
      if (r === 0) return bits64(SPECIAL64[random() % SPECIAL64.length]);
      const raw = (BigInt(random()) << 32n) | BigInt(random());
      // Half of the pairs have near exponents, where cancellation and rounding live.
      return r < 5
        ? (raw & 0x801f_ffff_ffff_ffffn) | (near & 0x7fe0_0000_0000_0000n)
        : r === 5
          ? raw & 0xffff_ffff_0000_0000n
          : raw;
    };
    for (let i = 0; i < 4000; i++) {
      const a = operand((BigInt(random()) << 32n) | 0n);
      const b = operand(a);
      const env = new Environment();
      const got = number64(pack64(operations[name](env, BINARY64, unpack64(a), unpack64(b))));
      const want = native[name](number64(a), number64(b));
      assert.ok(same(got, want), `seed ${SEED}: ${name}(${a.toString(16)}, ${b.toString(16)}) = ${got}, host ${want}`);
    }
  });

  test(`binary32 ${name}: agrees with the host for random and special operands`, () => {
    const random = generator(SEED + 1);
    const operand = (near: number): number => {
      const r = random() % 8;
      if (r === 0) return SPECIAL32[random() % SPECIAL32.length];
      return r < 5 ? ((random() & 0x80ff_ffff) | (near & 0x7f00_0000)) >>> 0 : random();
    };
    for (let i = 0; i < 4000; i++) {
      const a = operand(random()),
        b = operand(a);
      const got = number32(pack32(operations[name](new Environment(), BINARY32, unpack32(a), unpack32(b))));
      // Rounding a double result once more is innocuous for these operations on singles.
      const want = Math.fround(native[name](number32(a), number32(b)));
      assert.ok(same(got, want), `seed ${SEED}: ${name}(${a.toString(16)}, ${b.toString(16)}) = ${got}, host ${want}`);
    }
  });
}

test('convert: binary64 to binary32 agrees with the host and reports inexact results', () => {
  const random = generator(SEED + 2);
  for (let i = 0; i < 4000; i++) {
    const exponent = 0x360n + BigInt(random() % 0x140);
    const a =
      (BigInt(random() & 1) << 63n) |
      (exponent << 52n) |
      (BigInt(random() & (i % 2 === 0 ? 0xfffff : 0xff000)) << 32n) |
      BigInt(i % 2 === 0 ? random() : 0);
    const env = new Environment();
    const got = number32(pack32(soft.convert(env, BINARY32, unpack64(a))));
    const want = Math.fround(number64(a));
    assert.ok(Object.is(got, want), `seed ${SEED}: ${a.toString(16)} became ${got}, host ${want}`);
    assert.equal((env.flags & PE) !== 0, want !== number64(a));
  }
});

test('fromInteger: agrees with the host for 64-bit integers', () => {
  const random = generator(SEED + 3);
  for (let i = 0; i < 2000; i++) {
    const n = BigInt.asIntN(64, ((BigInt(random()) << 32n) | BigInt(random())) >> BigInt(random() % 64));
    assert.equal(number64(pack64(soft.fromInteger(new Environment(), BINARY64, n))), Number(n), `seed ${SEED}: ${n}`);
  }
});

test('round trip: every packed binary32 pattern tried comes back', () => {
  const random = generator(SEED + 4);
  for (let i = 0; i < 4000; i++) {
    const bits = i < SPECIAL32.length ? SPECIAL32[i] : random();
    assert.equal(pack32(unpack32(bits)), bits);
    assert.equal(bits32(number32(0x3f80_0000)), 0x3f80_0000);
  }
});
