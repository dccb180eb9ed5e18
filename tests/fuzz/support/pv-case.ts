/** One run of random code as the kernel and the user of a PV guest, with hypercalls of every quality in between. */
import assert from 'node:assert/strict';
import { STATE as S } from '../../../src/cpu/index.ts';
import { type InterpreterModules, interpreterModules } from '../../../src/cpu/interpret/instance.ts';
import { ABSENT, CODE, HANDLER, PvBench, READ_ONLY, TABLE, USER_CODE } from '../../../src/xen/pv/testing.ts';
import type { Random } from '../../conformance/support/random.ts';
import { interesting, randomCode } from './random-code.ts';

let interpreter: InterpreterModules | undefined;

const ROUNDS = 6;
const CODE_BYTES = 1024;
/** Pages of data, edges of what is mapped, the hypervisor's range of both widths. */
const PLACES = [
  0n,
  0x5000n,
  0x8000n,
  READ_ONLY,
  ABSENT,
  TABLE,
  0xf580_0000n,
  0x7fff_ffff_f000n,
  0x8000_0000_0000n,
  0xffff_8000_0000_0000n,
  0xffff_8300_0000_0000n,
  0xffff_8800_0000_0000n,
];

function value(random: Random, bench: PvBench): bigint {
  switch (random.below(4)) {
    case 0:
      return random.pick(PLACES) + BigInt(random.below(64)) * 8n;
    case 1:
      return BigInt(random.pick(bench.mfns)) << (random.once(2) ? 12n : 0n);
    default:
      return interesting(random);
  }
}

/** Handlers for most vectors, some of them random places, and all callbacks. */
function tables(random: Random, bench: PvBench): void {
  const place = (): bigint => (random.once(12) ? interesting(random) : HANDLER + BigInt(random.below(64) * 16));
  const cut = (address: bigint): bigint => BigInt.asUintN(bench.width, address);
  const selector = (): number => (random.once(12) ? random.u32() & 0xffff : bench.vcpu.kernelCs);
  for (let vector = 0; vector < 256; vector++)
    if (!random.once(24)) bench.vcpu.traps.set(vector, random.below(8), selector(), cut(place()));
  for (const name of ['event', 'failsafe', 'syscall', 'sysenter'] as const)
    bench.vcpu.callbacks[name] = { cs: selector(), address: cut(place()), masksEvents: random.once(2) };
}

/** Hypercalls as the kernel makes them, but for the instruction. */
function someCalls(random: Random, bench: PvBench): void {
  for (let n = 0; n < 8; n++) {
    const args = Array.from({ length: 5 }, () => value(random, bench));
    const cut = args.map((argument) => BigInt.asUintN(bench.width, argument));
    const number = random.pick(bench.machine.table.all()).number;
    // iret belongs to its instruction.
    if (number !== 23) bench.call(number, ...cut);
  }
}

/** One stretch: fresh registers, a few hypercalls, code of the kernel's or the user's. */
function round(random: Random, bench: PvBench): void {
  for (let n = 0; n < 16; n++) if (n !== S.RSP) bench.set(n, BigInt.asUintN(bench.width, value(random, bench)));
  for (const at of [CODE, USER_CODE, Number(HANDLER)])
    bench.write(at, randomCode(random, CODE_BYTES, bench.width).subarray(0, CODE_BYTES));
  tables(random, bench);
  if (random.once(2)) someCalls(random, bench);
  bench.vcpu.iopl = random.pick([0, 0, 0x1000, 0x3000]);
  if (random.once(3)) bench.pv.domain.vmAssist = BigInt(random.below(64));
  if (random.once(4)) bench.cpu.eflags |= S.TF;
  bench.cpu.rip = BigInt(CODE);
  bench.set(S.RSP, 0xa000n - BigInt(random.below(256)));
  const domain = bench.pv.domain;
  if (random.once(3)) domain.upcalls.markEventsPending(domain.vcpus[0]!);
  if (random.once(6)) bench.vcpu.vcpu.sendNmi();
  bench.vcpu.vcpu.clearPauseFlags(~0);
  bench.run(400);
  // As a tool stack would after a suspend: there is more to try.
  domain.resume();
}

export function fuzzCase(random: Random): string {
  interpreter ??= interpreterModules();
  const width = random.pick([64, 32] as const);
  const engine = random.pick(['interpret', 'interpret', 'translate'] as const);
  const bench = new PvBench(width, { engine, interpreter }).start();
  const { memory } = bench.machine;
  const foreign = memory.allocatePage();
  memory.frameBytes(foreign).fill(0xa5);
  let end = 'limit';
  const { domain } = bench.pv;
  domain.onShutdown = ({ message }) => {
    end = message === undefined ? 'shutdown' : 'crash';
  };
  for (let n = 0; n < ROUNDS; n++) round(random, bench);
  assert.ok(
    memory.frameBytes(foreign).every((byte) => byte === 0xa5),
    'a page outside of the guest changed',
  );
  assert.deepEqual(bench.pv.mm.check(), []);
  return `${width}-bit, ${end}`;
}
