import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cpu } from '../cpu.ts';
import * as S from '../state.ts';
import { Bench, CODE } from './testing.ts';

/** A bench whose traps all go to an owner, which notes them and goes on behind the instruction (two bytes where it cannot know). */
const owned = (): { bench: Bench; seen: string[] } => {
  const seen: string[] = [];
  const note = (cpu: Cpu, text: string, next: bigint): void => {
    seen.push(`${text} at +${cpu.rip - BigInt(CODE)}`);
    cpu.rip = next;
  };
  const bench = new Bench(
    {},
    {
      exception: (cpu, vector, code) => note(cpu, `exception ${vector}/${code}`, cpu.rip + 2n),
      interrupt: (cpu, vector) => note(cpu, `interrupt ${vector}`, cpu.rip),
      software: (cpu, vector, kind, next) => note(cpu, `${kind} ${vector}`, next),
      syscall: (cpu, next) => note(cpu, 'syscall', next),
      sysenter: (cpu, next) => note(cpu, 'sysenter', next),
    },
  );
  return { bench, seen };
};

test('owner: gets faults, software interrupts and SYSENTER with RIP at the instruction', () => {
  const { bench, seen } = owned();
  bench.protect();
  bench.bytes(CODE, [0x0f, 0x0b, 0xcd, 0x80, 0xcc, 0xf1, 0x0f, 0x34, 0x90]);
  bench.cpu.rip = BigInt(CODE);
  bench.cpu.run(6);
  assert.deepEqual(seen, [
    'exception 6/undefined at +0',
    'int 128 at +2',
    'trap 3 at +4',
    'icebp 1 at +5',
    'sysenter at +6',
  ]);
  assert.equal(bench.cpu.rip, BigInt(CODE + 9));
});

test('owner: gets interrupts and NMIs between instructions', () => {
  const { bench, seen } = owned();
  bench.protect();
  bench.bytes(CODE, [0x90, 0x90]);
  bench.cpu.rip = BigInt(CODE);
  bench.cpu.eflags = S.IF | 2;
  bench.pendingVector = 0x123;
  bench.cpu.raiseNmi();
  bench.cpu.run(1);
  assert.deepEqual(seen, ['interrupt 2 at +0', 'interrupt 291 at +0']);
});
