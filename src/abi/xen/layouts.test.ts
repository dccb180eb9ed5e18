import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as e from './event-channel.ts';
import * as g from './grant-table.ts';
import * as s from './sched.ts';
import { start_info } from './start-info.ts';
import type { Type } from './struct.ts';
import * as v from './vcpu.ts';
import * as c from './vcpu-guest-context.ts';
import * as h from './vcpu-hvm-context.ts';

/** Sizes as a C compiler gives them for the public headers: 64-bit, 32-bit. */
const sizes: readonly (readonly [Type<never>, number, number])[] = [
  [e.evtchn_alloc_unbound, 8, 8],
  [e.evtchn_bind_interdomain, 12, 12],
  [e.evtchn_bind_virq, 12, 12],
  [e.evtchn_status, 24, 24],
  [e.evtchn_init_control, 24, 24],
  [e.evtchn_reset, 2, 2],
  [e.evtchn_set_priority, 8, 8],
  [g.grant_entry_v1, 8, 8],
  [g.grant_entry_v2, 16, 16],
  [g.grant_sub_page, 16, 16],
  [g.gnttab_map_grant_ref, 32, 32],
  [g.gnttab_unmap_grant_ref, 24, 24],
  [g.gnttab_setup_table, 24, 16],
  [g.gnttab_copy, 40, 24],
  [g.gnttab_transfer, 24, 16],
  [g.gnttab_query_size, 16, 16],
  [g.gnttab_get_version, 8, 8],
  [g.gnttab_swap_grant_ref, 12, 12],
  [g.gnttab_get_status_frames, 16, 12],
  [g.gnttab_unmap_and_replace, 24, 24],
  [s.sched_poll, 24, 16],
  [s.sched_watchdog, 8, 8],
  [v.vcpu_runstate_info, 48, 44],
  [v.vcpu_set_singleshot_timer, 16, 12],
  [v.vcpu_register_vcpu_info, 16, 16],
  [v.vcpu_register_area, 8, 4],
  [h.vcpu_hvm_x86_32, 128, 128],
  [c.trap_info, 16, 8],
  [start_info, 1168, 1112],
] as never;

test('structures of the public headers: sizes in both layouts', () => {
  for (const [type, native, compat] of sizes)
    assert.deepEqual([type.size('native'), type.size('compat')], [native, compat], type.name);
});

test('vcpu_hvm_context: offsets within the registers, which start behind mode and pad', () => {
  const at32 = (['cr0', 'efer', 'base', 'limit', 'attributes', 'pad2'] as const).map(
    (f) => h.vcpu_hvm_x86_32.offset(f, 'compat') - 8,
  );
  assert.deepEqual(at32, [40, 56, 64, 84, 104, 114]);
  const at64 = (['rip', 'rflags', 'cr0', 'efer'] as const).map((f) => h.vcpu_hvm_x86_64.offset(f, 'native') - 8);
  assert.deepEqual(at64, [64, 72, 80, 104]);
});

test('vcpu_guest_context: sizes and offsets of both forms', () => {
  assert.deepEqual([c.contextSize('native'), c.contextSize('compat')], [5168, 2800]);
  const fields = [
    'flags',
    'user_regs',
    'trap_ctxt',
    'ldt_base',
    'gdt_frames',
    'gdt_ents',
    'kernel_ss',
    'ctrlreg',
    'vm_assist',
  ] as const;
  const at64 = fields.map((field) => c.vcpu_guest_context_64.offset(field, 'native'));
  const at32 = fields.map((field) => c.vcpu_guest_context_32.offset(field, 'compat'));
  assert.deepEqual(at64, [512, 520, 720, 4816, 4832, 4960, 4968, 4984, 5136]);
  assert.deepEqual(at32, [512, 516, 584, 2632, 2640, 2704, 2708, 2716, 2796]);
  assert.deepEqual(
    [
      c.vcpu_guest_context_32.offset('event_callback_eip', 'compat'),
      c.vcpu_guest_context_64.offset('gs_base_user', 'native'),
    ],
    [2784, 5160],
  );
  assert.deepEqual([c.cpu_user_regs_64.size('native'), c.cpu_user_regs_32.size('compat')], [200, 68]);
  assert.deepEqual([c.cpu_user_regs_64.offset('cs', 'native'), c.cpu_user_regs_32.offset('gs', 'compat')], [136, 64]);
});

test('start_info: offsets in both layouts', () => {
  const fields = [
    'nr_pages',
    'shared_info',
    'flags',
    'store_evtchn',
    'console_mfn',
    'pt_base',
    'cmd_line',
    'nr_p2m_frames',
  ] as const;
  assert.deepEqual(
    fields.map((field) => start_info.offset(field, 'native')),
    [32, 40, 48, 64, 72, 88, 128, 1160],
  );
  assert.deepEqual(
    fields.map((field) => start_info.offset(field, 'compat')),
    [32, 36, 40, 48, 52, 60, 80, 1108],
  );
});

test('CR3 of a PV guest: 32-bit guests rotate the frame number', () => {
  assert.equal(c.frameToCr3(0x12345n, 'native'), 0x12345000n);
  assert.equal(c.frameToCr3(0x312345n, 'compat'), 0x12345003n);
  assert.equal(c.cr3ToFrame(0x12345003n, 'compat'), 0x312345n);
});
