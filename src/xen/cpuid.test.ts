import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as STATE from '../cpu/state.ts';
import { cpuid, SIGNATURE } from './cpuid.ts';
import { CpuidPolicy } from './cpuid-policy.ts';
import { TestDomain } from './testing.ts';

function ask(
  policy: CpuidPolicy,
  leaf: number,
  subleaf = 0,
  change: (t: TestDomain) => void = () => {},
  apicEnabled = true,
): number[] {
  const t = new TestDomain({ version: '4.22' });
  change(t);
  const out = new Uint32Array(4);
  cpuid(policy, t.domain.vcpus[1], { apicId: 2, apicEnabled }, leaf, subleaf, out);
  return [...out];
}

test('CPUID: vendor, signature and twice the vCPU number as APIC id', () => {
  const policy = new CpuidPolicy();
  const [max, b, c, d] = ask(policy, 0);
  assert.equal(String.fromCharCode(...new Uint8Array(Uint32Array.of(b, d, c).buffer)), 'GenuineIntel');
  assert.equal(max, 0xd);
  const one = ask(policy, 1);
  assert.equal(one[0], SIGNATURE);
  assert.equal(one[1] >>> 24, 2);
  assert.equal(ask(policy, 0xb)[3], 2);
});

test('CPUID leaf 1: OSXSAVE follows CR4, APIC follows IA32_APIC_BASE, the hypervisor bit is set', () => {
  const policy = new CpuidPolicy();
  assert.equal(ask(policy, 1)[2] >>> 31, 1);
  assert.equal((ask(policy, 1)[2] >>> 27) & 1, 0);
  assert.equal((ask(policy, 1, 0, (t) => t.cpu(1).set32(STATE.CR4, 1 << 18))[2] >>> 27) & 1, 1);
  assert.equal((ask(policy, 1)[3] >>> 9) & 1, 1);
  assert.equal((ask(policy, 1, 0, () => {}, false)[3] >>> 9) & 1, 0);
});

test('CPUID: absent are VMX, RDRAND, AVX, AES, RTM', () => {
  const policy = new CpuidPolicy();
  for (const bit of [5, 30, 28, 25, 1]) assert.equal((ask(policy, 1)[2] >>> bit) & 1, 0, `leaf 1 ecx ${bit}`);
  assert.equal((ask(policy, 7)[1] >>> 11) & 1, 0);
});

test('CPUID: SYSCALL is shown to 64-bit code only', () => {
  const policy = new CpuidPolicy();
  assert.equal((ask(policy, 0x8000_0001)[3] >>> 11) & 1, 1);
  const compat = (t: TestDomain): void => {
    t.cpu(1).code64 = false;
  };
  assert.equal((ask(policy, 0x8000_0001, 0, compat)[3] >>> 11) & 1, 0);
});

test('CPUID: Xen leaves name the release, the hypercall register, vCPU and domain', () => {
  const policy = new CpuidPolicy();
  const [max, b, c, d] = ask(policy, 0x4000_0000);
  assert.equal(max, 0x4000_0005);
  assert.equal(String.fromCharCode(...new Uint8Array(Uint32Array.of(b, c, d).buffer)), 'XenVMMXenVMM');
  assert.deepEqual(ask(policy, 0x4000_0001), [0x4_0016, 0, 0, 0]);
  assert.deepEqual(ask(policy, 0x4000_0002), [1, 0x4000_0000, 0, 0]);
  assert.deepEqual(ask(policy, 0x4000_0004), [0x5c, 1, 1, 0]);
  policy.viridian = true;
  assert.deepEqual(ask(policy, 0x4000_0102), [1, 0x4000_0200, 0, 0]);
});

test('CpuidPolicy.configure: switches features with their dependants, refuses what it does not know', () => {
  const policy = new CpuidPolicy();
  policy.configure('host,sse4_1=0,smap=0,avx=1,popcnt=x');
  assert.deepEqual(
    ['SSE4_1', 'SSE4_2', 'SMAP', 'AVX', 'POPCNT'].map((f) => policy.has(f)),
    [false, false, false, false, true],
  );
  assert.equal((policy.cr4Mask >> 21n) & 1n, 0n);
  assert.throws(() => policy.configure('host,nonsense=1'), /nonsense/);
  assert.throws(() => policy.configure('guest'), /host/);
});

test('CPUID of PV guests: what belongs to paging and platforms of translated guests is hidden', () => {
  const policy = new CpuidPolicy();
  const names = ['PSE', 'PGE', 'VME', 'MTRR', 'SMEP', 'SMAP', 'PAGE1GB', 'x2APIC'];
  for (const width of [32, 64] as const) {
    const pv = policy.forPv(width);
    assert.deepEqual(
      names.filter((name) => pv.has(name)),
      [],
    );
    assert.ok(pv.has('SSE2') && pv.has('NX'));
    assert.equal(pv.has('LM'), width === 64);
    assert.equal(pv.has('SYSCALL'), width === 64);
  }
  assert.ok(names.every((name) => policy.has(name)));
});
