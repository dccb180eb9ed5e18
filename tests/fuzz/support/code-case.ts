/** One run of random code in a random processor mode. */
import { STATE as S } from '../../../src/cpu/index.ts';
import type { Control } from '../../../src/xen/index.ts';
import type { Random } from '../../conformance/support/random.ts';
import { Guard, MIB, runToEnd, smallMachine } from './machine.ts';
import { interesting, randomCode } from './random-code.ts';

const RAM = MIB;
const CODE = 0x8000;
/** Where tables are: page tables of three levels, then descriptor tables and handlers. */
const TABLES = 0x4_0000,
  GDT = 0x5_0000,
  IDT = 0x5_1000,
  TSS = 0x5_2000,
  HANDLERS = 0x5_3000;

const MODES = ['real', 'protected16', 'protected32', 'pse', 'pae', 'long', 'compatibility', 'vm86'] as const;
type Mode = (typeof MODES)[number];

/** CR0, CR4 and EFER of a mode. */
const CONTROL: Readonly<Record<Mode, readonly [cr0: bigint, cr4: bigint, efer: bigint]>> = {
  real: [0x10n, 0n, 0n],
  protected16: [0x11n, 0n, 0n],
  protected32: [0x11n, 0x600n, 0n],
  pse: [0x8000_0011n, 0x610n, 0n],
  pae: [0x8001_0011n, 0x620n, 0x800n],
  long: [0x8001_0011n, 0x620n, 0xd01n],
  compatibility: [0x8000_0011n, 0x620n, 0xd01n],
  vm86: [0x8000_0011n, 0x611n, 0n],
};

const codeBits = (mode: Mode): 16 | 32 | 64 =>
  mode === 'long' ? 64 : mode === 'real' || mode === 'protected16' || mode === 'vm86' ? 16 : 32;

const put32 = (memory: DataView, at: number, value: number): void => memory.setUint32(at, value >>> 0, true);
const put64 = (memory: DataView, at: number, value: bigint): void =>
  memory.setBigUint64(at, BigInt.asUintN(64, value), true);

/** An identity map of the first 4 MiB or more, with some entries that are not. */
function pageTables(memory: DataView, random: Random, mode: Mode, user: boolean): void {
  const flags = user ? 7n : 3n;
  const wide = mode !== 'pse' && mode !== 'vm86';
  const strange = (): bigint => (random.once(2) ? interesting(random) : (interesting(random) & ~0xfffn) | 7n);
  if (!wide) {
    for (let i = 0; i < 1024; i++) put32(memory, TABLES + i * 4, Number(BigInt(i) << 22n) | Number(flags) | 0x80);
    put32(memory, TABLES, (TABLES + 0x1000) | Number(flags));
    for (let i = 0; i < 1024; i++) {
      const odd = random.once(80);
      put32(memory, TABLES + 0x1000 + i * 4, odd ? Number(strange() & 0xffff_ffffn) : (i << 12) | Number(flags));
    }
    return;
  }
  // Level 4 at TABLES, level 3 behind it, level 2 (four tables), level 1 of the first 2 MiB.
  const level3 = TABLES + 0x1000,
    level2 = TABLES + 0x2000,
    level1 = TABLES + 0x6000;
  put64(memory, TABLES, BigInt(level3) | flags);
  put64(memory, TABLES + 511 * 8, random.once(2) ? BigInt(TABLES) | flags : strange());
  for (let i = 0; i < 4; i++)
    put64(memory, level3 + i * 8, BigInt(level2 + i * 0x1000) | (mode === 'pae' ? 1n : flags));
  for (let i = 0; i < 2048; i++) put64(memory, level2 + i * 8, (BigInt(i) << 21n) | flags | 0x80n);
  put64(memory, level2, BigInt(level1) | flags);
  for (let i = 0; i < 512; i++) put64(memory, level1 + i * 8, random.once(80) ? strange() : (BigInt(i) << 12n) | flags);
}

/** Stacks of the inner rings, usable more often than not. */
function taskState(memory: DataView, random: Random, long: boolean): void {
  for (let at = TSS; at < TSS + 0x200; at += 8) put64(memory, at, random.u64());
  for (let ring = 0; ring < 3; ring++) {
    if (random.once(6)) continue;
    const stack = BigInt(0x7800 + ring * 0x100);
    put64(memory, TSS + 4 + ring * 8, long ? stack : (BigInt(0x10 + ring) << 32n) | stack);
  }
  if (long) for (let n = 0; n < 7; n++) put64(memory, TSS + 0x24 + n * 8, BigInt(0x7c00 + n * 0x40));
}

/** A handler that skips some bytes of what it interrupted. */
function handler(random: Random, vector: number, bits: number): number[] {
  const skip = random.below(8);
  const hasCode = vector === 8 || (vector >= 10 && vector <= 14) || vector === 17;
  if (bits === 64) return [...(hasCode ? [0x48, 0x83, 0xc4, 8] : []), 0x48, 0x83, 0x04, 0x24, skip, 0x48, 0xcf];
  if (bits === 32) return [...(hasCode ? [0x83, 0xc4, 4] : []), 0x83, 0x04, 0x24, skip, 0xcf];
  return [0x67, 0x83, 0x04, 0x24, skip, 0xcf];
}

/** Descriptors of every kind at fixed places, then random ones. */
function descriptorTables(memory: DataView, random: Random, mode: Mode): void {
  const fixed = [
    0n,
    0x00cf_9b00_0000_ffffn,
    0x00cf_9300_0000_ffffn,
    0x00af_9b00_0000_ffffn,
    0x00cf_fb00_0000_ffffn,
    0x00cf_f300_0000_ffffn,
    0x00af_fb00_0000_ffffn,
    0x0000_9b00_0000_ffffn,
    (BigInt(TSS & 0xffff) << 16n) | (BigInt(TSS >>> 16) << 32n) | 0x0000_8900_0000_0fffn,
    0n,
  ];
  for (let i = 0; i < 64; i++) {
    const present = random.u64() | 0x0000_8000_0000_0000n;
    put64(memory, GDT + i * 8, fixed[i] ?? (random.once(2) ? present : random.u64()));
  }
  const long = mode === 'long' || mode === 'compatibility';
  const selector = long ? 0x18 : 0x08;
  for (let vector = 0; vector < 256; vector++) {
    const type = random.once(8) ? random.u8() : random.pick([0x8e, 0x8f, 0xee, 0xef, 0x8e]);
    const handler = HANDLERS + (vector % 32) * 16;
    const gate =
      BigInt(handler & 0xffff) |
      (BigInt(random.once(16) ? random.below(256) : selector) << 16n) |
      (BigInt(type) << 40n) |
      (BigInt(handler >>> 16) << 48n);
    const at = IDT + vector * (long ? 16 : 8);
    if (at + 16 > TSS + 0x1000) break;
    put64(memory, at, random.once(32) ? random.u64() : gate);
    if (long) put64(memory, at + 8, random.once(64) ? random.u64() : 0n);
  }
  taskState(memory, random, long);
}

function attributes(mode: Mode, ring: number, code: boolean): number {
  const dpl = ring << 5;
  if (mode === 'real') return code ? 0x9b : 0x93;
  if (mode === 'vm86') return 0xf3;
  if (mode === 'long' && code) return 0xa09b | dpl;
  return (code ? 0x9b : 0x93) | dpl | (mode === 'protected16' ? 0 : 0xc000);
}

/** Puts vCPU 0 into the mode with random registers. */
function enter(control: Control, random: Random, mode: Mode, ring: number): void {
  const cpu = control.machine.cpus[0]!;
  const vcpu = control.machine.domain.vcpus[0]!;
  const [cr0, cr4, efer] = CONTROL[mode];
  cpu.reset();
  for (let n = 0; n < 16; n++) cpu.set64(S.gpr(n), interesting(random) & (codeBits(mode) === 64 ? ~0n : 0xffff_ffffn));
  if (!random.once(4)) cpu.set64(S.gpr(S.RSP), BigInt(0x7000 + random.below(256)));
  for (let n = 0; n < 16; n++) cpu.set64(S.xmm(n), random.u64());
  cpu.set64(S.CR0, cr0 | (random.once(2) ? 0n : BigInt(random.below(16) & 0xe)));
  cpu.set64(S.CR4, cr4);
  cpu.set64(S.EFER, efer);
  const root = mode === 'pae' ? TABLES + 0x1000 : TABLES;
  cpu.set64(S.CR3, BigInt(root));
  if (mode === 'pae') {
    for (let i = 0; i < 4; i++) cpu.set64(S.PDPTE + i * 8, BigInt(TABLES + 0x2000 + i * 0x1000) | 1n);
  }
  const limit = mode === 'real' || mode === 'vm86' || mode === 'protected16' ? 0xffff : 0xffff_ffff;
  const selector = mode === 'real' || mode === 'vm86' ? 0 : ring === 3 ? 0x28 : 0x10;
  const codeSelector = mode === 'real' || mode === 'vm86' ? 0 : mode === 'long' ? 0x18 : ring === 3 ? 0x20 : 0x08;
  for (const n of [S.ES, S.SS, S.DS, S.FS, S.GS])
    cpu.setSegment(n, selector | ring, 0n, limit, attributes(mode, ring, false));
  cpu.setSegment(S.CS, codeSelector | ring, 0n, limit, attributes(mode, ring, true));
  cpu.setSegment(S.TR, 0x40, BigInt(TSS), 0xfff, 0x8b);
  cpu.set64(S.GDTR, BigInt(GDT));
  cpu.set32(S.GDTR + 8, 64 * 8 - 1);
  const none = random.once(12);
  cpu.set64(S.IDTR, mode === 'real' ? 0n : BigInt(IDT));
  cpu.set32(S.IDTR + 8, none ? random.below(64) : 0xfff);
  const allowed = 0x0024_0dd5 | (random.once(8) ? 0x100 : 0) | (random.below(4) << 12);
  cpu.eflags =
    ((random.u32() & allowed & ~0x100) |
      2 |
      (random.once(2) ? S.IF : 0) |
      (random.once(12) ? S.TF : 0) |
      (mode === 'vm86' ? S.VM : 0)) >>>
    0;
  cpu.rip = BigInt(CODE);
  cpu.updateMode(mode === 'vm86' ? 3 : ring);
  vcpu.isInitialised = true;
  vcpu.clearPauseFlags(~0);
}

/** Runs one case; says how it ended. Throws when the machine broke its promises. */
export function fuzzCase(random: Random): string {
  const mode = random.pick(MODES);
  const ring = mode === 'real' ? 0 : mode === 'vm86' ? 3 : random.pick([0, 0, 3]);
  const engine = random.pick(['interpret', 'interpret', 'auto', 'translate'] as const);
  const control = smallMachine(RAM, {
    type: random.pick(['hvm', 'pvh']),
    engine,
    forcedEmulation: random.once(4),
    viridian: random.once(4) ? 0x7f : 0,
    consoleIo: random.once(4),
    pirqs: random.once(4),
  });
  const ram = new Uint8Array(RAM);
  const view = new DataView(ram.buffer);
  const bits = codeBits(mode);
  for (let vector = 0; vector < 256; vector++) {
    if (!random.once(16)) put32(view, vector * 4, ((HANDLERS >>> 4) + (vector % 32)) << 16);
  }
  pageTables(view, random, mode, ring === 3 || random.once(2));
  descriptorTables(view, random, mode);
  ram.set(randomCode(random, 2048, bits).subarray(0, 4096), CODE);
  const handlerBits = mode === 'real' ? 16 : mode === 'long' || mode === 'compatibility' ? 64 : 32;
  for (let n = 0; n < 32; n++) {
    const code = random.once(8) ? randomCode(random, 16, bits).subarray(0, 16) : handler(random, n, handlerBits);
    ram.set(code, HANDLERS + n * 16);
  }
  control.write(0, ram);
  const guard = new Guard(control);
  enter(control, random, mode, ring);
  // Code that modifies itself is translated again and again.
  const end = runToEnd(control, engine === 'translate' ? 250 : 5_000);
  guard.check();
  return end;
}
