/** Random code as a PV guest's kernel and user: traps, callbacks, emulation and hypercalls leave the hypervisor whole. */
import { test } from 'node:test';
import { fuzz } from './support/run.ts';

test('a PV guest of random code reaches nothing but its own frames, and every frame is accounted for', async (context) => {
  await fuzz(context, new URL('./support/pv-case.ts', import.meta.url), 120, 6);
});
