/** Runs the command line in this process on the real machine: what it wrote and how it ended. */
import type { Host } from '../../src/cli/host.ts';
import { nodeHost } from '../../src/cli/host-node.ts';
import { main } from '../../src/cli/main.ts';
import { program } from '../../src/cli/program.ts';
import { type InterpreterModules, interpreterModules } from '../../src/cpu/interpret/instance.ts';

export interface MainResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

let interpreter: InterpreterModules | undefined;
const real = nodeHost();

/** `more` replaces parts of Node's host, for instance its files. */
export async function runMain(argv: readonly string[], more: Partial<Host> = {}): Promise<MainResult> {
  let out = '';
  let err = '';
  interpreter ??= interpreterModules();
  const host: Host = {
    ...real,
    stopped: undefined,
    stdout: (data) => {
      out += typeof data === 'string' ? data : Buffer.from(data).toString('latin1');
    },
    stderr: (text) => {
      err += text;
    },
    interpreter: async () => interpreter,
    ...more,
  };
  const code = await main(argv, host, program);
  return { code, out, err };
}
