/** Damaged images and configuration files: a run or one line about what is wrong, never a stack trace. */
import { test } from 'node:test';
import { fuzz } from './support/run.ts';

test('random and damaged images and configurations are run or refused in one line', async (context) => {
  await fuzz(context, new URL('./support/image-case.ts', import.meta.url), 400, 6);
});
