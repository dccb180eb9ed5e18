/**
 * Records what this machine's processor does with the x87, MMX and SSE rows into src/cpu/fpu/native-vectors.json.
 * Needs an x86-64 host with gcc: `node tools/fpu-vectors.ts`.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { changes, type VectorCase, type VectorState, vectorCases } from '../src/cpu/fpu/native-vectors.ts';
import { sseRows } from '../src/cpu/isa/sse.ts';
import { x87Rows } from '../src/cpu/isa/x87.ts';

const SEED = Number(process.argv[2] ?? 20240301);
const PER_FORM = Number(process.argv[3] ?? 6);
const OUT = process.argv[4] ?? new URL('../src/cpu/fpu/native-vectors.json', import.meta.url).pathname;

/** FXSAVE image of a state. */
const image = (s: VectorState): Buffer => {
  const b = Buffer.alloc(512);
  b.writeUInt16LE(s.control, 0);
  b.writeUInt16LE(s.status, 2);
  b.writeUInt8(s.tag, 4);
  b.writeUInt32LE(s.mxcsr, 24);
  const top = (s.status >> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const [significand, signExponent] = s.st[(top + i) & 7];
    b.writeBigUInt64LE(significand, 32 + i * 16);
    b.writeUInt16LE(signExponent, 40 + i * 16);
  }
  s.xmm.forEach((v, i) => void b.writeBigUInt64LE(v, 160 + i * 8));
  return b;
};

const parse = (line: string, before: VectorState): VectorState => {
  const [fx, rax, rcx, rdx, flags, memory] = line.split(' ');
  const b = Buffer.from(fx, 'hex'),
    m = Buffer.from(memory, 'hex');
  const status = b.readUInt16LE(2);
  const top = (status >> 11) & 7;
  const st: VectorState['st'] = before.st.map(() => [0n, 0]);
  for (let i = 0; i < 8; i++) st[(top + i) & 7] = [b.readBigUInt64LE(32 + i * 16), b.readUInt16LE(40 + i * 16)];
  return {
    control: b.readUInt16LE(0),
    status,
    tag: b.readUInt8(4),
    mxcsr: b.readUInt32LE(24),
    st,
    xmm: before.xmm.map((_, i) => b.readBigUInt64LE(160 + i * 8)),
    rax: BigInt(`0x${rax}`),
    rcx: BigInt(`0x${rcx}`),
    rdx: BigInt(`0x${rdx}`),
    flags: Number(`0x${flags}`),
    memory: before.memory.map((_, i) => m.readBigUInt64LE(i * 8)),
  };
};

const hexLine = ({ bytes, state }: VectorCase): string => {
  const m = Buffer.alloc(32);
  state.memory.forEach((v, i) => void m.writeBigUInt64LE(v, i * 8));
  const numbers = [state.rax, state.rcx, state.rdx, BigInt(state.flags)].map((n) => n.toString(16)).join(' ');
  return `${Buffer.from(bytes).toString('hex')} ${image(state).toString('hex')} ${numbers} ${m.toString('hex')}`;
};

const binary = join(mkdtempSync(join(tmpdir(), 'fpu-')), 'fpu-vectors');
execFileSync('gcc', ['-O1', '-o', binary, new URL('fpu-vectors.c', import.meta.url).pathname]);
const cases = vectorCases([...x87Rows(), ...sseRows()], SEED, PER_FORM);
const output = execFileSync(binary, { input: cases.map(hexLine).join('\n'), maxBuffer: 1 << 30 })
  .toString()
  .trim()
  .split('\n');
if (output.length !== cases.length) throw new Error(`${cases.length} cases gave ${output.length} answers`);
const model = /model name\s*: (.*)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
const results = cases.map((c, i) => {
  if (output[i] === 'fault') return 'fault';
  const raised = output[i].endsWith(' 1');
  return `${raised ? 'raised ' : ''}${changes(c.state, parse(output[i], c.state))}`;
});
const lines = results.map((text) => `    ${JSON.stringify(text)}`).join(',\n');
writeFileSync(
  OUT,
  `{\n  "processor": ${JSON.stringify(model)},\n  "seed": ${SEED},\n  "perForm": ${PER_FORM},\n  "results": [\n${lines}\n  ]\n}\n`,
);
console.log(`${cases.length} cases, ${results.filter((x) => x === 'fault').length} faults`);
