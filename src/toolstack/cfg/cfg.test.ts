import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BadInput } from '../bad-input.ts';
import { type DomainConfig, readConfig } from './config.ts';
import { type CfgValue, parseCfg } from './parse.ts';

const simple = (value: CfgValue): unknown => (value.kind === 'list' ? value.items.map(simple) : value.text);
const plain = (source: string): Record<string, unknown> =>
  Object.fromEntries(parseCfg('f', source).map((setting) => [setting.name, simple(setting.value)]));
const read = (source: string): DomainConfig => readConfig('g.cfg', `name="g"\n${source}`);
const problem = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof BadInput, String(error));
    return error.message;
  }
  return 'accepted';
};

test('xl.cfg: strings, numbers, lists, comments, semicolons and += are read', () => {
  const source = `# head\na = "x" ; b='y"z' # tail\nc=0x1f;d = [ "p",\n 'q', # inside\n [1,2],\n]\n\ne = "one"\ne += " two"\nd += ["r"]\n`;
  assert.deepEqual(plain(source), { a: 'x', b: 'y"z', c: '0x1f', d: ['p', 'q', ['1', '2'], 'r'], e: 'one two' });
});

test('xl.cfg: escapes of strings are C escapes', () => {
  assert.deepEqual(plain(String.raw`a="\x41\102\n\\\"" `), { a: 'AB\n\\"' });
});

test('xl.cfg: a later setting replaces an earlier one', () => {
  assert.equal(read('vcpus=1\nvcpus = 3').vcpus, 3);
});

for (const [source, message] of [
  ['a = "x', 'f:1:5: string is not closed on its line'],
  ['\n\na = x', 'f:3:5: expected a string, a number or a list, found x (a string needs quotes)'],
  ['a "x"', 'f:1:3: expected = behind a, found "x"'],
  ['a = [ "x" "y" ]', 'f:1:11: expected a comma or ], found "y"'],
  ['a = [ "x",\n', 'f:2:1: expected a string, a number or a list, found the end of the file'],
  ['a = [ "x"\n', 'f:2:1: expected a comma or ], found the end of the file (the list was opened in line 1)'],
  ['a = 1 2', 'f:1:7: expected the end of the line behind the value of a, found 2'],
  ['A = 1', 'f:1:1: unexpected A: names are lower case, strings are quoted'],
  ['a = (1)', 'f:1:5: unexpected ( (Python expressions are not part of the format)'],
  ['a = "\\q"', 'f:1:6: unknown escape \\q in a string'],
  ['a = []\na += "x"', 'f:2:1: a += mixes a list with a string'],
  ['= 1', 'f:1:1: expected the name of a setting, found ='],
] as const) {
  test(`xl.cfg: ${JSON.stringify(source)} is refused with its place`, () => {
    assert.equal(
      problem(() => parseCfg('f', source)),
      message,
    );
  });
}

test('xl.cfg: an HVM file of the test framework gives its domain', () => {
  const config = readConfig(
    't.cfg',
    'name="test-hvm64-x"\n\nvcpus=3\n\ntype="hvm"\nbuilder="hvm" # Legacy\n\nmemory=128\nfirmware_override="/xtf/test-hvm64-x"\non_reboot = "destroy"\nviridian = [ "base", "reference_tsc" ]\nhap=1\nmax_event_channels=4096\n',
  );
  assert.deepEqual(config, {
    name: 'test-hvm64-x',
    type: 'hvm',
    firmware: '/xtf/test-hvm64-x',
    memoryMib: 128,
    maxMemoryMib: 128,
    vcpus: 3,
    maxVcpus: 3,
    viridian: ['base', 'reference_tsc'],
    cpuid: [],
    maxEventChannels: 4096,
    onSoftReset: 'soft-reset',
    warnings: [],
  });
});

test('xl.cfg: the type comes from type, then builder, then is pv', () => {
  assert.equal(read('').type, 'pv');
  assert.equal(read('builder="hvm"').type, 'hvm');
  assert.equal(read('builder="hvm"\ntype="pvh"').type, 'pvh');
  assert.equal(
    problem(() => read('type="pvm"')),
    'g.cfg:2:6: type = "pvm" is none of pv, pvh, hvm',
  );
});

test('xl.cfg: cmdline overrules root and extra, which otherwise join', () => {
  assert.equal(read('root="/dev/x"\nextra="quiet"').cmdline, 'root=/dev/x quiet');
  assert.equal(read('extra="quiet"').cmdline, 'quiet');
  const config = read('cmdline="a"\nextra="b"');
  assert.equal(config.cmdline, 'a');
  assert.deepEqual(config.warnings, ['g.cfg:3:1: extra is ignored in favour of cmdline']);
});

test('xl.cfg: numbers are decimal, hexadecimal or octal, quoted or not', () => {
  assert.equal(read('memory=0x80').memoryMib, 128);
  assert.equal(read('memory="64"').memoryMib, 64);
  assert.equal(read('vcpus=010').vcpus, 8);
  assert.equal(
    problem(() => read('memory=12ab')),
    'g.cfg:2:8: memory: "12ab" is not a number',
  );
  assert.equal(
    problem(() => read('memory=[1]')),
    'g.cfg:2:8: memory: expected a string, found a list',
  );
});

test('xl.cfg: memory and maxmem, vcpus and maxvcpus fill in for each other', () => {
  assert.deepEqual([read('').memoryMib, read('maxmem=64').memoryMib, read('memory=16').maxMemoryMib], [32, 64, 16]);
  assert.deepEqual([read('maxvcpus=4').vcpus, read('maxvcpus=4').maxVcpus], [1, 4]);
  assert.equal(
    problem(() => read('vcpus=4\nmaxvcpus=2')),
    'g.cfg:3:10: maxvcpus = 2 is less than vcpus = 4',
  );
  assert.equal(
    problem(() => read('memory=4\nmaxmem=2')),
    'g.cfg:3:8: maxmem = 2 is less than memory = 4',
  );
});

test('xl.cfg: unknown and unsupported settings warn with their line, others pass silently', () => {
  assert.deepEqual(read('vnc=1\nfoo=1\ndisk=["a"]\nvif=[]').warnings, [
    'g.cfg:3:1: unknown setting foo is ignored',
    'g.cfg:4:1: disk is not supported and is ignored',
  ]);
});

test('xl.cfg: what this machine cannot be without warns when it is asked away, and the other way round', () => {
  assert.deepEqual(read('hap=0\nnx=1\ntsc_mode="default"\non_reboot="restart"').warnings, []);
  assert.deepEqual(read('nestedhvm=1\napic=0\ntsc_mode="native"').warnings, [
    'g.cfg:2:11: nestedhvm cannot be changed here; the setting is ignored',
    'g.cfg:3:6: apic cannot be changed here; the setting is ignored',
    'g.cfg:4:10: tsc_mode cannot be changed here; the setting is ignored',
  ]);
  assert.deepEqual([read('hvm_pirq=1').pirqs, read('max_maptrack_frames=8').maxMaptrackFrames], [true, 8]);
});

test('xl.cfg: a file without a name, or with an unknown action, is refused', () => {
  assert.equal(
    problem(() => readConfig('g.cfg', 'vcpus=1')),
    'g.cfg: name is missing',
  );
  assert.match(
    problem(() => read('on_crash="explode"')),
    /^g\.cfg:2:10: on_crash: "explode" is none of destroy/,
  );
});

test('xl.cfg: viridian is a truth value or a list of groups', () => {
  assert.deepEqual(
    [read('viridian=1').viridian, read('viridian=0').viridian, read('viridian=["base"]').viridian],
    [['defaults'], [], ['base']],
  );
});
