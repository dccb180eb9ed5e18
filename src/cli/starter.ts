/** From a program to what bin/xenolith.mjs calls. */
import type { InterpreterModules } from '../xen/index.ts';
import { nodeHost } from './host-node.ts';
import { main, type Program } from './main.ts';

/** Runs the process's command line and ends the process. `interpreter` is being compiled; without it a run builds its own. */
export const starter =
  (program: Program) =>
  (interpreter: Promise<InterpreterModules> | undefined): void => {
    // Everything was written by then, and taking the process down in an orderly way costs as much as a short run.
    main(process.argv.slice(2), nodeHost(interpreter), program).then(process.exit, (error: unknown) => {
      throw error;
    });
  };
