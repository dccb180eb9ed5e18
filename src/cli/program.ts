/** The whole program: every command, loaded when it is asked for. */
import { COMMANDS } from './commands/index.ts';
import type { Program } from './main.ts';

export const program: Program = {
  commands: COMMANDS,
  machine: async () => (await import('./engine.ts')).machine,
};
