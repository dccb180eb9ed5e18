/** A guest that does nothing but hypercalls with arguments of every quality, in 64- and 32-bit code. */
import assert from 'node:assert/strict';
import * as grants from '../../../src/abi/xen/grant-table.ts';
import * as memory from '../../../src/abi/xen/memory.ts';
import { encode, type Type } from '../../../src/abi/xen/struct.ts';
import { vcpu_register_vcpu_info } from '../../../src/abi/xen/vcpu.ts';
import { STATE as S } from '../../../src/cpu/index.ts';
import type { Control, Hypercall } from '../../../src/xen/index.ts';
import type { Random } from '../../conformance/support/random.ts';
import { Guard, MIB, smallMachine } from './machine.ts';
import { interesting } from './random-code.ts';

const RAM = MIB;
const CODE = 0x8000,
  PML4 = 0x9000,
  PDPT = 0xa000;
/** Structures are written here: the last page of RAM, behind which nothing is, and one in the middle. */
const PAGES = [0x2_0000, RAM - 0x1000];
const CALLS = 150;
const MEMORY_OP = 12,
  GRANT_TABLE_OP = 20;
/** Domain ids that mean the guest itself more often than chance has it. */
const SELF = 0x7ff0n;

type Width = 64 | 32;

const pointer = (random: Random): bigint => {
  switch (random.below(12)) {
    case 0:
      return 0n;
    case 1:
      return interesting(random);
    case 2:
      return BigInt(RAM + random.below(0x2000));
    case 3:
      return BigInt(random.pick(PAGES) + 0xfff - random.below(64));
    case 4:
      return 0xffff_ffff_ffff_f000n + BigInt(random.below(4096));
    default:
      return BigInt(random.pick(PAGES) + random.below(64) * (random.once(4) ? 1 : 8));
  }
};

/** Values as structures have them: counts, identifiers, flags, frame numbers, domain ids, pointers. */
const field = (random: Random): bigint => {
  switch (random.below(8)) {
    case 0:
      return 0n;
    case 1:
    case 2:
      return BigInt(random.below(8));
    case 3:
      return SELF;
    case 4:
      return pointer(random);
    case 5:
      return BigInt(random.below(RAM >> 12));
    case 6:
      return BigInt(1 << random.below(17));
    default:
      return interesting(random);
  }
};

/** Structures of operations that read their argument themselves, by operation. */
const MEMORY_STRUCTURES: Readonly<Record<number, Type<unknown>>> = {
  [memory.XENMEM_increase_reservation]: memory.xen_memory_reservation,
  [memory.XENMEM_decrease_reservation]: memory.xen_memory_reservation,
  [memory.XENMEM_populate_physmap]: memory.xen_memory_reservation,
  [memory.XENMEM_exchange]: memory.xen_memory_exchange,
  [memory.XENMEM_add_to_physmap]: memory.xen_add_to_physmap,
  [memory.XENMEM_add_to_physmap_batch]: memory.xen_add_to_physmap_batch,
  [memory.XENMEM_remove_from_physmap]: memory.xen_remove_from_physmap,
};
const GRANT_STRUCTURES: Readonly<Record<number, Type<unknown>>> = {
  [grants.GNTTABOP_map_grant_ref]: grants.gnttab_map_grant_ref,
  [grants.GNTTABOP_unmap_grant_ref]: grants.gnttab_unmap_grant_ref,
  [grants.GNTTABOP_setup_table]: grants.gnttab_setup_table,
  [grants.GNTTABOP_copy]: grants.gnttab_copy,
  [grants.GNTTABOP_set_version]: grants.gnttab_set_version,
  [grants.GNTTABOP_swap_grant_ref]: grants.gnttab_swap_grant_ref,
};

/** Reading a structure through this makes one with a plausible value in every field. */
const plausible = (random: Random): DataView => {
  const small = (bits: number) => (): number => Number(BigInt.asUintN(bits, field(random)));
  const wide = (): bigint => BigInt.asUintN(64, field(random));
  const view: Partial<DataView> = {
    getUint8: small(8),
    getInt8: small(7),
    getUint16: () => (random.once(3) ? small(16)() : Number(SELF)),
    getInt16: small(15),
    getUint32: small(32),
    getInt32: small(31),
    getBigUint64: wide,
    getBigInt64: () => BigInt.asIntN(64, wide()),
    buffer: new ArrayBuffer(0x1000),
    byteOffset: 0,
    byteLength: 0x1000,
  };
  return view as DataView;
};

interface Call {
  readonly number: bigint;
  readonly args: readonly bigint[];
}

/** The structure that a call reads, when one is known. */
function structureOf(random: Random, table: readonly Hypercall[], call: Call): Type<unknown> | undefined {
  const entries = table.find((candidate) => BigInt(candidate.number) === call.number)?.entries;
  const known = entries?.get(Number(BigInt.asUintN(32, call.args[0]!)))?.arg ?? entries?.get(undefined)?.arg;
  if (known !== undefined) return known;
  if (call.number === BigInt(MEMORY_OP)) return MEMORY_STRUCTURES[Number(call.args[0]! & 0x3fn)];
  if (call.number === BigInt(GRANT_TABLE_OP)) return GRANT_STRUCTURES[Number(call.args[0]! & 0xfffn)];
  return random.once(4) ? vcpu_register_vcpu_info : undefined;
}

function someCall(random: Random, table: readonly Hypercall[]): Call {
  const args = Array.from({ length: 5 }, () => (random.once(3) ? pointer(random) : field(random)));
  if (random.once(12)) return { number: random.once(2) ? BigInt(random.below(64)) : interesting(random), args };
  const call = random.pick(table);
  const subs = [...call.entries.keys()].filter((sub) => sub !== undefined);
  if (subs.length > 0) {
    args[0] = random.once(12) ? interesting(random) : BigInt(random.pick(subs));
    // memory_op counts what is done in the bits above.
    if (random.once(20)) args[0] |= BigInt(random.below(64)) << 6n;
  }
  if (!random.once(8)) args[call.pointer] = pointer(random);
  if (random.once(2)) args[2] = BigInt(random.below(3));
  return { number: BigInt(call.number), args };
}

/** Fills the pages that arguments point to. */
function scatter(control: Control, random: Random, width: Width, table: readonly Hypercall[]): void {
  const bytes = new Uint8Array(0x1000);
  const view = new DataView(bytes.buffer);
  if (random.once(6)) {
    // A list for multicall: number, result, six arguments.
    const size = width === 64 ? 8 : 4;
    for (let at = 0; at + 8 * size <= 0x1000; at += 8 * size) {
      const { number, args } = someCall(random, table);
      for (const [i, value] of [number, 0n, ...args, 0n].entries()) {
        if (size === 8) view.setBigUint64(at + i * 8, BigInt.asUintN(64, value), true);
        else view.setUint32(at + i * 4, Number(value & 0xffff_ffffn), true);
      }
    }
  } else {
    for (let at = 0; at < 0x1000; ) {
      const size = random.pick([2, 4, 4, 8]);
      if (at + size > 0x1000) break;
      const value = field(random);
      if (size === 8) view.setBigUint64(at, BigInt.asUintN(64, value), true);
      else if (size === 4) view.setUint32(at, Number(value & 0xffff_ffffn), true);
      else view.setUint16(at, Number(value & 0xffffn), true);
      at += size;
    }
  }
  // The guest may have given the page away.
  control.machine.memory.writePhysical(random.pick(PAGES), bytes);
}

const NATIVE = [S.RDI, S.RSI, S.RDX, 10, 8];
const COMPAT = [S.RBX, S.RCX, S.RDX, S.RSI, S.RDI];

function enter(control: Control, width: Width): void {
  const cpu = control.machine.cpus[0]!;
  cpu.reset();
  cpu.set64(S.CR0, width === 64 ? 0x8000_0011n : 0x11n);
  cpu.set64(S.CR3, BigInt(PML4));
  if (width === 64) {
    cpu.set64(S.CR4, 0x20n);
    cpu.set64(S.EFER, 0x500n);
  }
  for (const n of [S.ES, S.SS, S.DS, S.FS, S.GS]) cpu.setSegment(n, 0x10, 0n, 0xffff_ffff, 0xc093);
  cpu.setSegment(S.CS, 8, 0n, 0xffff_ffff, width === 64 ? 0xa09b : 0xc09b);
  cpu.set64(S.gpr(S.RSP), 0x7000n);
  cpu.eflags = 2;
  cpu.updateMode(0);
}

/** No frame that is free may be mapped, and none may be free twice. */
function checkFrames(control: Control): void {
  const { memory } = control.machine;
  const { freeFrames } = memory as unknown as { readonly freeFrames: readonly number[] };
  const free = new Set(freeFrames);
  assert.equal(free.size, freeFrames.length, 'a frame is free twice');
  const last = Math.min(control.machine.domain.p2m.maxMappedGfn, 0xf_ffff);
  for (let gfn = 0; gfn <= last; gfn++) {
    const at = memory.page(gfn, false);
    assert.ok(at === 0 || !free.has(at >>> 12), `guest frame ${gfn} shows a free page`);
  }
}

/** Runs one case; says how it ended. Throws when the machine broke its promises. */
export function fuzzCase(random: Random): string {
  const width = random.pick([64, 32] as const);
  const control = smallMachine(RAM, {
    type: random.pick(['hvm', 'pvh']),
    engine: 'interpret',
    viridian: random.once(8) ? 0x7f : 0,
    consoleIo: random.once(2),
    pirqs: random.once(2),
    maxEventChannels: random.pick([1023, 4095, 131_071]),
    maxGrantVersion: random.pick([1, 2]),
  });
  for (let n = 0; n < 2; n++) control.allocateChannel(() => {});
  const image = new Uint8Array(RAM);
  const view = new DataView(image.buffer);
  // vmcall; then nothing, for ever.
  image.set([0x0f, 0x01, 0xc1, 0xeb, 0xfe], CODE);
  view.setUint32(PML4, PDPT | 3, true);
  view.setUint32(PML4 + 511 * 8, PDPT | 3, true);
  for (let i = 0; i < 512; i++) view.setBigUint64(PDPT + i * 8, (BigInt(i % 4) << 30n) | 0x83n, true);
  control.write(0, image);
  const guard = new Guard(control);
  enter(control, width);
  const vcpu = control.machine.domain.vcpus[0]!;
  const cpu = control.machine.cpus[0]!;
  vcpu.isInitialised = true;
  const table = control.machine.table.all();
  let end = 'limit';
  for (let n = 0; n < CALLS; n++) {
    if (random.once(3)) scatter(control, random, width, table);
    const { number, args } = someCall(random, table);
    const structure = random.once(4) ? undefined : structureOf(random, table, { number, args });
    const at = args.find((value) => PAGES.some((page) => value >= page && value < page + 0x1000));
    if (structure !== undefined && at !== undefined) {
      const layout = width === 64 ? 'native' : 'compat';
      const value = structure.read(plausible(random), 0, layout);
      control.machine.memory.writePhysical(Number(at), encode(structure, value, layout));
    }
    cpu.set64(S.gpr(S.RAX), BigInt.asUintN(64, number));
    (width === 64 ? NATIVE : COMPAT).forEach((register, i) => {
      cpu.set64(S.gpr(register), BigInt.asUintN(64, args[i] ?? 0n));
    });
    if (control.machine.memory.page(CODE >>> 12, false) === 0) {
      end = 'gave its code away';
      break;
    }
    control.write(CODE, image.subarray(CODE, CODE + 5));
    cpu.rip = BigInt(CODE);
    vcpu.clearPauseFlags(~0);
    const stop = control.run({ instructions: 50, until: control.machine.time.now() + 1_000_000n });
    // As a tool stack would after a suspend: there is more to try.
    if (stop.kind === 'shutdown') control.machine.domain.resume();
  }
  guard.check();
  checkFrames(control);
  return end;
}
