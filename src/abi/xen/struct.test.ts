import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as hvm from './hvm.ts';
import * as memory from './memory.ts';
import * as misc from './misc.ts';
import type { Layout, StructType, Type } from './struct.ts';
import { array, decode, encode, handle, struct, u8, u32, u64, ulong, union } from './struct.ts';
import * as version from './version.ts';
import * as xen from './xen.ts';

/** Sizes as the headers give them: native, compat. */
const sizes: readonly (readonly [Type<never>, number, number])[] = [
  [xen.shared_info, 3136, 2344],
  [xen.arch_shared_info, 48, 28],
  [xen.vcpu_info, 64, 64],
  [xen.vcpu_time_info, 32, 32],
  [xen.multicall_entry, 64, 32],
  [memory.xen_memory_reservation, 32, 20],
  [memory.xen_memory_exchange, 72, 44],
  [memory.xen_add_to_physmap, 24, 16],
  [memory.xen_add_to_physmap_batch, 32, 20],
  [memory.xen_remove_from_physmap, 16, 8],
  [memory.xen_memory_map, 16, 8],
  [memory.xen_foreign_memory_map, 24, 12],
  [memory.xen_machphys_mfn_list, 24, 12],
  [hvm.xen_hvm_param, 16, 16],
  [hvm.xen_hvm_evtchn_upcall_vector, 8, 8],
  [misc.physdev_set_iopl, 4, 4],
  [misc.physdev_set_iobitmap, 16, 8],
  [version.xen_platform_parameters, 8, 4],
  [version.xen_compile_info, 144, 144],
] as never;

for (const [type, native, compat] of sizes) {
  test(`${type.name}: ${native} bytes native, ${compat} compat`, () => {
    assert.deepEqual([type.size('native'), type.size('compat')], [native, compat]);
  });
}

const offsets: readonly (readonly [StructType<never>, string, number, number])[] = [
  [xen.shared_info, 'evtchn_pending', 2048, 2048],
  [xen.shared_info, 'evtchn_mask', 2560, 2176],
  [xen.shared_info, 'wc_version', 3072, 2304],
  [xen.shared_info, 'arch', 3088, 2316],
  [xen.arch_shared_info, 'wc_sec_hi', 48, 24],
  [xen.arch_shared_info, 'p2m_generation', 40, 20],
  [xen.vcpu_info, 'evtchn_pending_sel', 8, 4],
  [xen.vcpu_info, 'arch', 16, 8],
  [xen.vcpu_info, 'time', 32, 32],
  [xen.vcpu_time_info, 'tsc_to_system_mul', 24, 24],
  [xen.vcpu_time_info, 'flags', 29, 29],
] as never;

for (const [type, field, native, compat] of offsets) {
  test(`${type.name}.${field}: at ${native} native, ${compat} compat`, () => {
    const at = (layout: Layout): number => type.offset(field as never, layout);
    assert.deepEqual([at('native'), at('compat')], [native, compat]);
  });
}

test('struct: 64-bit integers are aligned to 8 natively and to 4 in the compat layout', () => {
  const s = struct('s', { a: u8, b: u64, c: ulong, d: handle });
  assert.deepEqual([s.offset('b', 'native'), s.size('native')], [8, 32]);
  assert.deepEqual([s.offset('b', 'compat'), s.offset('d', 'compat'), s.size('compat')], [4, 16, 20]);
});

test('struct: what is written is read back in both layouts', () => {
  const s = struct('s', { a: u8, b: array(u32, 2), c: struct('in', { x: ulong }) });
  const value = { a: 1, b: [2, 3], c: { x: 0xffff_ffffn } };
  for (const layout of ['native', 'compat'] as const)
    assert.deepEqual(decode(s, encode(s, value, layout), layout), value);
  assert.equal(s.print(value), '{a=0x1 b=[0x2, 0x3] c={x=0xffffffff}}');
});

test('ulong: compat writes keep the low half', () => {
  assert.deepEqual(encode(ulong, 0x1_2345_6789n, 'compat'), Uint8Array.of(0x89, 0x67, 0x45, 0x23));
});

test('union: members share their place and only given ones are written', () => {
  const u = union('u', { a: u32, b: u64 });
  assert.equal(u.size('native'), 8);
  const bytes = encode(u, { a: 5 } as never, 'native');
  assert.deepEqual(decode(u, bytes, 'native'), { a: 5, b: 5n });
});
