import assert from 'node:assert/strict';
import { test } from 'node:test';
import { P, RW, US } from './entries.ts';
import { PvTestMachine } from './testing.ts';

for (const width of [64, 32] as const) {
  test(`PV${width}: accounting agrees with a fresh machine, and tells what does not`, () => {
    const t = new PvTestMachine(width);
    const slot = (mfn: number): number => mfn - t.mm.frames.base;
    assert.deepEqual(t.mm.check(), []);
    t.mm.frames.refs[slot(t.pages[5])]++;
    t.mm.frames.typeCount[slot(t.l2)]++;
    assert.deepEqual(t.mm.check(), [
      `frame ${t.l2} (L2): has 2 type references, counted 1`,
      `frame ${t.pages[5]} (writable): has 3 references, counted 2`,
    ]);
  });

  test(`PV${width}: accounting tells of an entry that lets the guest write a table`, () => {
    const t = new PvTestMachine(width);
    t.poke(t.l1, 200, t.entry(t.l2, P | RW | US));
    assert.ok(t.mm.check().includes(`frame ${t.l2} (L2): is mapped writable by ${t.l1}`), t.mm.check().join('\n'));
    t.poke(t.l1, 201, t.entry(0x12345, P | US));
    assert.ok(t.mm.check().includes(`frame ${t.l1} (L1): entry 201 refers to ${0x12345}, not the domain's`));
  });
}
