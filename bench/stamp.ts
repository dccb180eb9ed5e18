/** Times a benchmark guest from outside: the guest reads no clock, so nothing depends on how a machine keeps time. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';

/** One workload of a run, in seconds. */
export interface Work {
  /** Elapsed between the begin and end lines. */
  readonly wall: number;
  /** Processor time of all threads in between; absent where /proc is. */
  readonly cpu?: number;
  /** Processor time of the busiest thread: the number to trust on a shared host. */
  readonly top?: number;
  readonly checksum: string;
}

export interface Run {
  /** Process start to exit. */
  readonly wall: number;
  readonly status: number | string | null;
  readonly work: ReadonlyMap<string, Work>;
  /** Most memory that was resident when the guest last said something, in bytes; absent where /proc is. */
  readonly resident?: number;
  /** What the process said, for diagnosis. */
  readonly output: string;
}

/** Processor seconds by thread (Linux; elsewhere empty). */
function threads(pid: number | undefined): Map<string, number> {
  const seconds = new Map<string, number>();
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const spent = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1').split(' ')[0];
      seconds.set(task, Number(spent) / 1e9);
    }
  } catch {
    // The process is gone, or this system has no /proc: elapsed time is what remains.
  }
  return seconds;
}

function between(before: Map<string, number>, after: Map<string, number>): { cpu?: number; top?: number } {
  // A thread that is gone took its time with it.
  if (after.size === 0 || ![...before.keys()].every((task) => after.has(task))) return {};
  const spent = [...after].map(([task, seconds]) => seconds - (before.get(task) ?? 0));
  return { cpu: spent.reduce((a, b) => a + b, 0), top: Math.max(...spent) };
}

/** Peak resident memory in bytes (Linux; elsewhere undefined). */
function peak(pid: number | undefined): number | undefined {
  try {
    const kib = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return kib === undefined ? undefined : Number(kib) * 1024;
  } catch {
    // The process is gone, or this system has no /proc.
    return undefined;
  }
}

/** Runs a command and notes when the guest's begin and end lines arrive on either output. */
export function stamp(command: string, args: readonly string[], timeoutMs = 300_000): Promise<Run> {
  return new Promise((done, reject) => {
    const started = performance.now();
    const child = spawn(command, [...args], { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
    const begun = new Map<string, { at: number; cpu: Map<string, number> }>();
    const work = new Map<string, Work>();
    let output = '';
    let resident: number | undefined;

    const listen = (stream: NodeJS.ReadableStream): void => {
      let rest = '';
      stream.setEncoding('latin1');
      stream.on('data', (chunk: string) => {
        output += chunk;
        const lines = (rest + chunk).split('\n');
        rest = lines.pop()!;
        const at = performance.now() / 1000;
        const cpu = lines.some((line) => /^\w+ (begin|end )/.test(line)) ? threads(child.pid) : new Map();
        if (lines.length > 0) resident = peak(child.pid) ?? resident;
        for (const line of lines) {
          const begin = /^(\w+) begin\r?$/.exec(line);
          if (begin) begun.set(begin[1]!, { at, cpu });
          const end = /^(\w+) end checksum=(\w+)\r?$/.exec(line);
          const from = end && begun.get(end[1]!);
          if (end && from) work.set(end[1]!, { wall: at - from.at, ...between(from.cpu, cpu), checksum: end[2]! });
          // guests/native.c has a clock of its own, and one thread.
          const timed = /^(\w+) wall=([\d.]+) cpu=([\d.]+) checksum=(\w+)$/.exec(line);
          if (timed) {
            const cpu = Number(timed[3]);
            work.set(timed[1]!, { wall: Number(timed[2]), cpu, top: cpu, checksum: timed[4]! });
          }
        }
      });
    };
    listen(child.stdout);
    listen(child.stderr);
    child.on('error', reject);
    child.on('close', (code, signal) =>
      done({ wall: (performance.now() - started) / 1000, status: signal ?? code, work, resident, output }),
    );
  });
}
