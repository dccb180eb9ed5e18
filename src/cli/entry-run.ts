/** What bin/xenolith.mjs loads for `run`: that command alone and all it needs, in one piece, which starts soonest. */
import { run } from './commands/run.ts';
import { machine } from './engine.ts';
import { starter } from './starter.ts';

export const start = starter({
  commands: [{ name: run.name, summary: run.summary, load: async () => run }],
  machine: async () => machine,
});
