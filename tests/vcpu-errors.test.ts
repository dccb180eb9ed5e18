/** Order of errors of every vCPU operation, in both widths: ENOENT before all else, then EFAULT for pointers to nowhere where one is read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as errno from '../src/abi/xen/errno.ts';
import * as v from '../src/abi/xen/vcpu.ts';
import { __HYPERVISOR_vcpu_op } from '../src/abi/xen/xen.ts';
import { vcpuOp } from '../src/xen/hypercalls/vcpu.ts';
import { NOWHERE, TestDomain } from '../src/xen/testing.ts';

const { EFAULT, EINVAL, ENOENT, ENOSYS } = errno;
const WIDTHS = ['native', 'compat'] as const;
const OPERATIONS = Array.from({ length: 17 }, (_, operation) => operation);
/** Pointers behind which nothing is: no memory, beyond any memory, and one whose structure would leave the address space. */
const WILD = { native: [NOWHERE, 1n << 62n, (1n << 64n) - 4n], compat: [NOWHERE, 0xffff_fffcn] } as const;

const ask = (d: TestDomain, operation: number, id: bigint, arg: bigint, width: 'native' | 'compat'): unknown =>
  d.raw(__HYPERVISOR_vcpu_op, [BigInt(operation), id, arg], { width });
const make = (): TestDomain => new TestDomain({ hypercalls: [vcpuOp] });

test('vcpu_op: ENOENT for every operation and every id from the maximum on, whatever the argument', () => {
  const d = make();
  for (const width of WIDTHS)
    for (const operation of [...OPERATIONS, 0xffff_ffff])
      for (const id of [2n, 31n, 32n, 128n, 8192n, 0x7fff_ffffn, 0xffff_ffffn])
        for (const arg of [0n, ...WILD[width]])
          assert.equal(ask(d, operation, id, arg, width), -ENOENT, `${width} operation ${operation} of vCPU ${id}`);
});

/** What each operation answers to a pointer to nowhere; vCPU 1 is down and was never initialised. */
const FIRST: Readonly<Record<number, readonly [self: number, other: number]>> = {
  [v.VCPUOP_initialise]: [-EFAULT, -EFAULT],
  [v.VCPUOP_up]: [0, -EINVAL],
  [v.VCPUOP_is_up]: [1, 0],
  [v.VCPUOP_get_runstate_info]: [-EFAULT, -EFAULT],
  [v.VCPUOP_register_runstate_memory_area]: [-EFAULT, -EFAULT],
  [v.VCPUOP_set_periodic_timer]: [-EFAULT, -EFAULT],
  [v.VCPUOP_stop_periodic_timer]: [0, 0],
  [v.VCPUOP_set_singleshot_timer]: [-EFAULT, -EINVAL],
  [v.VCPUOP_stop_singleshot_timer]: [0, -EINVAL],
  [v.VCPUOP_register_vcpu_info]: [-EFAULT, -EFAULT],
  [v.VCPUOP_send_nmi]: [-EINVAL, -EINVAL],
  [v.VCPUOP_get_physid]: [-EINVAL, -EINVAL],
  [v.VCPUOP_register_vcpu_time_memory_area]: [-EFAULT, -EFAULT],
  [v.VCPUOP_register_runstate_phys_area]: [-EFAULT, -EFAULT],
  [v.VCPUOP_register_vcpu_time_phys_area]: [-EFAULT, -EFAULT],
  16: [-ENOSYS, -ENOSYS],
};

for (const width of WIDTHS) {
  test(`vcpu_op, ${width}: what comes first for a pointer to nowhere`, () => {
    for (const operation of OPERATIONS.filter((each) => each !== v.VCPUOP_down)) {
      for (const arg of WILD[width]) {
        const d = make();
        const [self, other] = FIRST[operation]!;
        // A 32-bit caller's structure is translated before anything looks at the target.
        const early = width === 'compat' && operation === v.VCPUOP_set_singleshot_timer ? -EFAULT : other;
        assert.equal(ask(d, operation, 0n, arg, width), self, `operation ${operation} of itself`);
        assert.equal(ask(d, operation, 1n, arg, width), early, `operation ${operation} of another`);
      }
    }
  });
}

test('vcpu_op: a virtual area at an address without memory is accepted, and nothing is harmed when it is written', () => {
  for (const operation of [v.VCPUOP_register_runstate_memory_area, v.VCPUOP_register_vcpu_time_memory_area]) {
    const d = make();
    assert.equal(ask(d, operation, 0n, d.put(v.vcpu_register_area, { addr: NOWHERE }), 'native'), 0);
    d.domain.info.runstate.update(d.domain.vcpus[0]!);
    d.domain.info.time.update(d.domain.vcpus[0]!);
    assert.equal(d.shutdownReason(), undefined);
  }
});
