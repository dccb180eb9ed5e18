/** Everything a command may ask of the world. Nothing else in the project reads a file, a clock or a stream. */

import type { Decompress } from '../toolstack/index.ts';
import type { InterpreterModules } from '../xen/index.ts';

/** A file that could not be read or written, said in words. */
export class FileProblem extends Error {
  readonly path: string;
  constructor(path: string, reason: string) {
    super(`${path === '' ? "''" : path}: ${reason}`);
    this.name = 'FileProblem';
    this.path = path;
  }
}

export interface Host {
  stdout(data: string | Uint8Array): void;
  stderr(text: string): void;
  /** Throws {@link FileProblem}. */
  readFile(path: string): Uint8Array;
  /** Throws {@link FileProblem}. */
  writeFile(path: string, text: string): void;
  /** Throws {@link FileProblem} when {@link writeFile} to this path would; nothing is changed. */
  checkWritable(path: string): void;
  readonly decompress: Decompress;
  /** The interpreter's module if it was built ahead; compiled beside whatever else happens. */
  interpreter(): Promise<InterpreterModules | undefined>;
  /** Where an error of the program itself comes from, in terms of its sources. */
  stack(error: Error): string;
  /** Milliseconds of a clock that only moves forward. */
  now(): number;
  /** Milliseconds UTC. */
  wallClock(): number;
  /** Lets signals and input arrive, and waits so many milliseconds. */
  breathe(milliseconds?: number): Promise<void>;
  /** Bytes typed, until the returned function is called. */
  readInput(onData: (bytes: Uint8Array) => void): () => void;
  /** Set once somebody asked to stop (Ctrl-C, SIGTERM) or the reader of stdout has gone away. */
  readonly stopped: Stop | undefined;
}

export type Stop = 'interrupt' | 'terminate' | 'broken-pipe';
