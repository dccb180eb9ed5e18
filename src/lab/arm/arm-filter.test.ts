import assert from 'node:assert/strict';
import { test } from 'node:test';
import { experimentArmFilter } from './arm-filter.ts';

test("Arm's filter: ENOENT first, two operations pass, everything else is EINVAL, known or not", () => {
  const rows = experimentArmFilter();
  assert.equal(rows.length, 17);
  const passed = new Set(['VCPUOP_register_vcpu_info', 'VCPUOP_register_runstate_memory_area']);
  for (const row of rows) {
    assert.equal(row.armNoSuchVcpu, '-ENOENT', row.operation);
    assert.equal(row.arm, passed.has(row.operation) ? '0' : '-EINVAL', row.operation);
  }
});

test("Arm's filter: the same requests on x86 are all granted but get_physid and an unknown one", () => {
  const refused = experimentArmFilter().filter(({ x86 }) => x86.startsWith('-'));
  assert.deepEqual(
    refused.map(({ operation, x86 }) => [operation, x86]),
    [
      ['VCPUOP_get_physid', '-EINVAL'],
      ['16', '-ENOSYS'],
    ],
  );
});
