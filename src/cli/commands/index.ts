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
    summary: 'run a guest: a PVH or PV kernel, HVM firmware, or an xl configuration file',
    load: async () => (await import('./run.ts')).run,
  },
  {
    name: 'experiment',
    summary: 'answer a question about vCPUs by running built-in guests; without a name, all of them',
    load: async () => (await import('./experiment.ts')).experiment,
  },
  {
    name: 'behaviours',
    summary: 'list the rules that differ between releases of Xen, and their values',
    load: async () => (await import('./behaviours.ts')).behaviours,
  },
  {
    name: 'audit',
    summary: 'run a guest and show every access of the hypervisor to its shared areas, and what is missing',
    load: async () => (await import('./audit.ts')).audit,
  },
  {
    name: 'diff',
    summary: 'run a guest under the rules of two releases and show the first hypercall that differs',
    load: async () => (await import('./diff.ts')).diff,
  },
];
