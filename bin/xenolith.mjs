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
const program = command === 'run' ? 'run' : 'cli';
const runsGuests = ['run', 'experiment', 'audit', 'diff'].includes(command);
let hearsHints = false;
read.into = Buffer.allocUnsafeSlow(1 << 20);

if (fs.existsSync(`${dist}${program}.cjs`)) {
  const interpreter = runsGuests ? compileInterpreter() : undefined;
  (await loadProgram()).start(interpreter);
} else {
  const { start } = await import('../src/cli/entry.ts');
  start(undefined);
}

/** On other threads, while this one loads the program. */
async function compileInterpreter() {
  // Compiling alone does not keep the process from ending.
  const alive = setInterval(() => {}, 1 << 30);
  try {
    const main = await WebAssembly.compile(read(`${dist}interpreter.wasm`));
    const vectors = () => new WebAssembly.Module(fs.readFileSync(`${dist}vectors.wasm`));
    return { main, vectors, beforeRegions: () => setHints(true) };
  } finally {
    clearInterval(alive);
  }
}

/** Translated code says what hardly ever happens. V8s before that of Node 25 listen only if asked to. */
function setHints(on) {
  if (major >= 25) return;
  process.getBuiltinModule('node:v8').setFlagsFromString(`--${on ? '' : 'no-'}experimental-wasm-branch-hinting`);
  hearsHints = on;
}

/** The program; it asks for what it is to load later by itself. */
async function loadProgram() {
  const source = readSource(program);
  // What has been read of the interpreter meanwhile is compiled from here on.
  await new Promise(setImmediate);
  return evaluate(source)(nodeModule.createRequire(source.file), source.file, () =>
    evaluate(readSource(`${program}-later`)),
  );
}

/**
 * Compiling is most of a short run. Node's own compile cache keeps a file's functions as they are before it runs, of which there are
 * none yet, and takes longer to switch on; this keeps those that runs needed, in the folder that NODE_COMPILE_CACHE names or the system's temporary
 * one. NODE_DISABLE_COMPILE_CACHE is heeded.
 */
function readSource(name) {
  const file = `${dist}${name}.cjs`;
  // It is ASCII, which is quicker to read as this.
  const text = read(file).latin1Slice();
  const cache = codeCache(file, text.slice(2, 18));
  return { file, text, cache, kept: cache?.read() };
}

function evaluate({ file, text, cache, kept }) {
  const { Script, constants } = process.getBuiltinModule('node:vm');
  const script = new Script(text, {
    filename: file,
    cachedData: kept?.code,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  const runs = kept === undefined || script.cachedDataRejected ? 0 : kept.runs;
  if (cache !== undefined && runs < 4)
    process.on('exit', (code) => {
      // A wrong option needs little of the program, and after a long run V8 may have forgotten how it began.
      if (code === 2 || process.uptime() > 10) return;
      // V8 takes it back only under the flags it was made under.
      if (hearsHints) setHints(false);
      cache.write(script.createCachedData(), runs + 1);
    });
  return script.runInThisContext();
}

/** A file's bytes, until the next call: memory that was touched before is much cheaper than new one. */
function read(path, isRightful = () => true) {
  const file = fs.openSync(path);
  try {
    const about = fs.fstatSync(file);
    if (!isRightful(about)) return Buffer.alloc(0);
    if (about.size > read.into.length) read.into = Buffer.allocUnsafeSlow(about.size);
    let length = 0;
    for (let more = 1; more > 0; length += more) more = fs.readSync(file, read.into, length, about.size - length, null);
    return read.into.subarray(0, length);
  } finally {
    fs.closeSync(file);
  }
}

/** The file for a script, the command and this Node: V8's data, the script's mark, the data's length, and how many runs have added to it. */
function codeCache(script, mark) {
  const { env } = process;
  if (env.NODE_DISABLE_COMPILE_CACHE !== undefined) return undefined;
  const uid = process.getuid?.() ?? 0;
  const folder = `${env.NODE_COMPILE_CACHE || process.getBuiltinModule('node:os').tmpdir()}/xenolith-${uid}`;
  // V8 takes code back only under the options it was made under.
  const options = [process.version, process.arch, ...process.execArgv, env.NODE_OPTIONS ?? ''].join(' ');
  const place = `${script}-${runsGuests ? command : 'other'}-${options}`.replace(/[^\w.]+/g, '-').slice(-200);
  const file = `${folder}/${place}`;
  const trailer = (code, runs) => Buffer.from(`${mark} ${code.length.toString(16).padStart(8, '0')} ${runs}`, 'latin1');
  const TRAILER = mark.length + 11;
  return {
    read() {
      let data;
      try {
        // It is code: somebody else's is not run.
        data = read(file, (about) => about.uid === uid);
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
        fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
        fs.writeFileSync(next, Buffer.concat([code, trailer(code, runs)]), { mode: 0o600, flag: 'wx' });
        fs.renameSync(next, file);
      } catch {
        fs.rmSync(next, { force: true }); // No room or no right to: the next start compiles again.
      }
    },
  };
}

/** V8 believes what it is given. Blocks of a file that a crash of the host has cost are zeros. */
function hasHole({ buffer, byteOffset, length }) {
  const WORDS = 1024;
  const words = new Int32Array(buffer, byteOffset, length >> 2);
  for (let at = 0, end = WORDS; end <= words.length; at = end, end += WORDS) {
    while (at < end && words[at] === 0) at++;
    if (at === end) return true;
  }
  return false;
}
