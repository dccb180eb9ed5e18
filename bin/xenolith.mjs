#!/usr/bin/env node
// Plain JavaScript that any Node understands, so that an old one gets a clear message.
import { existsSync } from 'node:fs';
import * as nodeModule from 'node:module';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(`xenolith: Node 22.18 or newer is needed, this is ${process.versions.node}`);
  process.exit(2);
}
const bundle = new URL('../dist/cli.js', import.meta.url);
// Keeps compiled code between runs (in NODE_COMPILE_CACHE or the system's temporary folder): half of a short run is compiling.
nodeModule.enableCompileCache?.();
await import(existsSync(bundle) ? bundle.href : new URL('../src/cli/entry.ts', import.meta.url).href);
