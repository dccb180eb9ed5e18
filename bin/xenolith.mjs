#!/usr/bin/env node
// Plain JavaScript that any Node understands, so that an old one gets a clear message.
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(`xenolith: Node 22.18 or newer is needed, this is ${process.versions.node}`);
  process.exit(2);
}
// Importing these would also load everything they can hand out, streams and workers among it.
const { existsSync } = process.getBuiltinModule('node:fs');
const nodeModule = process.getBuiltinModule('node:module');
const bundle = new URL('../dist/cli.cjs', import.meta.url);
// Keeps compiled code between runs (in NODE_COMPILE_CACHE or the system's temporary folder): half of a short run is compiling.
nodeModule.enableCompileCache?.();
if (existsSync(bundle)) nodeModule.createRequire(import.meta.url)('../dist/cli.cjs');
else await import('../src/cli/entry.ts');
