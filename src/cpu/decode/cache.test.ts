import assert from 'node:assert/strict';
import { test } from 'node:test';
import { REGION_SLOTS } from '../interpret/slots.ts';
import * as S from '../state.ts';
import { Bench, CODE, type Settings } from '../system/testing.ts';

const ENGINES: Readonly<Record<string, Settings>> = { interpreted: {}, translated: { hotThreshold: 2 } };

const dword = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
const storeCl = (address: number): number[] => [0x88, 0x0d, ...dword(address)];
const callEdi = [0xff, 0xd7];

/** 32-bit code at CODE that ends in a jump to itself; EAX EBX ECX are cleared. */
const machine = (settings: Settings, code: readonly number[]): Bench => {
  const bench = new Bench({}, undefined, settings).protect();
  bench.bytes(CODE, [...code, 0xeb, 0xfe]);
  return bench;
};

const low = (bench: Bench, register: number): number => Number(bench.cpu.gpr(register) & 0xffff_ffffn);

for (const [engine, settings] of Object.entries(ENGINES)) {
  test(`self-modifying code, ${engine}: an instruction that is patched each time round has its new operand`, () => {
    const head = storeCl(CODE + 7);
    // mov eax, imm32; add ebx, eax; dec ecx; jnz to the start
    const loop = [...head, 0xb8, 0, 0, 0, 0, 0x01, 0xc3, 0x49, 0x75, 0xf0];
    const bench = machine(settings, loop);
    bench.cpu.setGpr(S.RCX, 200n);
    bench.cpu.run(5 * 200);
    assert.equal(low(bench, S.RBX), (200 * 201) / 2);
    assert.equal(low(bench, S.RCX), 0);
  });

  test(`self-modifying code, ${engine}: only what was hit is decoded again`, () => {
    const loop = [...storeCl(CODE + 7), 0xb8, 0, 0, 0, 0, 0x01, 0xc3, 0x49, 0x75, 0xf0];
    const bench = machine(settings, loop);
    bench.cpu.setGpr(S.RCX, 200n);
    bench.cpu.run(5 * 200);
    const { records, flushes } = bench.cpu.code.counts;
    assert.ok(records <= 5 + 200 + 2, `${records} records`);
    assert.equal(flushes, 0);
  });

  test(`self-modifying code, ${engine}: both parts of an instruction that crosses a page can be patched`, () => {
    for (const patched of [0x8fff, 0x9000]) {
      const bench = machine(settings, []);
      // mov eax, imm32 whose operand has two bytes on each page; ret
      bench.bytes(0x8ffd, [0xb8, 0, 0, 0, 0, 0xc3]);
      // store; call edi; add ebx, eax; dec ecx; jnz
      bench.bytes(CODE, [...storeCl(patched), ...callEdi, 0x01, 0xc3, 0x49, 0x75, 0xf3]);
      bench.cpu.setGpr(S.RDI, 0x8ffdn);
      bench.cpu.setGpr(S.RCX, 100n);
      bench.cpu.run(7 * 100);
      assert.equal(low(bench, S.RBX), ((100 * 101) / 2) * (patched === 0x8fff ? 0x100 : 0x1_0000));
    }
  });

  test(`self-modifying code, ${engine}: instructions that overlap each other are all dropped`, () => {
    // At 0: mov eax, 0xc3CL40xx; entered at 1 it is add [ebx], ...: here 40 (inc eax) at 3 and ret at 4 are entered.
    const inner = 0x8800;
    const bench = machine(settings, [
      ...storeCl(inner + 3),
      ...callEdi, // the mov, then ret
      0x8d, 0x77, 0x03, // lea esi, [edi + 3]
      0xff, 0xd6, // call esi: the patched byte as an instruction
    ]); // biome-ignore format: one instruction a line
    bench.bytes(inner, [0xb8, 0, 0, 0x40, 0xc3, 0xc3]);
    bench.cpu.setGpr(S.RDI, BigInt(inner));
    bench.cpu.setGpr(S.RCX, 0x40n);
    for (const [byte, change] of [
      [0x40, 1],
      [0x48, -1],
      [0x40, 1],
      [0x90, 0],
    ] as const) {
      // biome-ignore format: pairs
      bench.cpu.setGpr(S.RCX, BigInt(byte));
      bench.cpu.rip = BigInt(CODE);
      bench.cpu.run(8);
      assert.equal(low(bench, S.RAX), (0xc300_0000 | (byte << 16)) + change + 2 ** 32);
    }
  });

  for (const [where, distance] of [
    ['near', 0x30],
    ['far', 0x800],
  ] as const)
    test(`data ${where} code, ${engine}: many stores, and later patches are seen`, () => {
      // mov [CODE + distance], ecx; add ebx, imm8; dec ecx; jnz
      const loop = [0x89, 0x0d, ...dword(CODE + distance), 0x83, 0xc3, 1, 0x49, 0x75, 0xf4];
      const bench = machine(settings, loop);
      bench.cpu.setGpr(S.RCX, 10_000n);
      bench.cpu.run(4 * 10_000);
      assert.equal(low(bench, S.RBX), 10_000);
      assert.equal(bench.read32(CODE + distance), 1);
      // Beside the code of the same 64 bytes TypeScript looks, until it has enough of it; farther away compiled code sees that nothing is hit.
      assert.equal(bench.cpu.code.counts.pagesDropped > 0, where === 'near');
      // A patch by another program: mov byte [CODE + 8], 3; jmp CODE
      bench.bytes(0xa000, [0xc6, 0x05, ...dword(CODE + 8), 3, 0xe9, ...dword(CODE - 0xa00c)]);
      bench.cpu.setGpr(S.RCX, 100n);
      bench.cpu.rip = 0xa000n;
      bench.cpu.run(2 + 4 * 100);
      assert.equal(low(bench, S.RBX), 10_300);
    });

  test(`a small code cache, ${engine}: code that does not fit runs, and little is decoded again`, () => {
    const pages = 16;
    // call edi; add edi, 4096; dec ecx; jnz
    const bench = machine({ ...settings, codeBytes: 0x4_0000 }, [
      ...callEdi,
      0x81,
      0xc7,
      ...dword(4096),
      0x49,
      0x75,
      0xf5,
    ]);
    for (let n = 0; n < pages; n++) bench.bytes(0x2_0000 + n * 4096, [0x43, 0xc3]);
    for (let round = 0; round < 50; round++) {
      bench.cpu.setGpr(S.RDI, 0x2_0000n);
      bench.cpu.setGpr(S.RCX, BigInt(pages));
      bench.cpu.rip = BigInt(CODE);
      bench.cpu.run(6 * pages);
    }
    assert.equal(low(bench, S.RBX), 50 * pages);
    const { counts, live } = bench.cpu.code;
    assert.equal(counts.flushes, 0);
    assert.ok(counts.evicted > 0);
    assert.ok(live.blocks <= 8, `${live.blocks} blocks`);
  });
}

test('regions: a program with more of them than there is room for keeps a bounded number', () => {
  const functions = REGION_SLOTS + 1000;
  const first = 0x2_0000;
  // call edi, twice; add edi, 8; cmp edi, end; jb
  const end = first + functions * 8;
  const loop = [...callEdi, ...callEdi, 0x83, 0xc7, 8, 0x81, 0xff, ...dword(end), 0x72, 0xf1];
  const bench = machine({ hotThreshold: 2 }, loop);
  for (let n = 0; n < functions; n++) bench.bytes(first + n * 8, [0x81, 0xc3, ...dword(1), 0xc3]);
  bench.cpu.setGpr(S.RDI, BigInt(first));
  bench.cpu.run(functions * 9);
  assert.equal(low(bench, S.RBX), 2 * functions);
  const { counts, live } = bench.cpu.code;
  assert.ok(counts.regions > REGION_SLOTS, `${counts.regions} regions made`);
  assert.ok(counts.regionsEvicted > 0);
  assert.ok(live.regions <= REGION_SLOTS && live.bytes <= 9 << 20, `${live.regions} regions, ${live.bytes} bytes`);
});

test('code that keeps changing is not translated each time', () => {
  // A function whose operand is patched, then called three times: inc edx; add ebx, imm8; ret
  const inner = 0x9800;
  const bench = machine({ hotThreshold: 2 }, [
    ...storeCl(inner + 3), ...callEdi, ...callEdi, ...callEdi, 0x49, 0x75, 0xf1,
  ]); // biome-ignore format: one call after the other
  bench.bytes(inner, [0x42, 0x83, 0xc3, 0, 0xc3]);
  bench.cpu.setGpr(S.RDI, BigInt(inner));
  bench.cpu.setGpr(S.RCX, 1000n);
  bench.cpu.run(1000 * 15);
  assert.equal(low(bench, S.RDX), 3000);
  assert.ok(bench.cpu.code.counts.regions < 400, JSON.stringify(bench.cpu.code.counts));
});

test('regions: where a call through a register leads is told by recent arrivals, not by those of long ago', () => {
  const made: (readonly number[])[] = [];
  const functions = [0x8800, 0x8810, 0x8820, 0x8830];
  const bench = machine({ hotThreshold: 40, onRegion: (code) => made.push(code.entries) }, [
    ...new Array(20).fill([0xeb, 0x00]).flat(), // twenty places where control arrives a little less than often enough
    ...[0x49, 0x75, 0xd5], // dec ecx; jnz to the start
    ...[0x83, 0xc7, 0x10, 0x81, 0xe7, ...dword(0x8830)], // add edi, 10h; and edi, 8830h
    ...callEdi,
    ...[0x4a, 0x75, 0xf2], // dec edx; jnz to the add
  ]);
  for (const at of functions) bench.bytes(at, [0xc3]);
  bench.cpu.setGpr(S.RCX, 39n);
  bench.cpu.setGpr(S.RDX, 400n);
  bench.cpu.setGpr(S.RDI, 0x8830n);
  bench.cpu.run(39 * 22 + 400 * 6);
  assert.equal(low(bench, S.RDX), 0);
  const whole = made.filter((entries) => functions.every((at) => entries.includes(at & 0xfff)));
  assert.equal(whole.length, 1, made.map((entries) => entries.join()).join('; '));
});
