/** What a benchmark guest can run on here, and the command that does it. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MachineName } from './options.ts';
import { type Bits, UNPRIVILEGED } from './workloads.ts';

export const root = fileURLToPath(new URL('..', import.meta.url));
const cli = join(root, 'bin', 'xenolith.mjs');
export const guestOf = (bits: Bits): string => join(root, 'bench', 'guests', `bench${bits}.elf`);

export type Command = readonly [command: string, ...args: string[]];

export interface Machine {
  readonly name: MachineName;
  readonly version: string;
  /** Workloads of `names` that it can run; empty when it cannot run this build at all. */
  able(bits: Bits, names: readonly string[]): readonly string[];
  /** Runs the workloads named; none is a guest that says hello and stops. */
  command(bits: Bits, names: readonly string[], div: number): Command;
}

/** Command line of the guest; it runs everything when nothing is named. */
const guestOptions = (names: readonly string[], div: number): string =>
  `div=${div} only=${names.length === 0 ? 'none' : names.join(',')}`;

const everything = (_: Bits, names: readonly string[]): readonly string[] => names;

const own = (name: MachineName, engine: string): Machine => ({
  name,
  version: JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version,
  able: everything,
  command: (bits, names, div) => [
    process.execPath,
    ...[cli, 'run', guestOf(bits), '--memory', '128', '--engine', engine, '--cmdline', guestOptions(names, div)],
  ],
});

const said = (command: string, args: readonly string[]): string | undefined => {
  const { status, stdout } = spawnSync(command, [...args], { encoding: 'utf8' });
  return status === 0 ? stdout : undefined;
};

function qemu(): Machine | string {
  const command = 'qemu-system-x86_64';
  const version = said(command, ['--version']);
  if (version === undefined) return `${command} is not installed`;
  const plain = ['-display', 'none', '-monitor', 'none', '-m', '128', '-nodefaults', '-no-reboot', '-serial', 'stdio'];
  return {
    name: 'qemu',
    version: `${/version (\S+)/.exec(version)?.[1] ?? 'unknown'} TCG`,
    able: everything,
    command: (bits, names, div) => [
      command,
      ...['-accel', 'tcg,thread=single', ...plain, '-device', 'isa-debug-exit,iobase=0xf4,iosize=4'],
      ...['-kernel', guestOf(bits), '-append', guestOptions(names, div)],
    ],
  };
}

function v86(): Machine | string {
  const folder = join(root, 'node_modules', 'v86');
  if (!existsSync(join(folder, 'package.json'))) return 'the package v86 is not installed (npm ci)';
  return {
    name: 'v86',
    version: JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version,
    able: (bits, names) => (bits === 32 ? names : []),
    command: (bits, names, div) => [
      process.execPath,
      ...[join(root, 'bench', 'v86.ts'), guestOf(bits), guestOptions(names, div)],
    ],
  };
}

/** The workloads as a program of this system, built when there is a compiler. */
function native(wanted: readonly Bits[]): Machine | string {
  const compiler = said('gcc', ['-dumpfullversion']);
  if (compiler === undefined) return 'gcc is not installed';
  const folder = join(root, '.cache', 'bench');
  mkdirSync(folder, { recursive: true });
  const sources = join(root, 'bench', 'guests');
  const built = wanted.filter(
    (bits) =>
      said('make', ['-s', '-C', folder, '-f', join(sources, 'Makefile'), `VPATH=${sources}`, `native${bits}`]) !==
      undefined,
  );
  if (built.length === 0) return 'gcc cannot build bench/guests/native.c here';
  return {
    name: 'native',
    version: `gcc ${compiler.trim()}`,
    able: (bits, names) => (built.includes(bits) ? names.filter((name) => UNPRIVILEGED.includes(name)) : []),
    command: (bits, names, div) => [join(folder, `native${bits}`), String(div), ...names],
  };
}

/** The machines asked for that are there; `absent` hears why others are not. */
export function findMachines(
  names: readonly MachineName[],
  bits: readonly Bits[],
  absent: (name: MachineName, why: string) => void,
): Machine[] {
  const make: Readonly<Record<MachineName, () => Machine | string>> = {
    xenolith: () => own('xenolith', 'auto'),
    interpreter: () => own('interpreter', 'interpret'),
    qemu,
    v86,
    native: () => native(bits),
  };
  return names.flatMap((name) => {
    const machine = make[name]();
    if (typeof machine !== 'string') return machine;
    absent(name, machine);
    return [];
  });
}
