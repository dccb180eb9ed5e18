/**
 * Control transfers of compiled code against the routines in TypeScript: the same random gates, descriptors, stacks and flags, then INT n,
 * a fault, an interrupt, IRET, SYSCALL or SYSRET. Registers, segments, mode and memory are equal afterwards.
 *
 * XENOLITH_FUZZ multiplies the number of cases, XENOLITH_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as S from '../../src/cpu/state.ts';
import {
  Bench,
  CODE,
  CODE0,
  CODE3,
  DATA0,
  DATA3,
  descriptor,
  FREE,
  GDT,
  IDT,
  STACK0,
  STACK3,
  TSS,
} from '../../src/cpu/system/testing.ts';
import { Random } from './support/random.ts';

const CASES = 3000 * Number(process.env['XENOLITH_FUZZ'] ?? 1);
const VECTOR = 0x40;
const IST_STACK = 0x5000;

const WAYS = {
  'INT n': [0xcd, VECTOR],
  INT3: [0xcc],
  UD2: [0x0f, 0x0b],
  'fault with a code': [0x8e, 0xd8],
  IRET: [0xcf],
  IRETQ: [0x48, 0xcf],
  'IRET of 16 bits': [0x66, 0xcf],
  SYSCALL: [0x0f, 0x05],
  SYSRET: [0x48, 0x0f, 0x07],
  'page fault': [0xa1, 0, 0, 0, 0x70, 0, 0, 0, 0],
  interrupt: [0x90],
} as const;

/** A value that is usually the sensible one. */
const usually = <T>(random: Random, value: T, others: readonly T[], odds = 12): T =>
  random.once(odds) ? random.pick(others) : value;

const SELECTORS = [0, 1, 3, CODE0, CODE3, DATA0, DATA3, FREE, FREE + 3, 0x0c, 0x1f, 0xfffb];

/** One situation, applied to both sides alike: what it draws is the same for both. */
const arrange = (seed: number, b: Bench, way: keyof typeof WAYS): void => {
  const random = new Random(seed);
  const { cpu } = b;
  const long = random.once(2);
  const level = random.once(2) ? 0 : 3;
  if (long) b.long(level);
  else b.protect(level);
  // Segments: flat ones now and then with another type, level, size or limit.
  const kinds = [
    [CODE0, 0x9b],
    [DATA0, 0x93],
    [CODE3, 0xfb],
    [DATA3, 0xf3],
  ] as const;
  for (const [selector, access] of kinds) {
    const bits = usually(
      random,
      access,
      [access ^ 1, access ^ 2, access ^ 4, access ^ 8, access ^ 0x10, access ^ 0x20, access ^ 0x80],
      15,
    );
    const isCode = selector === CODE0 || selector === CODE3;
    const size = usually(random, long && isCode ? 0xa : 0xc, [0, 4, 8, 0xa, 0xc, 0xe], 15);
    b.describe(
      selector,
      descriptor(
        usually(random, 0, [0x100, 0x100_0000], 25),
        usually(random, 0xf_ffff, [0xfff, 0xf_fffe], 25),
        bits,
        size,
      ),
    );
  }
  b.describe(FREE, descriptor(0, 0xf_ffff, random.pick([0x9b, 0x93, 0xfb, 0xf3, 0x9f]), random.pick([0xa, 0xc])));
  for (const vector of [3, 6, 13, 14, VECTOR]) {
    const offset = usually(random, 0x9000 + vector * 16, [0, 0xffff_fff0], 20);
    const type = usually(random, random.pick([14, 15]), [5, 6, 7, 12], 25);
    const options = { type, dpl: random.pick([0, 3, 3]), selector: usually(random, CODE0, SELECTORS, 15), offset };
    b.gate(vector, { ...options, present: !random.once(25), ist: random.once(5) ? 1 + random.below(2) : 0 });
    if (long) b.write32(IDT + vector * 16 + 8, usually(random, 0, [0xffff_ffff, 0x7fff, 0x8000], 20));
  }
  if (long) {
    b.write64(TSS + 4, BigInt(usually(random, STACK0, [STACK0 + 8, 0x7004, 0x7018, 0x60_0000], 8)));
    b.write64(TSS + 0x24, BigInt(IST_STACK));
    b.write64(TSS + 0x2c, usually(random, BigInt(IST_STACK - 7), [0x8000_0000_0000n, 0xfff8n], 3));
  } else {
    b.write32(TSS + 4, usually(random, STACK0, [STACK0 + 1, 0x7004, 0x7010, 0, 0x40_0000], 8));
    b.write32(TSS + 8, usually(random, DATA0, SELECTORS, 15));
  }
  if (random.once(20)) cpu.set32(S.seg(S.TR) + S.SEG_LIMIT, random.pick([7, 8, 9, 10, 0x30]));
  if (random.once(20)) cpu.set32(S.IDTR + 8, random.pick([0, 0x100, 0x206, 0x207, 0x3ff, 0x407]));
  if (random.once(20)) cpu.set32(S.GDTR + 8, random.pick([7, 0x0e, 0x0f, 0x1e, 0x1f, 0x26]));
  const flags = [S.IF, S.DF, S.IOPL, S.NT, S.ID, S.RF];
  let eflags = 2 | (random.u32() & S.ARITHMETIC);
  for (const flag of flags) if (random.once(flag === S.NT ? 20 : 3)) eflags |= flag;
  if (random.once(20)) eflags |= S.AC;
  // Data segments of the kernel, of the user, null, or with a limit.
  for (const n of [S.ES, S.DS, S.FS, S.GS]) {
    const chosen = random.below(6);
    if (chosen === 0) cpu.setSegment(n, 0, 0n, 0, S.ATTR_UNUSABLE);
    else if (chosen === 1) cpu.setSegment(n, DATA3, 0n, 0xffff_ffff, 0xc0f3);
    else if (chosen === 2 && random.once(3)) cpu.setSegment(n, DATA3, 0n, 0xffff, 0x40f3);
  }
  const sp = (level === 0 ? STACK0 : STACK3) - 0x100 + usually(random, 0, [4, 8, 0xf8, 0x1ec, 0xfe4], 5);
  cpu.setGpr(S.RSP, BigInt(sp));
  cpu.setGpr(S.RAX, BigInt(random.pick(SELECTORS)));
  cpu.setGpr(S.RCX, usually(random, 0x9000n, [0x8000_0000_0000n, 0xffff_8000_0000_0000n], 6));
  cpu.setGpr(11, BigInt(random.u32()) & (random.once(4) ? -1n : ~0x4_0100n));
  cpu.set64(S.LSTAR, 0x9000n);
  cpu.set64(S.STAR, (0x13n << 48n) | (0x8n << 32n));
  cpu.set64(S.SFMASK, BigInt(random.pick([0, 0x4_7700, 0xcd5])));
  // What an IRET finds.
  const slot = long ? 8 : 4;
  const to = random.once(2) ? 0 : 3;
  const image = 2 | (random.u32() & (random.once(6) ? 0x3f_7fd5 : 0x38_6ed5 | S.IF));
  const frame = [
    usually(random, 0x9000, [0, 0xffff_ffff], 20),
    usually(random, to === 0 ? CODE0 : CODE3, SELECTORS, 12),
    image,
    usually(random, 0x6800, [0x6802, 0], 8),
    usually(random, to === 0 ? (random.once(2) && long ? 0 : DATA0) : DATA3, SELECTORS, 12),
  ];
  frame.forEach((value, i) => {
    if (slot === 8) b.write64(sp + i * 8, BigInt(value) | (random.once(40) ? 1n << 60n : 0n));
    else b.write32(sp + i * 4, value);
  });
  if (random.once(6)) cpu.set32(S.NMI_BLOCKED, 1);
  cpu.updateMode(level);
  cpu.eflags = eflags;
  cpu.rip = BigInt(CODE);
  b.bytes(CODE, WAYS[way]);
  b.bytes(0x9000, new Array<number>(0x800).fill(0x90));
  cpu.code.flush();
  cpu.flushTlb(true);
  b.pendingVector = way === 'interrupt' ? VECTOR : random.once(8) ? VECTOR : -1;
};

const outcome = (b: Bench, executed: number): unknown => {
  const { cpu } = b;
  const registers = Object.fromEntries([S.RAX, S.RCX, S.RSP, 11].map((r) => [`r${r}`, cpu.gpr(r)]));
  const fields = [S.CPL, S.MODE, S.SHADOW, S.NMI_BLOCKED, S.PENDING_DEBUG, S.EFLAGS_REST].map((at) => cpu.get32(at));
  const masks = [S.LINEAR_MASK, S.STACK_MASK, S.STACK_BASE, S.STRING_BASE, S.CS_BASE, S.CR2].map((at) => cpu.get64(at));
  const segments = [S.ES, S.CS, S.SS, S.DS, S.FS, S.GS].map((n) => {
    const at = S.seg(n);
    return [b.selector(n), cpu.get64(at), cpu.get32(at + S.SEG_LIMIT), cpu.get32(at + S.SEG_ATTR)].join(' ');
  });
  return {
    executed,
    rip: cpu.rip,
    eflags: cpu.eflags,
    tlb: cpu.get32(S.TLB),
    registers,
    fields,
    masks,
    segments,
    log: b.log,
  };
};

const ram = (b: Bench): Buffer => Buffer.from(b.memory.buffer, 0x20_0000 + GDT, 0xf000);

test('control transfers: compiled ones do what the routines do', () => {
  const { seed } = Random.fromEnvironment();
  const sides = [new Bench(), new Bench()] as const;
  const names = Object.keys(WAYS) as (keyof typeof WAYS)[];
  let plain = 0;
  for (let n = 0; n < CASES; n++) {
    const own = (seed + n) >>> 0;
    const way = names[n % names.length]!;
    const results = sides.map((b, side) => {
      b.log.length = 0;
      b.cpu.reset();
      arrange(own, b, way);
      // Nobody takes the traps, but compiled transfers leave everything to the routines when this is set.
      b.cpu.set32(S.INTERCEPTED, side);
      return outcome(b, b.cpu.run(2));
    });
    assert.deepEqual(results[0], results[1], `XENOLITH_SEED=${own}: ${way}`);
    assert.ok(ram(sides[0]).equals(ram(sides[1])), `XENOLITH_SEED=${own}: memory after ${way}`);
    if (sides[0].cpu.rip >= 0x9000n && sides[0].cpu.rip < 0x9800n) plain++;
  }
  assert.ok(plain > CASES / 4, `only ${plain} transfers arrived`);
});
