/** Random bytes as code, in every processor mode: the machine stays whole, whatever the guest does. */
import { test } from 'node:test';
import { fuzz } from './support/run.ts';

test('random code ends in a shutdown or at its limit and reaches nothing but its own memory', async (context) => {
  await fuzz(context, new URL('./support/code-case.ts', import.meta.url), 400, 6);
});
