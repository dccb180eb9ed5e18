// Runs a tool of this project: `node tools/bootstrap.mjs SCRIPT ARG...`. Plain JavaScript, so that any Node from 18 on
// can start it; the script itself runs on the Node version that package-lock.json pins (npm package `node`).
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const modules = join(root, 'node_modules');
const pinned = join(modules, 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node');

const fail = (message) => {
  console.error(`xenolith: ${message}`);
  process.exit(1);
};

const packagesOf = (path) => JSON.parse(readFileSync(path, 'utf8')).packages ?? {};

/** True when node_modules holds what package-lock.json asks for: npm leaves its own record of what it installed. */
const installed = () => {
  const record = join(modules, '.package-lock.json');
  if (!existsSync(record) || !existsSync(join(root, 'package-lock.json'))) return false;
  const have = packagesOf(record);
  return Object.entries(packagesOf(join(root, 'package-lock.json'))).every(([path, wanted]) => {
    if (path === '') return true;
    const found = have[path];
    return found ? found.version === wanted.version : wanted.optional === true;
  });
};

const install = () => {
  console.error('xenolith: installing development dependencies (npm ci), once per change of package-lock.json …');
  // The scripts of npm must not run on a Node that npm is about to remove.
  const path = (process.env.PATH ?? '').split(delimiter).filter((dir) => resolve(dir) !== join(modules, '.bin'));
  const env = { ...process.env, PATH: path.join(delimiter) };
  const npm = process.env.npm_execpath;
  const byNode = npm !== undefined && /npm-cli\.c?js$/.test(npm);
  const node = process.env.npm_node_execpath ?? process.execPath;
  const ci = ['ci', '--loglevel=error'];
  const started = Date.now();
  const [command, args] = byNode && !resolve(node).startsWith(modules) ? [node, [npm, ...ci]] : ['npm', ci];
  // Standard output belongs to the tool that is about to run.
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    env,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32' && command === 'npm',
  });
  if (error) fail(`npm cannot be started: ${error.message}`);
  if (status !== 0) fail(`npm ci failed (exit status ${status}); see its messages above`);
  console.error(`xenolith: installed in ${((Date.now() - started) / 1000).toFixed(1)} s`);
};

/** Node from 22.18 on runs TypeScript directly. */
const capable = () => {
  const [major, minor] = process.versions.node.split('.').map(Number);
  return major > 22 || (major === 22 && minor >= 18);
};

const [script, ...args] = process.argv.slice(2);
if (!script) fail('usage: node tools/bootstrap.mjs SCRIPT ARG...');
if (!installed()) install();

if (!existsSync(pinned) && !capable()) {
  fail(
    `the pinned Node is missing (were install scripts blocked?) and Node ${process.version} is too old; 22.18 is needed`,
  );
}
const node = existsSync(pinned) ? pinned : process.execPath;
const { status, signal, error } = spawnSync(node, [resolve(root, script), ...args], { stdio: 'inherit' });
if (error) fail(`${node} cannot be started: ${error.message}`);
process.exitCode = signal ? 1 : (status ?? 1);
