/**
 * Random memory management operations, with valid and malicious arguments, by two vCPUs: no host exception comes out, frame accounting agrees, and no
 * processor can write what is a table. `XENOLITH_MMU=1000000` sets the number of operations, `XENOLITH_SEED` the first seed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as STATE from '../../../cpu/state.ts';
import * as f from './frame-table.ts';
import { RandomGuest } from './random-guest.ts';
import { step } from './random-operations.ts';

const STEPS = Number(process.env['XENOLITH_MMU'] ?? 4000);
const SEED = Number(process.env['XENOLITH_SEED'] ?? 1);
/** Operations of one guest, and from one check to the next. */
const EPISODE = 5000;
const CHECK = 200;

/** Translations by which a processor could write a table, or a page that is not the domain's any more. */
function dangerous(guest: RandomGuest): string[] {
  const found: string[] = [];
  const { mm } = guest.t;
  for (const cpu of guest.t.machine.cpus) {
    const first = cpu.base + STATE.TLB_SETS;
    for (let at = first; at < first + 3 * STATE.TLB_SET; at += STATE.TLB_ENTRY) {
      const tag = cpu.u64[(at + STATE.TLB_WRITE) >>> 3];
      // Page 0 belongs into the first entry of a set; elsewhere 0 is an empty tag.
      const isFirst = (at - first) % STATE.TLB_SET === 0;
      if (tag === (isFirst ? STATE.TLB_INVALID : 0n)) continue;
      const slot = mm.slotOfFrame(cpu.u32[(at + STATE.TLB_HOST) >>> 2] >>> 12);
      const type = slot === f.NO_SLOT ? -1 : mm.frames.type[slot];
      const table = type >= f.TYPE_L1 && type <= f.TYPE_SEG_DESC && mm.frames.typeCount[slot] > 0;
      if (slot === f.NO_SLOT || mm.frames.refs[slot] === 0 || table)
        found.push(`vCPU ${cpu.id} may write 0x${tag.toString(16)}: slot ${slot}, type ${type}`);
    }
  }
  return found;
}

for (const width of [64, 32] as const) {
  test(`PV${width}: ${STEPS} random operations, seed ${SEED}`, () => {
    for (let done = 0, episode = 0; done < STEPS; episode++) {
      const seed = SEED + episode;
      const guest = new RandomGuest(width, seed);
      for (let i = 0; i < EPISODE && done < STEPS; i++, done++) {
        try {
          step(guest);
        } catch (cause) {
          throw new Error(`seed ${seed}, operation ${i}`, { cause });
        }
        if (guest.attacked) assert.deepEqual(dangerous(guest), [], `seed ${seed}, operation ${i}`);
        guest.attacked = false;
        if (i % CHECK === CHECK - 1) assert.deepEqual(guest.t.mm.check(), [], `seed ${seed}, operation ${i}`);
      }
    }
  });
}
