#!/usr/bin/env node
// Plain JavaScript that any Node understands, so that an old one gets a clear message.
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(`xenolith: Node 22.18 or newer is needed, this is ${process.versions.node}`);
  process.exit(2);
}
// Importing these would also load everything they can hand out, streams and workers among it.
const fs = process.getBuiltinModule('node:fs');
const nodeModule = process.getBuiltinModule('node:module');
const dist = process.getBuiltinModule('node:url').fileURLToPath(new URL('../dist/', import.meta.url));
const command = process.argv[2] ?? '';
const bundle = `${dist}${command === 'run' ? 'run' : 'cli'}.cjs`;
const runsGuests = ['run', 'experiment', 'audit', 'diff'].includes(command);
const LAST_TRIED_NODE = 26;
/** Number of the loop of the interpreter in its module. */
const MAIN_FUNCTION = 18;

if (fs.existsSync(bundle)) {
  const interpreter = runsGuests ? compileInterpreter() : undefined;
  (await loadBundle()).start(interpreter);
} else {
  const { start } = await import('../src/cli/entry.ts');
  start(undefined);
}

/**
 * On other threads, while this one loads the program. V8 begins to optimise the module's main function after some hundred guest
 * instructions in any case, which takes tens of milliseconds that a short run waits for at its end; this way it is done by then.
 */
async function compileInterpreter() {
  // Translated code says what hardly ever happens; older V8s listen only if asked to.
  if (major < 25) setFlag('--experimental-wasm-branch-hinting');
  optimiseAtOnce(MAIN_FUNCTION);
  // Compiling alone does not keep the process from ending.
  const alive = setInterval(() => {}, 1 << 30);
  try {
    const main = await WebAssembly.compile(fs.readFileSync(`${dist}interpreter.wasm`));
    return { main, vectors: () => new WebAssembly.Module(fs.readFileSync(`${dist}vectors.wasm`)) };
  } finally {
    clearInterval(alive);
    optimiseAtOnce(-1);
  }
}

/** Tells V8 which function of WebAssembly modules to optimise when they are compiled; -1: none. */
function optimiseAtOnce(number) {
  setFlag(`--wasm-eager-tier-up-function=${number}`);
}

/** V8 complains on standard error about flags that it does not have: a Node that nobody has tried is asked for nothing. */
function setFlag(flag) {
  if (major <= LAST_TRIED_NODE) process.getBuiltinModule('node:v8').setFlagsFromString(flag);
}

/**
 * Compiling is most of a short run. Node's own compile cache keeps a file's functions as they are before it runs, of which there are
 * none yet; this keeps those that runs needed, in the same folder (NODE_COMPILE_CACHE or the system's temporary one).
 */
async function loadBundle() {
  const { Script, constants } = process.getBuiltinModule('node:vm');
  // It is ASCII, which is quicker to read as this.
  const source = fs.readFileSync(bundle, 'latin1');
  const cache = codeCache(source.slice(2, 18));
  const kept = cache?.read();
  // What has been read of the interpreter meanwhile is compiled from here on.
  await new Promise(setImmediate);
  const script = new Script(source, {
    filename: bundle,
    cachedData: kept?.code,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  const runs = kept === undefined || script.cachedDataRejected ? 0 : kept.runs;
  if (cache !== undefined && runs < 4)
    process.on('exit', (code) => {
      // A wrong option needs little of the program, and after a long run V8 may have forgotten how it began.
      if (code === 2 || process.uptime() > 10) return;
      // V8 takes it back only under the flags it was made under.
      if (runsGuests) optimiseAtOnce(MAIN_FUNCTION);
      cache.write(script.createCachedData(), runs + 1);
    });
  return script.runInThisContext()(nodeModule.createRequire(bundle), bundle);
}

/** The file for this bundle and command: V8's data, the bundle's mark, the data's length, and how many runs have added to it. */
function codeCache(mark) {
  nodeModule.enableCompileCache?.();
  const folder = nodeModule.getCompileCacheDir?.();
  if (folder === undefined) return undefined;
  const place = bundle.replace(/[^\w.]+/g, '-').slice(-150);
  const file = `${folder}/xenolith${place}-${runsGuests ? command : 'other'}`;
  const trailer = (code, runs) => Buffer.from(`${mark} ${code.length.toString(16).padStart(8, '0')} ${runs}`, 'latin1');
  // V8 believes what it is given. Blocks of a file that a crash of the host has cost are zeros.
  const hasHole = (code) => code.includes(Buffer.alloc(4096));
  const TRAILER = mark.length + 11;
  return {
    read() {
      let data;
      try {
        // It is code: somebody else's is not run.
        if (fs.statSync(file).uid !== (process.getuid?.() ?? 0)) return undefined;
        data = fs.readFileSync(file);
      } catch {
        return undefined; // There is none yet.
      }
      if (data.length <= TRAILER) return undefined;
      const code = data.subarray(0, -TRAILER);
      const runs = data[data.length - 1] - 0x30;
      if (!trailer(code, runs).equals(data.subarray(-TRAILER)) || hasHole(code)) return undefined;
      return { code, runs };
    },
    write(code, runs) {
      const next = `${file}.${process.pid}`;
      try {
        fs.writeFileSync(next, Buffer.concat([code, trailer(code, runs)]), { mode: 0o600 });
        fs.renameSync(next, file);
      } catch {
        fs.rmSync(next, { force: true }); // No room or no right to: the next start compiles again.
      }
    },
  };
}
