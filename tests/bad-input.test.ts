/** What a user or a guest can get wrong, through the whole program: one clear line or a clear end, never a hang or a stack trace. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeElf, makeNote, makePvhKernel, u32 } from './support/make-elf.ts';
import { runMain } from './support/run-main.ts';

const folder = mkdtempSync(join(tmpdir(), 'xenolith-'));
after(() => rmSync(folder, { recursive: true }));
const hello = fileURLToPath(new URL('../guests/images/hello64.elf', import.meta.url));

const file = (name: string, contents: string | Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, contents);
  return path;
};
const config = (name: string, ...lines: string[]): string =>
  file(name, ['name = "g"', 'type = "pvh"', `kernel = "${hello}"`, ...lines, ''].join('\n'));
const kernel = (name: string, ...code: number[]): string => file(name, makePvhKernel(Uint8Array.from(code)));

const noWayIn = makeElf({
  segments: [
    { paddr: 0x100000, data: Uint8Array.of(0xf4) },
    { type: 4, data: Uint8Array.of(...makeNote('Xen', 6, u32(0x41)), ...makeNote('Xen', 8, u32(0x42))) },
  ],
});
const large = makeElf({
  segments: [
    { paddr: 0x100000, data: Uint8Array.of(0xf4), memorySize: 64 << 20 },
    { type: 4, data: makeNote('Xen', 18, u32(0x100000)) },
  ],
});

for (const [what, argv, line] of [
  ['a file that is missing', () => [join(folder, 'nowhere')], /nowhere: no such file$/],
  ['a directory', () => [folder], /: is a directory$/],
  ['an empty file', () => [file('empty', '')], /empty: the file is empty$/],
  ['text', () => [file('text', 'hello, world\n')], /text: neither a kernel image .* nor an xl configuration file$/],
  ['an ELF header cut off', () => [file('cut', makePvhKernel().subarray(0, 30))], /ELF header is cut off: 30 of 52/],
  ['an ELF image cut off', () => [file('cut2', makePvhKernel().subarray(0, 130))], /segment 1 needs 20 bytes/],
  ['no way in', () => [file('notes', noWayIn)], /neither a PVH entry note .* its Xen notes are GUEST_OS, LOADER;/],
  ['an image larger than memory', () => [file('large', large), '--memory', '32'], /memory up to 65 MiB .* has 32 MiB$/],
  ['no vCPU', () => [hello, '--vcpus', '0'], /--vcpus 0: must be a whole number from 1 to 8192$/],
  ['129 vCPUs', () => [hello, '--vcpus', '129'], /129 vCPUs: an HVM or PVH guest has 1 to 128$/],
  ['a negative number', () => [hello, '--vcpus', '-1'], /--vcpus -1: must be a whole number/],
  ['no vCPU in a configuration', () => [config('v0.cfg', 'vcpus = 0')], /v0.cfg: 0 vCPUs: .* 1 to 128$/],
  ['129 vCPUs in a configuration', () => [config('v129.cfg', 'vcpus = 129')], /v129.cfg: 129 vCPUs: .* 1 to 128$/],
  [
    'more vCPUs than there is room for',
    () => [hello.replace('hello64', 'hellopv64'), '--vcpus', '8192'],
    /cannot be created: \d+ MiB of guest memory, \d+ MiB for its vCPUs .* more than 4 GiB; give it fewer vCPUs or less memory$/,
  ],
  ['no memory', () => [hello, '--memory', '0'], /--memory 0: must be a whole number from 1 to 4000$/],
  ['memory too small', () => [hello, '--memory', '1'], /the image needs memory up to 1\.1 MiB/],
  ['memory too large', () => [hello, '--memory', '4001'], /--memory 4001: must be a whole number from 1 to 4000$/],
  ['absurd memory', () => [hello, '--memory', '9'.repeat(30)], /must be a whole number from 1 to 4000$/],
  ['no memory in a configuration', () => [config('m0.cfg', 'memory = 0')], /m0.cfg: memory = 0: .* at least 1 MiB$/],
  [
    'too much in a configuration',
    () => [config('m.cfg', 'memory = 4096')],
    /memory = 4096 MiB is more than can be given/,
  ],
  ['a broken configuration', () => [config('broken.cfg', 'memory = lots')], /broken.cfg:4:10: expected .*found lots/],
  ['an open string', () => [config('string.cfg', 'cmdline = "x')], /string.cfg:4:11: string is not closed/],
  ['an open list', () => [config('list.cfg', 'disk = [')], /list.cfg:5:1: expected .* found the end of the file$/],
  ['an impossible type', () => [file('t.cfg', 'name="g"\ntype="vm"\n')], /t.cfg:2:6: type = "vm" is none of/],
  [
    'fewer vCPUs at most than at start',
    () => [config('max.cfg', 'vcpus = 4', 'maxvcpus = 2')],
    /max.cfg:5:12: maxvcpus/,
  ],
  ['a ramdisk that is missing', () => [config('rd.cfg', `ramdisk = "${folder}/no"`)], /no: no such file$/],
  ['no event channels', () => [config('ports.cfg', 'max_event_channels = 1')], /max_event_channels = 1: .* need 2 /],
  ['CPUID text nobody knows', () => [config('cpuid.cfg', 'cpuid = "nonsense"')], /cpuid: "nonsense"/],
  ['an unknown release', () => [hello, '--xen', '3.4'], /--xen 3\.4: must be one of 4\.17, /],
  ['an unknown rule', () => [hello, '--set', 'no=1'], /--set no=1: there is no rule no;/],
  ['no time', () => [hello, '--timeout', '0'], /--timeout 0: must be a number of seconds above 0/],
  ['endless time', () => [hello, '--timeout', '1e99'], /--timeout 1e99: must be a number of seconds/],
  ['a module that is missing', () => [hello, '--module', join(folder, 'no')], /no: no such file$/],
  ['a module that is a directory', () => [hello, '--module', folder], /is a directory$/],
  ['a report in no directory', () => [hello, '--junit', join(folder, 'no', 'r.xml')], /r\.xml: no such file$/],
  ['a report that is a directory', () => [hello, '--junit', folder], /is a directory$/],
  ['an option twice', () => [hello, '--memory', '64', '--memory', '32'], /option --memory is given twice$/],
  ['a name without a file', () => [''], /^'': no such file$/],
] as const) {
  test(`xenolith run with ${what}: one line, exit code 2, nothing run`, async () => {
    const { code, out, err } = await runMain(['run', ...argv()]);
    assert.equal(code, 2, err);
    assert.equal(out, '');
    assert.match(err, /^xenolith: [^\n]*\n$/);
    assert.match(err.slice('xenolith: '.length, -1), line);
  });
}

const SPIN = [0xeb, 0xfe];
const LOOPS = [
  ['that jumps to itself', SPIN],
  // mov ecx, -1; rep stosb to nowhere; jmp
  ['that repeats a string instruction', [0xb9, 0xff, 0xff, 0xff, 0xff, 0xbf, 0, 0, 0, 0x40, 0xf3, 0xaa, 0xeb, 0xf2]],
  // VCPUOP_up of vCPU 0 for ever: mov eax, 24; mov ebx, 1; xor ecx, ecx; vmcall; jmp
  ['that calls the hypervisor', [0xb8, 24, 0, 0, 0, 0xbb, 1, 0, 0, 0, 0x31, 0xc9, 0x0f, 0x01, 0xc1, 0xeb, 0xef]],
] as const;

for (const [what, code] of LOOPS) {
  test(`a guest ${what} ends at --timeout with the place of every vCPU`, async () => {
    const result = await runMain([
      'run',
      kernel('loop', ...code),
      '--timeout',
      '0.01',
      '--vcpus',
      '2',
      '--memory',
      '4',
    ]);
    assert.equal(result.code, 6);
    assert.match(
      result.err,
      /^xenolith: timeout: .* 0\.01\d* s of its time\nxenolith: vCPU 0: online, at 0x1000[0-9a-f]{2}\nxenolith: vCPU 1: down, at 0x[0-9a-f]+\n$/,
    );
  });

  test(`a guest ${what} ends at --wall-timeout with the place of every vCPU`, async () => {
    const result = await runMain(['run', kernel('loop', ...code), '--wall-timeout', '0.05', '--memory', '4']);
    assert.equal(result.code, 6);
    assert.match(result.err, /^xenolith: timeout: .*\nxenolith: vCPU 0: online, at 0x1000[0-9a-f]{2}\n$/);
  });
}

test('a guest that waits ends at --timeout while it waits, and at --wall-timeout when it never stops', async () => {
  const code = new Uint8Array(0x50);
  // mov eax, 29 (sched_op); mov ebx, 3 (poll); mov ecx, 0x100040; vmcall; jmp: no port, until 1 s of system time.
  code.set([0xb8, 29, 0, 0, 0, 0xbb, 3, 0, 0, 0, 0xb9, 0x40, 0, 0x10, 0, 0x0f, 0x01, 0xc1, 0xeb, 0xec]);
  code.set([0x00, 0xca, 0x9a, 0x3b], 0x48);
  const image = kernel('wait', ...code);
  const guestTime = await runMain(['run', image, '--timeout', '0.5', '--memory', '4']);
  assert.equal(guestTime.code, 6);
  assert.match(guestTime.err, /^xenolith: timeout: .* 0\.5 s of its time\nxenolith: vCPU 0: online, at 0x100012\n$/);
  const wall = await runMain(['run', image, '--wall-timeout', '0.1', '--memory', '4']);
  assert.equal(wall.code, 6);
  assert.match(wall.err, /^xenolith: timeout: .*\nxenolith: vCPU 0: online, at 0x1000[0-9a-f]{2}\n$/);
});

test('a guest that makes long hypercalls all the time ends at --wall-timeout', async () => {
  const code = new Uint8Array(0x1000);
  // mov eax, 13 (multicall); mov ebx, 0x100200; mov ecx, 60; vmcall; jmp: sixty times xen_version.
  code.set([0xb8, 13, 0, 0, 0, 0xbb, 0, 2, 0x10, 0, 0xb9, 60, 0, 0, 0, 0x0f, 0x01, 0xc1, 0xeb, 0xec]);
  for (let entry = 0; entry < 60; entry++) code[0x200 + entry * 32] = 17;
  const started = performance.now();
  const result = await runMain(['run', kernel('long', ...code), '--wall-timeout', '0.1', '--memory', '4']);
  assert.match(result.err, /^xenolith: timeout: /);
  assert.ok(performance.now() - started < 10_000);
});

for (const [what, code, exit, error] of [
  [
    'that faults without handlers',
    [0x0f, 0x0b],
    6,
    /^xenolith: the guest crashed: triple fault on vCPU 0\nxenolith: vCPU 0: online, at 0x100000\n$/,
  ],
  // An interrupt table of length 0, then a breakpoint: sub esp, 8; lidt [esp]; int3
  [
    'whose interrupt table is empty',
    [0xbc, 0, 0, 0x20, 0, 0x0f, 0x01, 0x1c, 0x24, 0xcc],
    6,
    /^xenolith: the guest crashed: triple fault/,
  ],
  ['that halts with interrupts off', [0xfa, 0xf4], 0, /^$/],
  ['that halts with interrupts on and nothing to come', [0xfb, 0xf4], 6, /^xenolith: every vCPU is blocked or down/],
  ['that jumps into nothing', [0xb8, 0, 0, 0, 0x70, 0xff, 0xe0], 6, /^xenolith: the guest crashed: triple fault/],
] as const) {
  test(`a guest ${what} ends with exit code ${exit}`, async () => {
    const result = await runMain(['run', kernel('end', ...code), '--memory', '4', '--timeout', '10']);
    assert.match(result.err, error);
    assert.deepEqual([result.code, result.out], [exit, '']);
  });
}
