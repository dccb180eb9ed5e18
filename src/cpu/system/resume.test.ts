import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../state.ts';
import { GP, NP, SSV } from './fault.ts';
import { type ReturnFrame, resumeAt, resumeFlat, tryLoadSegment } from './resume.ts';
import { Bench, CODE0, CODE3, DATA0, DATA3, descriptor, FREE } from './testing.ts';

const frame = (changes: Partial<ReturnFrame> = {}): ReturnFrame => ({
  rip: 0xa000n,
  cs: CODE3,
  flags: 0x202,
  rsp: 0x6000n,
  ss: DATA3,
  ...changes,
});

test('resumeAt: goes on in ring 3, and data segments of inner rings become null', () => {
  const b = new Bench().protect();
  assert.ok(tryLoadSegment(b.cpu, S.ES, DATA0));
  assert.equal(resumeAt(b.cpu, frame()), undefined);
  assert.deepEqual([b.cpu.rip, b.cpu.cpl, b.cpu.gpr(S.RSP)], [0xa000n, 3, 0x6000n]);
  assert.deepEqual([b.selector(S.CS), b.selector(S.SS), b.selector(S.ES)], [CODE3, DATA3, 0]);
});

test('resumeAt: the fault of the IRET is returned and nothing else changed', () => {
  const cases: readonly (readonly [Partial<ReturnFrame>, number, number])[] = [
    [{ cs: 3 }, GP, 0],
    [{ cs: 0x103 }, GP, 0x100],
    [{ cs: DATA3 }, GP, DATA3 & 0xfffc],
    [{ ss: 3 }, GP, 0],
    [{ ss: DATA0 }, GP, DATA0],
    [{ cs: FREE | 3 }, NP, FREE],
    [{ ss: (FREE + 8) | 3 }, SSV, FREE + 8],
  ];
  for (const [changes, vector, code] of cases) {
    const b = new Bench().protect();
    b.describe(FREE, descriptor(0, 0xf_ffff, 0x7b, 0xc));
    b.describe(FREE + 8, descriptor(0, 0xf_ffff, 0x73, 0xc));
    const before = [b.cpu.rip, b.selector(S.CS), b.selector(S.SS)];
    const fault = resumeAt(b.cpu, frame(changes));
    assert.deepEqual([fault?.vector, fault?.code], [vector, code], JSON.stringify([vector, code]));
    assert.deepEqual([b.cpu.rip, b.selector(S.CS), b.selector(S.SS)], before);
  }
});

test('resumeFlat: loads known segments without looking into the table', () => {
  const b = new Bench().protect();
  resumeFlat(b.cpu, frame({ cs: 0xe02b, ss: 0xe033 }), 0xc0fb, 0xc0f3);
  assert.deepEqual([b.cpu.cpl, b.cpu.codeSize, b.selector(S.CS), b.cpu.rip], [3, 32, 0xe02b, 0xa000n]);
});

test('resumeAt: RF is kept only while breakpoints are armed', () => {
  const b = new Bench().protect();
  resumeAt(b.cpu, frame({ flags: 0x1_0202 }));
  assert.equal(b.cpu.eflags & S.RF, 0);
  b.cpu.set64(S.DR7, 0x401n);
  resumeAt(b.cpu, frame({ flags: 0x1_0202 }));
  assert.equal(b.cpu.eflags & S.RF, S.RF);
});

test('tryLoadSegment: a selector that cannot be loaded leaves the register as it was', () => {
  const b = new Bench().protect();
  assert.ok(tryLoadSegment(b.cpu, S.FS, DATA0));
  assert.equal(tryLoadSegment(b.cpu, S.FS, 0x100), false);
  assert.equal(b.selector(S.FS), DATA0);
  assert.equal(tryLoadSegment(b.cpu, S.FS, CODE0), true);
});
