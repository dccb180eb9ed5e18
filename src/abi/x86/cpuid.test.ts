import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CPUID_FEATURE, CPUID_FEATURES } from './cpuid.ts';

test('CPUID_FEATURES: no word names more than 32 bits and no name appears twice', () => {
  const names = Object.values(CPUID_FEATURES).flatMap((word) => {
    const list = word.split(' ');
    assert.ok(list.length <= 32, word);
    return list.filter((name) => name !== '.');
  });
  assert.equal(new Set(names).size, names.length);
});

test('CPUID_FEATURE: known features sit at their documented bits', () => {
  const expected: [string, string, number][] = [
    ['x2APIC', '1c', 21],
    ['HYPERVISOR', '1c', 31],
    ['TSC_DEADLINE', '1c', 24],
    ['OSXSAVE', '1c', 27],
    ['APIC', '1d', 9],
    ['HTT', '1d', 28],
    ['SMEP', '7b', 7],
    ['SMAP', '7b', 20],
    ['AVX512VL', '7b', 31],
    ['UMIP', '7c', 2],
    ['LA57', '7c', 16],
    ['RDPID', '7c', 22],
    ['FSRM', '7d', 4],
    ['MD_CLEAR', '7d', 10],
    ['SERIALIZE', '7d', 14],
    ['SSBD', '7d', 31],
    ['ARCH_CAPS', '7d', 29],
    ['DBEXT', 'e1c', 26],
    ['TOPOEXT', 'e1c', 22],
    ['SYSCALL', 'e1d', 11],
    ['NX', 'e1d', 20],
    ['LM', 'e1d', 29],
    ['RDTSCP', 'e1d', 27],
    ['ITSC', 'e7d', 8],
  ];
  for (const [name, word, bit] of expected) assert.deepEqual(CPUID_FEATURE.get(name), { word, bit }, name);
});
