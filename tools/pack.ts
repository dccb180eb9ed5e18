/** `npm pack`: dist/ as it is published, with the declarations that `exports` names. */
import { spawnSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from './build.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');

await build();
const { status } = spawnSync(process.execPath, [compiler, '-b', 'tsconfig.core.json'], { cwd: root, stdio: 'inherit' });
if (status === 0) {
  cpSync(join(root, '.cache', 'types', 'core'), join(root, 'dist', 'types'), {
    recursive: true,
    filter: (from) => !from.endsWith('.tsbuildinfo'),
  });
}
process.exitCode = status ?? 1;
