/** What is computed when code is written agrees with the engine that would have computed it when code runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fold, isAbsorbing, isNeutral } from '../../src/cpu/wasm/fold.ts';
import { FunctionBody } from '../../src/cpu/wasm/function.ts';
import { ModuleBuilder } from '../../src/cpu/wasm/module.ts';
import { OPS, type Op } from '../../src/cpu/wasm/opcodes.ts';
import { c32, c64, I32, I64 } from '../../src/cpu/wasm/value.ts';
import { Random } from './support/random.ts';

const INTERESTING_64 = [
  0n,
  1n,
  -1n,
  2n,
  63n,
  64n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  1n << 63n,
  (1n << 63n) - 1n,
];
const INTERESTING_32 = [0, 1, -1, 2, 31, 32, 0x7fff_ffff, -0x8000_0000, 0xff, 0x8000];

const integer = (Object.keys(OPS) as Op[]).filter((name) => {
  const [, params, result] = OPS[name];
  return [...params, result].every((type) => type === I32 || type === I64) && !/div|rem/.test(name);
});

/** The types of Node do not declare the API. */
interface WasmApi {
  readonly Memory: new (of: { initial: number }) => object;
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: Record<string, unknown> };
}
const { WebAssembly: wasm } = globalThis as unknown as { WebAssembly: WasmApi };

type Compiled = (...args: (bigint | number)[]) => bigint | number;

/** Each operation as a function of its operands: what the engine says. */
const compiled = ((): Record<string, Compiled> => {
  const m = new ModuleBuilder();
  for (const name of integer) {
    const [, params, result] = OPS[name];
    const { index, body } = m.define(params, [result]);
    body.push(body.op(name, ...(params.map((_, i) => body.param(i)) as [ReturnType<FunctionBody['param']>])));
    m.export(name, index);
  }
  const memory = new wasm.Memory({ initial: 1 });
  return new wasm.Instance(new wasm.Module(m.finish()), { env: { memory } }).exports as Record<string, Compiled>;
})();

test('constants are folded to what the engine computes', () => {
  const random = Random.fromEnvironment();
  const { seed } = random;
  let folded = 0;
  for (const name of integer) {
    const [, params] = OPS[name];
    for (let round = 0; round < 200; round++) {
      const args = params.map((type) =>
        type === I64
          ? BigInt.asIntN(64, random.once(3) ? random.u64() : random.pick(INTERESTING_64))
          : random.once(3)
            ? Number(random.u64() & 0xffff_ffffn) | 0
            : random.pick(INTERESTING_32),
      );
      const expected = compiled[name]!(...args);
      const found = fold(name, args[0]!, args[1]);
      if (found !== undefined) {
        folded++;
        const value = typeof found === 'bigint' ? BigInt.asIntN(64, found) : found | 0;
        assert.equal(value, expected, `XENOLITH_SEED=${seed}: ${name}(${args.join(', ')})`);
      }
      if (args[1] === undefined) continue;
      if (isNeutral(name, args[1])) assert.equal(expected, args[0], `${name} with ${args[1]}`);
      if (isAbsorbing(name, args[1])) assert.equal(expected, args[1], `${name} with ${args[1]}`);
    }
  }
  assert.ok(folded > 1000, `${folded} foldings`);
});

test('an operation that changes nothing gives a copy: the variable may be assigned later', () => {
  const m = new ModuleBuilder();
  const { index, body: f } = m.define([I64], [I64]);
  const variable = f.variable(I64);
  f.assign(variable, f.param(0));
  const kept = f.op('i64.add', variable, c64(0n));
  f.assign(variable, c64(7n));
  f.push(kept);
  m.export('f', index);
  const memory = new wasm.Memory({ initial: 1 });
  const { exports } = new wasm.Instance(new wasm.Module(m.finish()), { env: { memory } });
  assert.equal((exports['f'] as (v: bigint) => bigint)(5n), 5n);
});

test('a condition that is known writes only the branch that is taken', () => {
  const f = new FunctionBody([], []);
  const taken: string[] = [];
  f.if(
    c32(1),
    () => taken.push('then'),
    () => taken.push('else'),
  );
  f.if(
    c32(0),
    () => taken.push('then'),
    () => taken.push('else'),
  );
  assert.deepEqual(taken, ['then', 'else']);
});
