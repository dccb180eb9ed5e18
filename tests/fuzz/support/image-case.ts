/** Damaged images, notes, bzImage headers and configuration files through the whole command line. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { FileProblem } from '../../../src/cli/host.ts';
import type { Random } from '../../conformance/support/random.ts';
import { type ElfPart, makeElf, makeNote, makePvhKernel, makePvKernel, u32, u64 } from '../../support/make-elf.ts';
import { runMain } from '../../support/run-main.ts';
import { interesting } from './random-code.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const images = globSync('guests/images/*.elf', { cwd: root })
  .sort()
  .map((name) => readFileSync(`${root}/${name}`));

const randomBytes = (random: Random, most: number): Uint8Array =>
  Uint8Array.from({ length: random.below(most) }, () => random.u8());

/** Changes some bytes or words, most of them in the headers, and sometimes the length. */
function damage(random: Random, whole: Uint8Array, header: number): Uint8Array {
  const bytes = whole.slice();
  const view = new DataView(bytes.buffer);
  for (let n = random.below(6); n >= 0; n--) {
    const limit = Math.min(bytes.length, random.once(4) ? bytes.length : header);
    const at = random.below(limit - 8);
    switch (random.below(4)) {
      case 0:
        view.setUint8(at, random.u8());
        break;
      case 1:
        view.setUint16(at & ~1, Number(interesting(random) & 0xffffn), true);
        break;
      case 2:
        view.setUint32(at & ~3, Number(interesting(random) & 0xffff_ffffn), true);
        break;
      default:
        view.setBigUint64(at & ~7, BigInt.asUintN(64, interesting(random)), true);
    }
  }
  return random.once(6) ? bytes.subarray(0, random.below(bytes.length)) : bytes;
}

function someElf(random: Random): Uint8Array {
  const size = (): number => Number(interesting(random) & 0xffff_ffffn);
  const part = (): ElfPart => {
    const entry = random.once(2) ? u32(random.once(2) ? 0x100000 : size()) : u64(interesting(random));
    const note = makeNote(random.pick(['Xen', 'Xen', 'GNU', '']), random.pick([18, 18, 6, random.u32()]), entry);
    return random.once(2)
      ? { type: 4, data: random.once(4) ? damage(random, note, note.length) : note }
      : {
          paddr: random.once(3) ? size() : 0x100000 + random.below(16) * 0x1000,
          data: randomBytes(random, 64),
          ...(random.once(2) ? { memorySize: size() } : {}),
        };
  };
  return makeElf({
    bits: random.pick([32, 64]),
    segments: Array.from({ length: random.below(5) }, part),
    noteSections: random.once(3) ? [makeNote('Xen', 18, u32(0x100000))] : [],
  });
}

/** A PV kernel with notes of its own: numbers, `yes`, features. */
function somePv(random: Random): Uint8Array {
  const value = (): Uint8Array => {
    if (random.once(3))
      return Uint8Array.from(`${random.pick(['yes', 'no', '!dom0', 'linux', ''])}\0`, (c) => c.charCodeAt(0));
    return random.once(2) ? u64(BigInt.asUintN(64, interesting(random))) : u64(BigInt(random.below(64)) << 12n);
  };
  const paddr = random.once(3) ? Number(interesting(random) & 0xffff_ffffn) : random.below(512) << 12;
  return makePvKernel(random.pick([32, 64]), {
    notes: Array.from({ length: random.below(4) }, () => makeNote('Xen', 1 + random.below(18), value())),
    bare: random.once(6),
    paddr,
    code: randomBytes(random, 64),
    memorySize: 64 + random.below(1 << 16),
    sections: random.once(2)
      ? []
      : Array.from({ length: 3 }, () => ({
          type: random.below(4),
          link: random.below(4),
          data: randomBytes(random, 64),
        })),
  });
}

function bzImage(random: Random): Uint8Array {
  const payload = random.once(4) ? randomBytes(random, 200) : gzipSync(random.pick(images));
  const bytes = new Uint8Array(1024 + payload.length);
  const view = new DataView(bytes.buffer);
  bytes.set(payload, 1024);
  view.setUint8(0x1f1, 1);
  view.setUint16(0x1fe, 0xaa55, true);
  bytes.set([0x48, 0x64, 0x72, 0x53], 0x202);
  view.setUint16(0x206, 0x20f, true);
  view.setUint32(0x248, 0, true);
  view.setUint32(0x24c, payload.length, true);
  return random.once(3) ? damage(random, bytes, 0x260) : bytes;
}

const KEYS = [
  'name', 'type', 'builder', 'kernel', 'firmware_override', 'memory', 'maxmem', 'vcpus', 'maxvcpus', 'cmdline', 'extra', 'root',
  'ramdisk', 'hap', 'cpuid', 'viridian', 'nestedhvm', 'on_crash', 'on_poweroff', 'uuid', 'disk', 'vif', 'max_event_channels',
  'max_grant_frames', 'tsc_mode', 'colour',
]; // biome-ignore format: a list of words
const VALUES = [
  '"g"', '"pvh"', '"hvm"', '"pv"', '"kernel"', '"nowhere"', "'x'", '1', '0', '2', '16', '64', '129', '4096', '-1', '0x10', '1e9', '99999999999999999999',
  '[]', '["a","b"]', '[1,', '"host"', '"host,htt=0"', '"destroy"', '"preserve"', '"always_emulate"', '["defaults"]', '"', '\\', '\0', '"é"', '""', '{', '(1)', '+',
]; // biome-ignore format: a list of words

function configuration(random: Random): string {
  const lines = ['name = "g"', 'type = "pvh"', 'kernel = "kernel"', 'memory = 8'];
  for (let n = random.below(6); n > 0; n--) {
    const line = `${random.pick(KEYS)}${random.pick(['=', ' = ', '+=', '', ' '])}${random.pick(VALUES)}`;
    lines.splice(random.below(lines.length + 1), random.below(2), line);
  }
  let text = lines.join(random.pick(['\n', '\n', '\r\n', ';', ' ']));
  for (let n = random.once(2) ? random.below(4) : 0; n > 0; n--) {
    const at = random.below(text.length);
    text =
      text.slice(0, at) +
      String.fromCharCode(random.once(2) ? random.below(128) : random.u32() & 0xffff) +
      text.slice(at + random.below(2));
  }
  return text;
}

function someFile(random: Random): Uint8Array {
  switch (random.below(8)) {
    case 0:
      return random.once(2)
        ? randomBytes(random, 400)
        : Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, ...randomBytes(random, 400));
    case 1:
      return random.once(2) ? someElf(random) : somePv(random);
    case 2:
      return bzImage(random);
    case 3:
      return damage(random, gzipSync(random.pick(images)), 64);
    case 4:
    case 5:
      return new TextEncoder().encode(configuration(random));
    default:
      return damage(random, random.pick(images), 256);
  }
}

/** Runs one case; says its exit code. Throws when the answer was not as promised. */
export async function fuzzCase(random: Random): Promise<string> {
  const guest = someFile(random);
  const kernel = random.once(4) ? someFile(random) : makePvhKernel();
  const files: Readonly<Record<string, Uint8Array>> = {
    guest,
    'guest.cfg': guest,
    kernel,
    module: randomBytes(random, 5000),
  };
  const options = ['--timeout', '0.002', '--wall-timeout', '5'];
  if (!random.once(4)) options.push('--memory', String(random.pick([2, 4, 8, 16, 33])));
  if (random.once(4)) options.push('--vcpus', String(1 + random.below(4)));
  if (random.once(4)) options.push('--type', random.pick(['hvm', 'pvh', 'pv']));
  if (random.once(4)) options.push('--module', random.pick(['module', 'guest']));
  if (random.once(8)) options.push('--cmdline', 'x'.repeat(random.below(6000)));
  if (random.once(8)) options.push('--json');
  const name = random.once(8) ? 'guest.cfg' : 'guest';
  const { code, out, err } = await runMain(['run', name, ...options], {
    readFile: (path) => {
      const file = files[path];
      if (file === undefined) throw new FileProblem(path, 'no such file');
      return file;
    },
  });
  assert.ok([0, 2, 3, 4, 5, 6].includes(code), `exit code ${code}: ${err}`);
  assert.doesNotMatch(err, /mistake in xenolith|^ {4}at /m);
  if (code === 2) {
    assert.equal(out, '');
    assert.match(err, /^(?:xenolith: warning: [^\n]*\n)*xenolith: [^\n]*\n$/);
    assert.ok(err.length < 2000, `long lines: ${err}`);
  }
  return `exit code ${code}`;
}
