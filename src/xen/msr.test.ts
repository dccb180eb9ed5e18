import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CpuidPolicy } from './cpuid-policy.ts';
import { type ApicMsrs, VcpuMsrs } from './msr.ts';
import { TestDomain } from './testing.ts';

class StubApic implements ApicMsrs {
  apicBase = 0xfee0_0900n;
  x2apic = false;
  deadline = 0n;
  writeApicBase(value: bigint): boolean {
    this.apicBase = value;
    return true;
  }
  x2apicRead(offset: number): bigint | undefined {
    return offset === 0x20 ? 2n : undefined;
  }
  x2apicWrite(offset: number): boolean {
    return offset === 0xb0;
  }
  readTscDeadline(): bigint {
    return this.deadline;
  }
  writeTscDeadline(value: bigint): void {
    this.deadline = value;
  }
}

function make(): { t: TestDomain; apic: StubApic; msrs: VcpuMsrs; tsc: { value: bigint } } {
  const t = new TestDomain();
  const apic = new StubApic();
  const tsc = { value: 1000n };
  const port = {
    read: () => tsc.value,
    write: (value: bigint) => {
      tsc.value = value;
    },
  };
  return { t, apic, tsc, msrs: new VcpuMsrs(t.domain.vcpus[0], new CpuidPolicy(), apic, port) };
}

test('hypercall page: #GP for a page index or a frame without RAM, stubs otherwise; reads give 0', () => {
  const { t, msrs } = make();
  assert.equal(msrs.write(0x4000_0000, 0x5001n), false);
  assert.equal(msrs.write(0x4000_0000, 0x70_0000n), false);
  assert.equal(msrs.write(0x4000_0000, 0x5000n), true);
  const page = new Uint8Array(4096);
  t.domain.memory.readPhysical(0x5000, page);
  assert.deepEqual([...page.subarray(32, 42)], [0xb8, 1, 0, 0, 0, 0x0f, 0x01, 0xc1, 0xc3, 0xcc]);
  assert.deepEqual([...page.subarray(23 * 32, 23 * 32 + 3)], [0x0f, 0x0b, 0xcc]);
  assert.equal(msrs.read(0x4000_0000), 0n);
});

test('hypercall page: latches the width of the shared areas from the writer', () => {
  const { t, msrs } = make();
  t.cpu(0).code64 = false;
  msrs.write(0x4000_0000, 0x5000n);
  assert.equal(t.domain.layout, 'compat');
  t.cpu(0).code64 = true;
  msrs.write(0x4000_0000, 0x5000n);
  assert.equal(t.domain.layout, 'native');
});

test('x2APIC registers: #GP unless the APIC is in that mode', () => {
  const { apic, msrs } = make();
  assert.equal(msrs.read(0x802), undefined);
  apic.x2apic = true;
  assert.equal(msrs.read(0x802), 2n);
  assert.equal(msrs.write(0x80b, 0n), true);
  assert.equal(msrs.write(0x802, 0n), false);
});

test('registers that are #GP, readable, or ignore writes', () => {
  const { msrs } = make();
  for (const index of [0x48, 0x49, 0x10a, 0x17b, 0x408, 0xda0, 0xc001_0015, 0x1234]) {
    assert.equal(msrs.read(index), undefined, `0x${index.toString(16)}`);
    assert.equal(msrs.write(index, 0n), false, `0x${index.toString(16)}`);
  }
  assert.equal(msrs.read(0xce), 1n << 31n);
  assert.equal(msrs.write(0xce, 0n), false);
  assert.equal(msrs.read(0x3a), 1n);
  assert.equal(msrs.read(0xc1), 0n);
  assert.equal(msrs.write(0x1a0, msrs.read(0x1a0)!), true);
  assert.equal(msrs.write(0x1a0, 0n), false);
});

test('MISC_FEATURES_ENABLES: only CPUID faulting may be set', () => {
  const { msrs } = make();
  assert.equal(msrs.write(0x140, 2n), false);
  assert.equal(msrs.write(0x140, 1n), true);
  assert.equal(msrs.read(0x140), 1n);
});

test('time-stamp counter: TSC_ADJUST moves it by the difference', () => {
  const { msrs, tsc } = make();
  assert.equal(msrs.read(0x10), 1000n);
  msrs.write(0x3b, 500n);
  assert.equal(tsc.value, 1500n);
  msrs.write(0x3b, 100n);
  assert.equal(tsc.value, 1100n);
  msrs.write(0x10, 1000n);
  assert.equal(msrs.read(0x3b), 0n, 'a write to the counter is part of the adjustment');
});

test('MTRRs: reserved bits and types are #GP, the capabilities are read-only', () => {
  const { msrs } = make();
  assert.equal(msrs.read(0xfe), 0x508n);
  assert.equal(msrs.write(0xfe, 0n), false);
  assert.equal(msrs.read(0x2ff), 0x806n);
  assert.equal(msrs.write(0x2ff, 2n), false);
  assert.equal(msrs.write(0x2ff, 0xc06n), true);
  assert.equal(msrs.write(0x200, 0x1000_0006n), true);
  assert.equal(msrs.write(0x200, 0x100n), false);
  assert.equal(msrs.write(0x201, 1n << 40n), false);
  assert.equal(msrs.write(0x250, 0x0606_0606_0606_0603n), false);
});
