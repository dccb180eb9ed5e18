import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { makeElf, makeNote, makePvhKernel, makePvKernel, u32 } from '../../tests/support/make-elf.ts';
import { COMMANDS } from './commands/index.ts';
import { FileProblem, type Host, type Stop } from './host.ts';
import type { Machine, RunObserver, RunOutcome, RunPlan } from './machine.ts';
import { main } from './main.ts';

const known = COMMANDS.map(({ name }) => name).join(', ');
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

interface Script {
  readonly output?: string;
  readonly outcome?: Partial<RunOutcome>;
  readonly behave?: (observer: RunObserver) => Promise<Partial<RunOutcome> | undefined>;
}

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly plan: RunPlan | undefined;
  readonly written: Readonly<Record<string, string>>;
}

const GOOD_CFG = 'name="g"\ntype="pvh"\nkernel="kernel"\nmemory=16\nvcpus=2\ncmdline="from cfg"\n';
const FILES: Readonly<Record<string, Uint8Array | 'directory' | 'secret'>> = {
  kernel: makePvhKernel(),
  folder: 'directory',
  secret: 'secret',
  empty: Uint8Array.of(),
  text: bytes('hello, this is no kernel\n'),
  binary: Uint8Array.of(1, 2, 3, 0, 4),
  short: makePvhKernel().subarray(0, 40),
  cut: makePvhKernel().subarray(0, 130),
  firmware: makeElf({ entry: 0x100000n, segments: [{ paddr: 0x100000, data: Uint8Array.of(0xf4) }] }),
  pvkernel: makeElf({
    segments: [
      { paddr: 0x100000, data: Uint8Array.of(1) },
      { type: 4, data: Uint8Array.of(...makeNote('Xen', 6, u32(0x41)), ...makeNote('Xen', 8, u32(0x42))) },
    ],
  }),
  pv64: makePvKernel(64),
  big: makeElf({
    segments: [
      { paddr: 0x100000, data: Uint8Array.of(1), memorySize: 64 << 20 },
      { type: 4, data: makeNote('Xen', 18, u32(0x100000)) },
    ],
  }),
  module: bytes('initrd'),
  'good.cfg': bytes(GOOD_CFG),
  guestfile: bytes(GOOD_CFG),
  'broken.cfg': bytes('name="g"\nkernel = kernel\n'),
  'pv64.cfg': bytes('name="g"\nkernel="pv64"\n'),
  'pv.cfg': bytes('name="g"\nkernel="kernel"\n'),
  'hvm.cfg': bytes('name="g"\ntype="hvm"\nfirmware_override="firmware"\nvcpus=129\n'),
  'huge.cfg': bytes('name="g"\ntype="pvh"\nkernel="kernel"\nmemory=9999\n'),
  'lost.cfg': bytes('name="g"\ntype="pvh"\nkernel="nowhere"\n'),
  'odd.cfg': bytes(`${GOOD_CFG}colour="blue"\n`),
};

async function xenolith(argv: string, script: Script = {}, stopped?: Stop): Promise<Result> {
  let out = '';
  let err = '';
  let plan: RunPlan | undefined;
  const written: Record<string, string> = {};
  let clock = 0;
  const host: Host = {
    stdout: (data) => {
      out += typeof data === 'string' ? data : new TextDecoder().decode(data);
    },
    stderr: (text) => {
      err += text;
    },
    readFile: (path) => {
      const file = FILES[path];
      if (file === undefined) throw new FileProblem(path, 'no such file');
      if (file === 'directory') throw new FileProblem(path, 'is a directory');
      if (file === 'secret') throw new FileProblem(path, 'permission denied');
      return file;
    },
    writeFile: (path, text) => {
      written[path] = text;
    },
    checkWritable: (path) => {
      if (path.includes('/')) throw new FileProblem(path, 'no such file');
    },
    decompress: (format, data) => (format === 'gzip' ? gunzipSync(data) : undefined),
    now: () => (clock += 100),
    wallClock: () => 0,
    breathe: async () => {},
    interpreter: async () => undefined,
    stack: (error) => error.stack ?? error.message,
    readInput: (onData) => {
      onData(bytes('typed'));
      return () => {};
    },
    stopped,
  };
  const machine: Machine = {
    versions: ['4.18', '4.19'],
    defaultVersion: '4.19',
    rules: [
      {
        name: 'some-rule',
        summary: 'a behaviour',
        source: 'abc123',
        values: ['on', 'off'],
        initial: 'off',
        changes: { '4.19': 'on' },
      },
    ],
    engines: ['auto', 'interpret'],
    maximumMemoryMib: 2048,
    run: async (given, observer) => {
      plan = given;
      if (script.output !== undefined) observer.console(bytes(script.output));
      const more = await script.behave?.(observer);
      return {
        end: 'shutdown',
        reason: 0,
        instructions: 42n,
        time: 1_500_000_000n,
        vcpus: [{ id: 0, rip: 0x100005n, state: 'running' }],
        ...script.outcome,
        ...more,
      };
    },
  };
  const code = await main(
    argv.split(' ').filter((word) => word !== ''),
    host,
    { commands: COMMANDS, machine: async () => machine },
  );
  return { code, out, err, plan, written };
}

for (const [argv, line] of [
  ['run nowhere', 'nowhere: no such file'],
  ['run folder', 'folder: is a directory'],
  ['run secret', 'secret: permission denied'],
  ['run empty', 'empty: the file is empty'],
  ['run text', 'text: neither a kernel image (ELF or bzImage) nor an xl configuration file'],
  ['run binary', 'binary: neither a kernel image (ELF or bzImage) nor an xl configuration file'],
  ['run short', 'short: ELF header is cut off: 40 of 52 bytes'],
  ['run cut', /^cut: segment 1 needs 20 bytes at 0x\w+, the file has 130$/],
  [
    'run firmware',
    /^firmware: no way in: it has neither a PVH entry note .*, and it has no Xen notes at all; .*--type hvm$/,
  ],
  ['run pvkernel', /its Xen notes are GUEST_OS, LOADER/],
  ['run firmware --type pvh', /^firmware: not a PVH kernel: no PHYS32_ENTRY note/],
  ['run big --memory 32', /^big: the image needs memory up to 65 MiB \(0x4100000\), the guest has 32 MiB$/],
  ['run kernel --memory 1', /^kernel: the image needs memory up to/],
  ['run kernel --memory 0', '--memory 0: must be a whole number from 1 to 2048'],
  ['run kernel --memory 9999', '--memory 9999: must be a whole number from 1 to 2048'],
  ['run kernel --vcpus 0', '--vcpus 0: must be a whole number from 1 to 8192'],
  ['run kernel --vcpus 129', 'kernel: 129 vCPUs: an HVM or PVH guest has 1 to 128'],
  ['run kernel --vcpus 8193', '--vcpus 8193: must be a whole number from 1 to 8192'],
  ['run kernel --vcpus two', '--vcpus two: must be a whole number from 1 to 8192'],
  ['run kernel --xen 3.4', '--xen 3.4: must be one of 4.18, 4.19'],
  ['run kernel --set some-rul=on', '--set some-rul=on: there is no rule some-rul; known are some-rule'],
  ['run kernel --set some-rule=maybe', '--set some-rule=maybe: the value of some-rule must be one of on, off'],
  ['run kernel --set some-rule', /the value of some-rule must be one of on, off$/],
  ['run kernel --engine fast', '--engine fast: must be one of auto, interpret'],
  [
    'run kernel --type pv',
    /^kernel: not a PV kernel: its Xen notes are PHYS32_ENTRY; it can be started as PVH \(type pvh\)$/,
  ],
  ['run kernel --type arm', '--type arm: must be one of pv, pvh, hvm'],
  ['run kernel --timeout soon', '--timeout soon: must be a number of seconds above 0, at most 1000000000'],
  ['run kernel --timeout 0', '--timeout 0: must be a number of seconds above 0, at most 1000000000'],
  ['run kernel --module nowhere', 'nowhere: no such file'],
  ['run kernel --junit nowhere/r.xml', 'nowhere/r.xml: no such file'],
  ['run kernel --memroy 5', 'unknown option --memroy; did you mean --memory?'],
  ['run kernel -x', 'unknown option -x'],
  ['run kernel --memory', 'option --memory needs a value (MIB)'],
  ['run kernel --memory --json', 'option --memory needs a value (MIB)'],
  ['run kernel --memory 1 --memory 2', 'option --memory is given twice'],
  ['run kernel --json=yes', 'option --json takes no value'],
  ['run', 'GUEST is missing'],
  ['run kernel another', 'unexpected argument another'],
  ['run broken.cfg', 'broken.cfg:2:10: expected a string, a number or a list, found kernel (a string needs quotes)'],
  ['run pv.cfg', /^kernel: not a PV kernel: its Xen notes are PHYS32_ENTRY/],
  ['run hvm.cfg', 'hvm.cfg: 129 vCPUs: an HVM or PVH guest has 1 to 128'],
  ['run huge.cfg', 'huge.cfg: memory = 9999 MiB is more than can be given here (2048 MiB)'],
  ['run lost.cfg', 'nowhere: no such file'],
  ['rum kernel', `unknown command rum; commands are ${known} (see xenolith --help)`],
  ['--fast', `unknown option --fast; commands are ${known} (see xenolith --help)`],
] as const) {
  test(`xenolith ${argv}: one line on stderr, exit code 2, nothing run`, async () => {
    const result = await xenolith(argv);
    assert.equal(result.code, 2, result.err);
    assert.equal(result.out, '');
    assert.equal(result.plan, undefined);
    assert.match(result.err, /^xenolith: [^\n]*\n$/);
    const message = result.err.slice('xenolith: '.length, -1);
    if (typeof line === 'string') assert.equal(message, line);
    else assert.match(message, line);
  });
}

test('xenolith run: stdout is the guest console and nothing else', async () => {
  const result = await xenolith('run kernel', { output: 'hello\n' });
  assert.deepEqual([result.code, result.out, result.err], [0, 'hello\n', '']);
});

for (const [words, code] of [
  ['SUCCESS', 0],
  ['SKIP', 3],
  ['ERROR', 4],
  ['FAILURE', 5],
  ['CRASH', 6],
] as const) {
  test(`xenolith run: the verdict ${words} gives exit code ${code}`, async () => {
    const result = await xenolith('run kernel', { output: `--- Xen Test Framework ---\nTest result: ${words}\n` });
    assert.equal(result.code, code);
    assert.equal(result.err, '');
  });
}

test('xenolith run: the verdict may come in pieces, lack its line end, and the last one counts', async () => {
  const behave = async (observer: RunObserver): Promise<undefined> => {
    for (const piece of ['Test result: FAIL', 'URE\nno Test result: CRASH\nTest re', 'sult: SKIP'])
      observer.console(bytes(piece));
    return undefined;
  };
  assert.equal((await xenolith('run kernel', { behave })).code, 3);
});

for (const [what, outcome, code, error] of [
  ['poweroff', { reason: 0 }, 0, /^$/],
  ['reboot', { reason: 1 }, 0, /^$/],
  ['crash', { reason: 3 }, 6, /the guest shut down \(crash\)/],
  ['watchdog', { reason: 4 }, 6, /watchdog/],
  [
    'triple fault',
    { reason: 1, message: 'triple fault on vCPU 0' },
    6,
    /the guest crashed: triple fault on vCPU 0\nxenolith: vCPU 0: running, at 0x100005\n/,
  ],
  ['timeout', { end: 'timeout' }, 6, /timeout: .* 1\.5 s of its time\nxenolith: vCPU 0: running, at 0x100005\n/],
  ['deadlock', { end: 'deadlock' }, 6, /every vCPU is blocked/],
] as const) {
  test(`xenolith run: without a verdict, ${what} gives exit code ${code}`, async () => {
    const result = await xenolith('run kernel', { outcome: outcome as Partial<RunOutcome> });
    assert.equal(result.code, code);
    assert.match(result.err, error);
  });
}

test('xenolith run: a timeout is exit code 6 whatever was printed before', async () => {
  assert.equal(
    (await xenolith('run kernel --timeout 1.5', { output: 'Test result: SUCCESS\n', outcome: { end: 'timeout' } }))
      .code,
    6,
  );
});

test('xenolith run: options reach the plan', async () => {
  const { plan, code } = await xenolith(
    'run kernel --vcpus 4 --memory 64 --xen 4.18 --set some-rule=off --engine interpret --timeout 2.5 --module module --cmdline quiet --trace hypercalls',
  );
  assert.equal(code, 0);
  assert.ok(plan);
  assert.deepEqual(
    [plan.image.vcpus, plan.image.maxVcpus, plan.memoryMib, plan.xen, plan.engine, plan.timeLimit],
    [4, 4, 64, '4.18', 'interpret', 2_500_000_000n],
  );
  assert.deepEqual(plan.rules, { 'some-rule': 'off' });
  assert.deepEqual(plan.trace, ['hypercalls']);
  assert.ok(plan.image.writes.some((write) => new TextDecoder().decode(write.bytes) === 'initrd'));
});

test('xenolith run: an xl file is known by its name or its look, and options override it', async () => {
  for (const file of ['good.cfg', 'guestfile']) {
    const { plan } = await xenolith(`run ${file}`);
    assert.deepEqual([plan?.name, plan?.memoryMib, plan?.image.vcpus], ['g', 16, 2]);
  }
  const { plan } = await xenolith('run good.cfg --vcpus 3 --memory 32');
  assert.deepEqual([plan?.memoryMib, plan?.image.vcpus, plan?.image.maxVcpus], [32, 3, 3]);
});

test('xenolith run: an unknown setting of an xl file is a warning with its line', async () => {
  const result = await xenolith('run odd.cfg');
  assert.deepEqual(
    [result.code, result.err],
    [0, 'xenolith: warning: odd.cfg:7:1: unknown setting colour is ignored\n'],
  );
});

test('xenolith run --type hvm: an image without notes is entered at its entry point', async () => {
  const { plan } = await xenolith('run firmware --type hvm');
  const { image } = plan!;
  assert.deepEqual([image.type, image.type === 'hvm' && image.entry.eip], ['hvm', 0x100000]);
});

test('xenolith run: a kernel with PV notes only is a PV guest, also by its configuration and with many vCPUs', async () => {
  for (const argv of ['run pv64', 'run pv64 --type pv', 'run pv64.cfg']) {
    const { plan, err } = await xenolith(argv);
    assert.deepEqual([plan?.image.type, err], ['pv64', '']);
  }
  const { plan } = await xenolith('run pv64 --vcpus 300');
  assert.equal(plan?.image.maxVcpus, 300);
});

test('xenolith run --json: stdout is one document', async () => {
  const result = await xenolith('run kernel --json', { output: 'hé\nTest result: SKIP\n' });
  assert.equal(result.code, 3);
  assert.deepEqual(JSON.parse(result.out), {
    exitCode: 3,
    verdict: 'skip',
    end: 'shutdown',
    shutdown: { reason: 0, name: 'poweroff', message: null },
    instructions: '42',
    guestTimeNs: '1500000000',
    vcpus: [{ id: 0, state: 'running', rip: '0x100005' }],
    console: 'hé\nTest result: SKIP\n',
  });
});

test('xenolith run --junit: the result is written as XML', async () => {
  const result = await xenolith('run kernel --junit r.xml', { output: '<a> & "b"\u0001\nTest result: FAILURE\n' });
  assert.equal(result.code, 5);
  const xml = result.written['r.xml'] ?? '';
  assert.match(xml, /<testsuite name="xenolith" tests="1" failures="1" errors="0" skipped="0" time="1\.500000">/);
  assert.match(xml, /<failure message="the guest shut down \(poweroff\)"\/>/);
  assert.match(xml, /&lt;a&gt; &amp; &quot;b&quot;\ufffd/);
});

test('xenolith run: emergency console and trace go to stderr', async () => {
  const behave = async (observer: RunObserver): Promise<undefined> => {
    observer.emergency(bytes('early\n'));
    observer.trace('d1v0 sched_op(shutdown)');
    return undefined;
  };
  const result = await xenolith('run kernel', { behave });
  assert.deepEqual([result.out, result.err], ['', 'early\nd1v0 sched_op(shutdown)\n']);
});

test('xenolith run --wall-timeout: ends the run with exit code 6', async () => {
  const behave = async (observer: RunObserver): Promise<Partial<RunOutcome>> => {
    let polls = 0;
    for (;;) {
      const answer = await observer.poll();
      if (answer !== undefined) return { end: answer === 'stop' ? 'stopped' : answer };
      assert.ok(++polls < 100);
    }
  };
  const result = await xenolith('run kernel --wall-timeout 1', { behave });
  assert.equal(result.code, 6);
  assert.match(result.err, /timeout/);
});

for (const [why, code, text] of [
  ['interrupt', 130, 'xenolith: interrupted\n'],
  ['terminate', 143, 'xenolith: interrupted\n'],
  ['broken-pipe', 141, ''],
] as const) {
  test(`xenolith run: ${why} ends the run with exit code ${code}`, async () => {
    const behave = async (observer: RunObserver): Promise<Partial<RunOutcome>> => ({
      end: (await observer.poll()) === 'stop' ? 'stopped' : 'shutdown',
    });
    const result = await xenolith('run kernel --json', { behave }, why);
    assert.deepEqual([result.code, result.out, result.err], [code, '', text]);
  });
}

test('xenolith run --input: what is typed reaches the machine once', async () => {
  const seen: string[] = [];
  const behave = async (observer: RunObserver): Promise<undefined> => {
    seen.push(new TextDecoder().decode(observer.input()), new TextDecoder().decode(observer.input()));
    return undefined;
  };
  await xenolith('run kernel --input', { behave });
  assert.deepEqual(seen, ['typed', '']);
  await xenolith('run kernel', { behave });
  assert.deepEqual(seen.slice(2), ['', '']);
});

test('xenolith: help and version go to stdout, a bare call gets help on stderr', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  assert.deepEqual(await xenolith('--version').then((r) => [r.code, r.out]), [0, `xenolith ${version}\n`]);
  for (const argv of ['--help', 'help', '-h']) {
    const result = await xenolith(argv);
    assert.equal(result.code, 0);
    assert.match(result.out, /^Usage: xenolith COMMAND/);
    assert.match(result.out, /\n {2}run +run a guest/);
  }
  for (const argv of ['help run', 'run --help', 'run kernel -h'])
    assert.match((await xenolith(argv)).out, /--wall-timeout SECONDS/);
  const bare = await xenolith('');
  assert.deepEqual([bare.code, bare.out], [2, '']);
  assert.match(bare.err, /^Usage/);
});

test('xenolith: a mistake of the project itself is exit code 1 and says so', async () => {
  const behave = async (): Promise<undefined> => {
    throw new RangeError('boom');
  };
  const result = await xenolith('run kernel', { behave });
  assert.equal(result.code, 1);
  assert.match(result.err, /^xenolith: this is a mistake in xenolith: RangeError: boom/);
});
