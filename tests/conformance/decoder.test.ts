/**
 * The decoder against an independent one: same bytes, same answer to "is this an instruction" and "how long is it".
 *
 * XENOLITH_FUZZ is the number of byte strings per mode, XENOLITH_SEED the seed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code, Mnemonic, Decoder as Reference } from 'iced-x86';
import { type CodeSize, Decoder } from '../../src/cpu/decode/decoder.ts';
import { randomInstruction } from './support/instruction-bytes.ts';
import { MODEL_FEATURES, MODEL_OPTIONS } from './support/model.ts';
import { Random } from './support/random.ts';

const COUNT = Number(process.env['XENOLITH_FUZZ'] ?? 60_000);
/** Bytes of one case: the longest instruction and one more. */
const SLOT = 16;
const CHUNK = 4096;

/**
 * Instructions the model has although the rest of their extension is missing. VMGEXIT is VMMCALL with a repeat prefix: processors without
 * encrypted guests execute it as VMMCALL.
 */
const ALSO_IN_MODEL: ReadonlySet<number> = new Set([Code.Vmcall, Code.Vmmcall, Code.Vmgexit, Code.Vmgexit_F2]);

interface Difference {
  readonly bytes: string;
  readonly expected: string;
  readonly found: string;
}

const hexOf = (bytes: Uint8Array): string => [...bytes].map((b) => b.toString(16).padStart(2, '0')).join(' ');

/** Differences among `count` slots of `bytes`. */
const compare = (bytes: Uint8Array, codeSize: CodeSize, decoder: Decoder): Difference[] => {
  const out: Difference[] = [];
  const reference = new Reference(codeSize, bytes, MODEL_OPTIONS);
  for (let at = 0; at < bytes.length; at += SLOT) {
    reference.position = at;
    const instruction = reference.decode();
    const valid =
      instruction.code !== Code.INVALID &&
      (ALSO_IN_MODEL.has(instruction.code) || instruction.cpuidFeatures().every((f) => MODEL_FEATURES.has(f)));
    const result = decoder.decode(bytes, at, at + SLOT, codeSize);
    const length = typeof result === 'string' ? 0 : result.length;
    if (length !== (valid ? instruction.length : 0)) {
      out.push({
        bytes: hexOf(bytes.subarray(at, at + SLOT)),
        expected: `${Code[instruction.code]} ${Mnemonic[instruction.mnemonic]} ${valid ? instruction.length : 'undefined'}`,
        found: typeof result === 'string' ? result : `${result.row.name} '${result.row.encoding}' ${length}`,
      });
    } else if (typeof result !== 'string') {
      // Any shorter prefix of an instruction asks for more bytes.
      const cut = at + ((at / SLOT) % length);
      const short = decoder.decode(bytes, at, cut, codeSize);
      if (short !== 'more')
        out.push({
          bytes: hexOf(bytes.subarray(at, cut)),
          expected: 'more',
          found: typeof short === 'string' ? short : short.row.name,
        });
    }
    instruction.free();
  }
  reference.free();
  return out;
};

const random = Random.fromEnvironment();

for (const codeSize of [16, 32, 64] as const) {
  test(`decoder: agrees on validity and length with a reference in ${codeSize}-bit code (seed ${random.seed})`, () => {
    const decoder = new Decoder({ forcedEmulation: false });
    const bytes = new Uint8Array(CHUNK * SLOT);
    const differences: Difference[] = [];
    for (let done = 0; done < COUNT; done += CHUNK) {
      for (let at = 0; at < bytes.length; at += SLOT) randomInstruction(random, codeSize, bytes, at, SLOT);
      differences.push(...compare(bytes, codeSize, decoder));
    }
    // One of each kind is enough to read.
    const kinds = new Map(
      differences.map((d) => [
        `${d.expected} ${d.found}`.replaceAll(/\b\d+\b/g, 'n'),
        `${d.bytes}: expected ${d.expected}, found ${d.found}`,
      ]),
    );
    assert.ok(kinds.size === 0, `${differences.length} differences\n${[...kinds.values()].slice(0, 60).join('\n')}`);
  });
}
