import assert from 'node:assert/strict';
import { test } from 'node:test';
import { XenMachine } from '../machine.ts';

for (const [type, width] of [
  ['pv64', 64],
  ['pv32', 32],
] as const) {
  test(`a ${type} machine has a PV domain of its width, a vCPU for each processor, and no local APIC`, () => {
    const { domain, platform } = new XenMachine({ type, maxVcpus: 2, maxMemory: 1 << 20 });
    assert.equal(domain.pv?.width, width);
    assert.deepEqual(
      domain.pv?.vcpus.map(({ vcpu }) => vcpu.id),
      [0, 1],
    );
    assert.equal(domain.isHvm, false);
    assert.equal(platform.lapic(domain.vcpus[0].id), undefined);
  });
}
