/** The table of commands. Each is loaded when it is used; its name and summary are here so that help needs none of them. */
import type { Command } from '../command.ts';

export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  load(): Promise<Command>;
}

export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'run',
    summary: 'run a guest: a PVH kernel, HVM firmware, or an xl configuration file',
    load: async () => (await import('./run.ts')).run,
  },
];
