/** Hypercalls with few operations: version, vm_assist, multicall, console, physdev, mmuext and what guests are refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EACCES, EFAULT, EINVAL, ENOBUFS, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../../abi/xen/errno.ts';
import * as a from '../../abi/xen/misc.ts';
import { array, u8, u32 } from '../../abi/xen/struct.ts';
import * as v from '../../abi/xen/version.ts';
import * as x from '../../abi/xen/xen.ts';
import type { Hypercall } from '../hypercall.ts';
import { HypercallTable } from '../hypercall.ts';
import { ARGUMENT, NOWHERE, TestDomain, type TestDomainOptions } from '../testing.ts';
import { consoleIo } from './console-io.ts';
import { mmuextOp } from './mmuext.ts';
import { multicall } from './multicall.ts';
import { physdevOp } from './physdev.ts';
import { domctl, platformOp, sysctl, unavailable } from './privileged.ts';
import { vmAssist } from './vm-assist.ts';
import { xenVersion } from './xen-version.ts';

const calls: readonly Hypercall[] = [
  xenVersion,
  vmAssist,
  consoleIo,
  physdevOp,
  mmuextOp,
  sysctl,
  domctl,
  platformOp,
  ...unavailable,
];
const make = (options: TestDomainOptions = {}): TestDomain => new TestDomain({ hypercalls: calls, ...options });

test('xen_version: number of the selected release', () => {
  assert.equal(make({ version: '4.18' }).raw(x.__HYPERVISOR_xen_version, [0n]), 0x4_0012);
});

test('xen_version: text buffers are zero to their end, EFAULT otherwise', () => {
  const t = make();
  for (const [op, size] of [
    [v.XENVER_extraversion, 16],
    [v.XENVER_compile_info, 144],
    [v.XENVER_capabilities, 1024],
    [v.XENVER_changeset, 64],
  ] as const) {
    t.domain.memory.writePhysical(0x1000, new Uint8Array(size + 1).fill(0xee));
    assert.equal(t.raw(x.__HYPERVISOR_xen_version, [BigInt(op), ARGUMENT]), 0);
    const bytes = t.get(array(u8, size + 1));
    assert.equal(bytes[size - 1], 0);
    assert.equal(bytes[size], 0xee);
    assert.ok(!bytes.slice(0, size).includes(0xee));
    assert.equal(t.raw(x.__HYPERVISOR_xen_version, [BigInt(op), NOWHERE]), -EFAULT);
  }
});

test('XENVER_get_features: EFAULT, EINVAL, features by guest and release', () => {
  const ask = (options: TestDomainOptions): number => {
    const t = make(options);
    t.put(v.xen_feature_info, { submap_idx: 0, submap: 0 });
    assert.equal(t.raw(x.__HYPERVISOR_xen_version, [BigInt(v.XENVER_get_features), ARGUMENT]), 0);
    return t.get(v.xen_feature_info).submap;
  };
  const bits = (...list: number[]): number => list.reduce((map, bit) => map | (1 << bit), 0);
  assert.equal(ask({ version: '4.17' }), bits(0, 2, 8, 9, 13, 16));
  assert.equal(ask({ version: '4.22' }), bits(0, 2, 8, 9, 13, 16, 18, 19, 20));
  assert.equal(ask({ config: { type: 'pv64' } }), bits(5, 6, 7, 13, 17, 18, 19, 20));
  const t = make();
  assert.equal(t.raw(x.__HYPERVISOR_xen_version, [BigInt(v.XENVER_get_features), NOWHERE]), -EFAULT);
  t.put(v.xen_feature_info, { submap_idx: 1, submap: 0 });
  assert.equal(t.raw(x.__HYPERVISOR_xen_version, [BigInt(v.XENVER_get_features), ARGUMENT]), -EINVAL);
});

test('xen_version: page size, privileged and variable-length forms', () => {
  const t = make();
  const call = (op: number, arg: bigint): unknown => t.raw(x.__HYPERVISOR_xen_version, [BigInt(op), arg]);
  assert.equal(call(v.XENVER_pagesize, 0n), 4096);
  assert.equal(call(v.XENVER_pagesize, 1n), -EINVAL);
  assert.equal(call(v.XENVER_build_id, 0n), -EPERM);
  assert.equal(call(v.XENVER_commandline, ARGUMENT), 0);
  assert.equal(call(99, 0n), -ENOSYS);
  assert.equal(call(v.XENVER_extraversion2, 0n), 2);
  t.put(u32, 1);
  assert.equal(call(v.XENVER_extraversion2, ARGUMENT), -ENOBUFS);
  t.put(u32, 2);
  assert.equal(call(v.XENVER_extraversion2, ARGUMENT), 2);
});

test('vm_assist: a type the guest lacks is EINVAL before an unknown command is ENOSYS', () => {
  const t = make();
  const call = (command: bigint, type: bigint): unknown => t.raw(x.__HYPERVISOR_vm_assist, [command, type]);
  assert.equal(call(9n, 0n), -EINVAL);
  assert.equal(call(9n, 5n), -ENOSYS);
  assert.equal(call(0n, 5n), 0);
  assert.equal(t.domain.vmAssist, 32n);
  assert.equal(call(1n, 5n), 0);
  assert.equal(t.domain.vmAssist, 0n);
  const pv = make({ config: { type: 'pv64' } });
  assert.equal(pv.raw(x.__HYPERVISOR_vm_assist, [0n, 32n]), 0);
});

test('sysctl, domctl, platform_op: EFAULT, EACCES for the version, ESRCH, EPERM', () => {
  const t = make();
  for (const [number, type, version] of [
    [x.__HYPERVISOR_sysctl, a.xen_sysctl, 0x16],
    [x.__HYPERVISOR_domctl, a.xen_domctl, 0x18],
    [x.__HYPERVISOR_platform_op, a.xen_platform_op, a.XENPF_INTERFACE_VERSION],
  ] as const) {
    const put = (interface_version: number, domain = 1): void => {
      t.put(
        type as never,
        { cmd: 5, interface_version, domain, pad: new Uint8Array(6), u: new Uint8Array(128) } as never,
      );
    };
    assert.equal(t.raw(number, [NOWHERE]), -EFAULT);
    put(version - 1);
    assert.equal(t.raw(number, [ARGUMENT]), -EACCES);
    put(version);
    assert.equal(t.raw(number, [ARGUMENT]), -EPERM);
    put(version, 77);
    assert.equal(t.raw(number, [ARGUMENT]), number === x.__HYPERVISOR_domctl ? -ESRCH : -EPERM);
  }
});

test('hypercalls an ordinary guest is refused', () => {
  const t = make();
  for (const [number, want] of [
    [x.__HYPERVISOR_xsm_op, -ENOSYS],
    [x.__HYPERVISOR_kexec_op, -ENOSYS],
    [x.__HYPERVISOR_tmem_op, -ENOSYS],
    [x.__HYPERVISOR_argo_op, -ENOSYS],
    [x.__HYPERVISOR_xenpmu_op, -EOPNOTSUPP],
    [x.__HYPERVISOR_dm_op, -EPERM],
    [200, -ENOSYS],
  ] as const) {
    assert.equal(t.raw(number, [0n, ARGUMENT]), want, `hypercall ${number}`);
  }
  assert.equal(t.domain.audit.counts.get('hypercall 200'), 1);
  assert.equal(make({ config: { type: 'pv64' } }).raw(x.__HYPERVISOR_kexec_op, [0n]), -EPERM);
});

test('console_io: EPERM for guests unless opened; printable bytes reach the console', () => {
  assert.equal(make().raw(x.__HYPERVISOR_console_io, [0n, 4n, NOWHERE]), -EPERM);
  const t = make({ rules: { 'guest-console-io': 'on' } });
  let seen = '';
  t.domain.onConsoleOutput = (bytes) => {
    seen += String.fromCharCode(...bytes);
  };
  t.domain.memory.writePhysical(0x1000, Uint8Array.of(0x68, 1, 0x69, 10));
  assert.equal(t.raw(x.__HYPERVISOR_console_io, [0n, 4n, ARGUMENT]), 0);
  assert.equal(seen, 'hi\n');
  assert.equal(t.raw(x.__HYPERVISOR_console_io, [0n, 0x8000_0000n, NOWHERE]), -EFAULT);
  assert.equal(t.raw(x.__HYPERVISOR_console_io, [7n, 0n, 0n]), -ENOSYS);
});

test('physdev_op: pirq operations need the flag; map and unmap reach their handler from 4.20', () => {
  const call = (t: TestDomain, op: number, arg = NOWHERE): unknown =>
    t.raw(x.__HYPERVISOR_physdev_op, [BigInt(op), arg]);
  assert.equal(call(make({ version: '4.19' }), a.PHYSDEVOP_map_pirq), -ENOSYS);
  const t = make({ version: '4.20' });
  assert.equal(call(t, a.PHYSDEVOP_map_pirq), -EFAULT);
  assert.equal(call(t, a.PHYSDEVOP_eoi), -ENOSYS);
  assert.equal(call(t, a.PHYSDEVOP_set_iopl), -ENOSYS);
  t.put(a.physdev_unmap_pirq, { domid: 77, pirq: 1 });
  assert.equal(call(t, a.PHYSDEVOP_unmap_pirq, ARGUMENT), -ESRCH);
  t.put(a.physdev_unmap_pirq, { domid: x.DOMID_SELF, pirq: 1 });
  assert.equal(call(t, a.PHYSDEVOP_unmap_pirq, ARGUMENT), -EPERM);
  assert.equal(call(make({ config: { pirqs: true } }), a.PHYSDEVOP_eoi), -EFAULT);
});

test('mmuext_op: EINVAL for HVM guests, behind the domain', () => {
  const t = make();
  const op = (domid: number): unknown => t.raw(x.__HYPERVISOR_mmuext_op, [NOWHERE, 1n, 0n, BigInt(domid)]);
  assert.equal(op(9), -ESRCH);
  assert.equal(op(0), -EPERM);
  assert.equal(op(x.DOMID_SELF), -EINVAL);
});

test('multicall: EINVAL when nested, EFAULT for the list, results in order', () => {
  let table: HypercallTable | undefined;
  const call = multicall(() => table!);
  table = new HypercallTable([...calls, call]);
  const t = new TestDomain({ hypercalls: [...calls, call] });
  const put = (index: number, op: number, ...args: bigint[]): void => {
    const all = [...args, 0n, 0n, 0n, 0n, 0n, 0n].slice(0, 6);
    t.put(x.multicall_entry, { op: BigInt(op), result: 0x55n, args: all }, ARGUMENT + BigInt(index * 64));
  };
  put(0, x.__HYPERVISOR_xen_version, BigInt(v.XENVER_pagesize));
  put(1, 200);
  put(2, x.__HYPERVISOR_multicall);
  assert.equal(t.raw(x.__HYPERVISOR_multicall, [ARGUMENT, 3n]), 0);
  const result = (index: number): bigint =>
    BigInt.asIntN(64, t.get(x.multicall_entry, ARGUMENT + BigInt(index * 64)).result);
  assert.deepEqual([result(0), result(1), result(2)], [4096n, BigInt(-ENOSYS), BigInt(-EINVAL)]);
  assert.equal(t.raw(x.__HYPERVISOR_multicall, [NOWHERE, 1n]), -EFAULT);
  assert.equal(t.raw(x.__HYPERVISOR_multicall, [NOWHERE, 0n]), 0);
});
