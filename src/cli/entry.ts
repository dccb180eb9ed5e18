/** The program: what bin/xenolith.mjs loads. */
import { nodeHost } from './host-node.ts';
import { main } from './main.ts';

// Everything was written by then, and taking the process down in an orderly way costs as much as a short run.
main(process.argv.slice(2), nodeHost()).then(process.exit, (error: unknown) => {
  throw error;
});
