/** What bin/xenolith.mjs loads for every command but `run`, and in a checkout that was not built. */
import { program } from './program.ts';
import { starter } from './starter.ts';

export const start = starter(program);
