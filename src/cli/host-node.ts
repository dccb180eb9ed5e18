/** The host under Node: the only place with its file, stream and clock functions. */

import { accessSync, constants, existsSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { createRequire, SourceMap, type SourceMapPayload } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { InterpreterModules } from '../xen/index.ts';
import { FileProblem, type Host, type Stop } from './host.ts';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'is a directory',
  ENOTDIR: 'a part of the path is not a directory',
  ENAMETOOLONG: 'the name is too long',
  ENOSPC: 'no space left on the device',
  EROFS: 'read-only file system',
  ERR_FS_FILE_TOO_LARGE: 'the file is too large',
};

/** No kernel is larger than 1 GiB; data that claims to be must not take the machine's memory. */
const MAXIMUM_OUTPUT = 1 << 30;

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : '');

function problem(path: string, error: unknown): FileProblem {
  const code = codeOf(error);
  return new FileProblem(path, REASONS[code] ?? (code || String(error)));
}

/** Names in the program's scripts are shortened; the maps beside them know the sources. */
function inSources(stack: string): string {
  const folder = dirname(fileURLToPath(import.meta.url));
  const maps = new Map<string, SourceMap | undefined>();
  const mapOf = (file: string): SourceMap | undefined => {
    const map = `${file}.map`;
    if (!maps.has(file))
      maps.set(
        file,
        dirname(file) === folder && existsSync(map)
          ? new SourceMap(JSON.parse(readFileSync(map, 'utf8')) as SourceMapPayload)
          : undefined,
      );
    return maps.get(file);
  };
  return stack.replaceAll(
    /^( +at )(?:[^(\n]*\()?(.+):(\d+):(\d+)\)?$/gm,
    (frame, at: string, file: string, line, column) => {
      const found = mapOf(file)?.findOrigin(Number(line), Number(column));
      if (found === undefined || !('fileName' in found)) return frame;
      const { name, fileName, lineNumber, columnNumber } = found;
      const place = `${fileName}:${lineNumber}:${columnNumber}`;
      return `${at}${name === undefined ? place : `${name} (${place})`}`;
    },
  );
}

/** Loaded when first needed: most guests are not compressed. */
const zlib = (): typeof import('node:zlib') =>
  createRequire(import.meta.url)('node:zlib') as typeof import('node:zlib');

/** `interpreter`: the module, while it is being compiled; without one it is built when a guest is run. */
export function nodeHost(interpreter: Promise<InterpreterModules | undefined> = Promise.resolve(undefined)): Host {
  let stopped: Stop | undefined;
  const stop = (why: Stop): void => {
    // A second request does not wait for the guest.
    if (stopped === why && why !== 'broken-pipe') process.exit(why === 'interrupt' ? 130 : 143);
    stopped ??= why;
  };
  process.on('SIGINT', () => stop('interrupt'));
  process.on('SIGTERM', () => stop('terminate'));

  /** Synchronous, so that nothing is lost when the process ends and the order of both streams is kept. */
  const write = (fd: number, data: Uint8Array): void => {
    for (let at = 0; at < data.length; ) {
      try {
        at += writeSync(fd, data, at);
      } catch (error) {
        const code = codeOf(error);
        if (code === 'EAGAIN') {
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
          continue;
        }
        if (code === 'EPIPE') {
          if (fd === 1) stop('broken-pipe');
          return;
        }
        throw error;
      }
    }
  };

  return {
    stdout: (data) => write(1, typeof data === 'string' ? Buffer.from(data) : data),
    stderr: (text) => write(2, Buffer.from(text)),
    readFile: (path) => {
      try {
        if (statSync(path).isDirectory()) throw new FileProblem(path, 'is a directory');
        return readFileSync(path);
      } catch (error) {
        throw error instanceof FileProblem ? error : problem(path, error);
      }
    },
    writeFile: (path, text) => {
      try {
        writeFileSync(path, text);
      } catch (error) {
        throw problem(path, error);
      }
    },
    checkWritable: (path) => {
      try {
        const exists = existsSync(path);
        if (exists && statSync(path).isDirectory()) throw new FileProblem(path, 'is a directory');
        const folder = dirname(path);
        if (path === '' || (!exists && !statSync(folder).isDirectory()))
          throw new FileProblem(path, 'the path is not that of a file in a directory');
        accessSync(exists ? path : folder, constants.W_OK);
      } catch (error) {
        throw error instanceof FileProblem ? error : problem(path, error);
      }
    },
    decompress: (format, data) => {
      if (format === 'gzip') return zlib().gunzipSync(data, { maxOutputLength: MAXIMUM_OUTPUT });
      // Node has Zstandard from 22.15 on.
      if (format === 'zstd') return zlib().zstdDecompressSync?.(data, { maxOutputLength: MAXIMUM_OUTPUT });
      return undefined;
    },
    now: () => Number(process.hrtime.bigint()) / 1e6,
    wallClock: () => Date.now(),
    breathe: (milliseconds) =>
      new Promise((resolve) => {
        if (milliseconds === undefined) setImmediate(resolve);
        else setTimeout(resolve, milliseconds);
      }),
    interpreter: () => interpreter,
    stack: (error) => inSources(error.stack ?? error.message),
    readInput: (onData) => {
      const raw = process.stdin.isTTY;
      const listener = (bytes: Buffer): void => {
        // A terminal in raw mode sends Ctrl-C to the guest; Ctrl-] leaves, as in xl console.
        if (raw && bytes.includes(0x1d)) stop('interrupt');
        else onData(bytes);
      };
      if (raw) process.stdin.setRawMode(true);
      process.stdin.on('data', listener);
      return () => {
        process.stdin.off('data', listener);
        if (raw) process.stdin.setRawMode(false);
        process.stdin.pause();
      };
    },
    get stopped() {
      return stopped;
    },
  };
}
