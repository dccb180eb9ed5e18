/** Hypercalls with arguments of every quality: the hypervisor answers, and keeps its own and other memory. */
import { test } from 'node:test';
import { fuzz } from './support/run.ts';

test('random hypercalls are answered, and pages that a guest gave up are never its own again by accident', async (context) => {
  await fuzz(context, new URL('./support/hypercall-case.ts', import.meta.url), 150, 5);
});
