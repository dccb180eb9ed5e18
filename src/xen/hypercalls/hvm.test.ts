import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EEXIST, EFAULT, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import * as h from '../../abi/xen/hvm.ts';
import { DOMID_SELF, __HYPERVISOR_hvm_op as OP } from '../../abi/xen/xen.ts';
import { ARGUMENT, NOWHERE, TestDomain } from '../testing.ts';
import { hvmOp } from './hvm.ts';

const make = (): TestDomain => new TestDomain({ hypercalls: [hvmOp] });

function param(t: TestDomain, op: number, index: number, value = 0n, domid = DOMID_SELF): unknown {
  t.put(h.xen_hvm_param, { domid, pad: 0, index, value });
  return t.raw(OP, [BigInt(op), ARGUMENT]);
}

for (const [name, op] of [
  ['HVMOP_set_param', h.HVMOP_set_param],
  ['HVMOP_get_param', h.HVMOP_get_param],
] as const) {
  test(`${name}: EFAULT, EINVAL for the index, ESRCH, EINVAL from PV`, () => {
    const t = make();
    assert.equal(t.raw(OP, [BigInt(op), NOWHERE]), -EFAULT);
    assert.equal(param(t, op, h.HVM_NR_PARAMS, 0n, 77), -EINVAL);
    assert.equal(param(t, op, h.HVM_PARAM_STORE_EVTCHN, 0n, 77), -ESRCH);
    const pv = new TestDomain({ hypercalls: [hvmOp], config: { type: 'pv64', pvh: false } });
    assert.equal(param(pv, op, h.HVM_PARAM_STORE_EVTCHN), -EINVAL);
  });
}

test('HVMOP_set_param: which parameters a guest may set', () => {
  const t = make();
  const settable = [0, 2, 15, 18, 34, 36];
  const deprecated = [4, 13, 20, 21, 22, 23, 24, 25, 26, 30];
  for (let index = 0; index < h.HVM_NR_PARAMS; index++) {
    if (index === h.HVM_PARAM_VM86_TSS_SIZED || index === h.HVM_PARAM_ACPI_IOPORTS_LOCATION) continue;
    const want = settable.includes(index)
      ? 0
      : deprecated.includes(index)
        ? -EINVAL
        : index === h.HVM_PARAM_ALTP2M
          ? -EEXIST
          : -EPERM;
    assert.equal(param(t, h.HVMOP_set_param, index), want, `parameter ${index}`);
  }
});

test('HVMOP_get_param: which parameters a guest may read', () => {
  const t = make();
  t.domain.hvmParams[h.HVM_PARAM_CONSOLE_PFN] = 0xfefffn;
  assert.equal(param(t, h.HVMOP_get_param, h.HVM_PARAM_CONSOLE_PFN), 0);
  assert.equal(t.get(h.xen_hvm_param).value, 0xfefffn);
  assert.equal(param(t, h.HVMOP_get_param, h.HVM_PARAM_STORE_PFN), 0);
  assert.equal(param(t, h.HVMOP_get_param, h.HVM_PARAM_IOREQ_PFN), -EPERM);
  assert.equal(param(t, h.HVMOP_get_param, h.HVM_PARAM_PAE_ENABLED), -EINVAL);
});

test('HVM_PARAM_X87_FIP_WIDTH: 0, 4 or 8', () => {
  const t = make();
  assert.equal(param(t, h.HVMOP_set_param, h.HVM_PARAM_X87_FIP_WIDTH, 8n), 0);
  assert.equal(param(t, h.HVMOP_set_param, h.HVM_PARAM_X87_FIP_WIDTH, 5n), -EINVAL);
});

test('HVM_PARAM_VM86_TSS: has a size of 128 bytes; too small a size crashes the domain', () => {
  const t = make();
  assert.equal(param(t, h.HVMOP_set_param, h.HVM_PARAM_VM86_TSS, 0x1000n), 0);
  assert.equal(param(t, h.HVMOP_get_param, h.HVM_PARAM_VM86_TSS_SIZED), 0);
  assert.equal(t.get(h.xen_hvm_param).value, (128n << 32n) | 0x1000n);
  assert.equal(param(t, h.HVMOP_set_param, h.HVM_PARAM_VM86_TSS_SIZED, 1n << 32n), -EINVAL);
  assert.equal(t.domain.shutdownState?.reason, 3);
});

test('HVM_PARAM_CALLBACK_IRQ: latches the width of the shared areas from the caller', () => {
  const t = make();
  t.put(h.xen_hvm_param, { domid: DOMID_SELF, pad: 0, index: h.HVM_PARAM_CALLBACK_IRQ, value: (2n << 56n) | 0x40n });
  assert.equal(t.raw(OP, [BigInt(h.HVMOP_set_param), ARGUMENT], { width: 'compat' }), 0);
  assert.equal(t.domain.layout, 'compat');
  assert.equal(t.raw(OP, [BigInt(h.HVMOP_set_param), ARGUMENT]), 0);
  assert.equal(t.domain.layout, 'native');
  assert.deepEqual(t.domain.upcalls.via, { kind: 'vector', vector: 0x40 });
});

test('HVMOP_set_evtchn_upcall_vector: EFAULT, EINVAL below 16, ENOENT', () => {
  const t = make();
  const op = BigInt(h.HVMOP_set_evtchn_upcall_vector);
  assert.equal(t.raw(OP, [op, NOWHERE]), -EFAULT);
  for (const [vcpu, vector, want] of [
    [9, 15, -EINVAL],
    [9, 16, -ENOENT],
    [1, 0x30, 0],
  ] as const) {
    t.put(h.xen_hvm_evtchn_upcall_vector, { vcpu, vector });
    assert.equal(t.raw(OP, [op, ARGUMENT]), want);
  }
});

test('other HVM operations', () => {
  const t = make();
  assert.equal(t.raw(OP, [BigInt(h.HVMOP_flush_tlbs), 1n]), -EINVAL);
  assert.equal(t.raw(OP, [BigInt(h.HVMOP_flush_tlbs), 0n]), 0);
  assert.equal(t.raw(OP, [BigInt(h.HVMOP_get_time), NOWHERE]), -EFAULT);
  assert.equal(t.raw(OP, [BigInt(h.HVMOP_get_time), ARGUMENT]), 0);
  assert.equal(t.get(h.xen_hvm_get_time).now, t.domain.now());
  assert.equal(t.raw(OP, [BigInt(h.HVMOP_guest_request_vm_event), 1n]), -EINVAL);
  assert.equal(t.raw(OP, [BigInt(h.HVMOP_altp2m), ARGUMENT]), -EOPNOTSUPP);
  assert.equal(t.raw(OP, [4n, ARGUMENT]), -ENOSYS);
});

test('HVMOP_get_mem_type: RAM or device', () => {
  const t = make();
  for (const [pfn, want] of [
    [3n, h.HVMMEM_ram_rw],
    [999n, h.HVMMEM_mmio_dm],
  ] as const) {
    t.put(h.xen_hvm_get_mem_type, { domid: DOMID_SELF, mem_type: 9, pad0: 0, pad1: 0, pfn });
    assert.equal(t.raw(OP, [BigInt(h.HVMOP_get_mem_type), ARGUMENT]), 0);
    assert.equal(t.get(h.xen_hvm_get_mem_type).mem_type, want);
  }
});
