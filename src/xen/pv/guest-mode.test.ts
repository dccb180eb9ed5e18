import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  VCPUOP_register_runstate_memory_area,
  VCPUOP_register_vcpu_time_memory_area,
  vcpu_register_area,
} from '../../abi/xen/vcpu.ts';
import { __HYPERVISOR_vcpu_op } from '../../abi/xen/xen.ts';
import { toggleMode } from './guest-mode.ts';
import { PvBench } from './testing.ts';

const AREA = 0x8000n;

/** A guest with an area at a linear address that its user mode does not map. */
function withArea(operation: number): PvBench {
  const bench = new PvBench(64).start();
  const root = bench.pv.mm.allocate(100);
  assert.notEqual(root, undefined);
  assert.equal(bench.pv.mm.setUserRoot(bench.vcpu, root), 0);
  const argument = bench.put(vcpu_register_area, { addr: AREA });
  assert.equal(bench.call(__HYPERVISOR_vcpu_op, operation, 0, argument), 0);
  toggleMode(bench.pv, bench.vcpu, bench.cpu);
  return bench;
}

test('runstate area at a linear address: not written in user mode, but on the way back to the kernel', () => {
  const bench = withArea(VCPUOP_register_runstate_memory_area);
  bench.write(AREA, new Array<number>(48).fill(0xee));
  bench.pv.domain.info.runstate.update(bench.vcpu.vcpu);
  assert.equal(bench.words(AREA, 1)[0], 0xeeee_eeee_eeee_eeeen);
  toggleMode(bench.pv, bench.vcpu, bench.cpu);
  assert.notEqual(bench.words(AREA, 1)[0], 0xeeee_eeee_eeee_eeeen);
});

test('time area at a linear address: not written in user mode, but on the way back to the kernel', () => {
  const bench = withArea(VCPUOP_register_vcpu_time_memory_area);
  const before = bench.words(AREA, 4);
  bench.machine.time.clock.advance(100n);
  bench.pv.domain.info.time.update(bench.vcpu.vcpu);
  assert.deepEqual(bench.words(AREA, 4), before);
  toggleMode(bench.pv, bench.vcpu, bench.cpu);
  assert.notDeepEqual(bench.words(AREA, 4), before);
});
