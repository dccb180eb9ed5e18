/**
 * Downloads Debian's kernel for clouds and a static BusyBox with apt-get and unpacks them into .cache/linux, where
 * tests/boot finds them: `node tools/fetch-linux.ts`. Needs no privileges and installs nothing.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, globSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const cache = fileURLToPath(new URL('../.cache/', import.meta.url));
const target = join(cache, 'linux');
const KERNEL = 'linux-image-cloud-amd64';
const SHELL = 'busybox-static';

/** Something the user can mend. */
class Problem extends Error {}

function tool(folder: string, name: string, ...args: string[]): string {
  try {
    return execFileSync(name, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if ('code' in error && error.code === 'ENOENT')
      throw new Problem(
        `${name} is missing: this tool needs Debian or one of its relatives. Elsewhere put a kernel (vmlinuz) and a static ` +
          'busybox into a folder and name it in XENOLITH_LINUX.',
      );
    const said = 'stderr' in error ? String(error.stderr).trim() : '';
    throw new Problem(`${name} ${args.join(' ')} failed: ${said || error.message}`);
  }
}

/** Downloads a package; answers the path of its file. */
function download(folder: string, name: string): string {
  // As root, apt would hand the download to a user that may not write here.
  tool(folder, 'apt-get', '-qq', '-o', 'APT::Sandbox::User=root', 'download', name);
  return one(folder, `${name}_*.deb`);
}

function one(folder: string, ...patterns: string[]): string {
  const [found] = globSync(patterns, { cwd: folder });
  if (found === undefined) throw new Problem(`no file ${patterns.join(' or ')} came with the packages`);
  return join(folder, found);
}

function fetchLinux(): void {
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'fetch-'));
  try {
    // The package of this name is empty and depends on the current kernel.
    const depends = tool(folder, 'dpkg-deb', '-f', download(folder, KERNEL), 'Depends');
    const kernel = /linux-image-[^\s,(]+/.exec(depends)?.[0];
    if (kernel === undefined) throw new Problem(`${KERNEL} depends on no kernel: ${depends}`);
    const unpacked = join(folder, 'root');
    for (const name of [kernel, SHELL]) tool(folder, 'dpkg-deb', '-x', download(folder, name), unpacked);
    mkdirSync(target, { recursive: true });
    copyFileSync(one(unpacked, 'boot/vmlinuz-*'), join(target, 'vmlinuz'));
    copyFileSync(one(unpacked, 'bin/busybox', 'usr/bin/busybox'), join(target, 'busybox'));
    console.log(`${kernel} and ${SHELL} are in ${target}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

try {
  if (['vmlinuz', 'busybox'].every((name) => existsSync(join(target, name)))) console.log(`${target} is there already`);
  else fetchLinux();
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  console.error(`xenolith: ${error.message}`);
  process.exitCode = 1;
}
