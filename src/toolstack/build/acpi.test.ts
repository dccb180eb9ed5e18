import assert from 'node:assert/strict';
import { test } from 'node:test';
import { latin1, viewOf } from '../bytes.ts';
import { type AcpiTables, buildAcpi } from './acpi.ts';
import { packaged } from './aml.ts';

const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => (total + byte) & 255, 0);
const at = (acpi: AcpiTables, gpa: number): Uint8Array => {
  const start = gpa - acpi.tables.gpa;
  const length = viewOf(acpi.tables.bytes).getUint32(start + 4, true);
  return acpi.tables.bytes.subarray(start, start + length);
};
const signature = (table: Uint8Array): string => latin1(table.subarray(0, 4));
const xsdtEntries = (acpi: AcpiTables): Uint8Array[] => {
  const xsdt = at(acpi, Number(viewOf(acpi.rsdp.bytes).getBigUint64(24, true)));
  return Array.from({ length: (xsdt.length - 36) / 8 }, (_, i) =>
    at(acpi, Number(viewOf(xsdt).getBigUint64(36 + i * 8, true))),
  );
};

test('ACPI: RSDP leads to RSDT and XSDT, every checksum holds', () => {
  const acpi = buildAcpi({ maxVcpus: 3, vcpus: 2, lowRsdp: false });
  assert.equal(latin1(acpi.rsdp.bytes.subarray(0, 8)), 'RSD PTR ');
  assert.equal(sum(acpi.rsdp.bytes.subarray(0, 20)), 0);
  assert.equal(sum(acpi.rsdp.bytes.subarray(0, 36)), 0);
  const rsdt = at(acpi, viewOf(acpi.rsdp.bytes).getUint32(16, true));
  assert.equal(signature(rsdt), 'RSDT');
  const tables = xsdtEntries(acpi);
  assert.deepEqual(tables.map(signature), ['FACP', 'APIC']);
  const fadt = tables[0]!;
  const dsdt = at(acpi, viewOf(fadt).getUint32(40, true));
  assert.equal(signature(dsdt), 'DSDT');
  for (const table of [rsdt, dsdt, ...tables]) assert.equal(sum(table), 0, signature(table));
  assert.equal(signature(at(acpi, viewOf(fadt).getUint32(36, true))), 'FACS');
  assert.equal(fadt.length, 268);
  assert.equal(fadt[8], 5);
  assert.equal(viewOf(fadt).getUint16(109, true), 0x24);
  assert.equal(viewOf(fadt).getUint32(76, true), 0, 'no PM timer');
});

test('ACPI: the MADT names local APICs 2*vCPU, enabled for the vCPUs online', () => {
  const madt = xsdtEntries(buildAcpi({ maxVcpus: 3, vcpus: 2, lowRsdp: false }))[1]!;
  assert.equal(viewOf(madt).getUint32(36, true), 0xfee00000);
  assert.deepEqual([...madt.subarray(44)], [0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 1, 2, 1, 0, 0, 0, 0, 8, 2, 4, 0, 0, 0, 0]);
});

test('ACPI: the information page points at the MADT', () => {
  const acpi = buildAcpi({ maxVcpus: 5, vcpus: 5, lowRsdp: false });
  const info = viewOf(acpi.info.bytes);
  assert.equal(acpi.info.gpa, 0xfc000000);
  assert.equal(info.getUint16(2, true), 5);
  const lapic0 = info.getUint32(16, true) - acpi.tables.gpa;
  assert.deepEqual([...acpi.tables.bytes.subarray(lapic0, lapic0 + 2)], [0, 8]);
  assert.equal(info.getUint32(12, true), info.getUint32(16, true) - 44 + 9);
});

test('ACPI: the DSDT holds one processor object per vCPU under _SB, also for 128', () => {
  for (const count of [1, 16, 128]) {
    const acpi = buildAcpi({ maxVcpus: count, vcpus: count, lowRsdp: false });
    const dsdt = at(acpi, viewOf(xsdtEntries(acpi)[0]!).getUint32(40, true));
    const ids: number[] = [];
    let next = 36;
    assert.equal(dsdt[next++], 0x10);
    const body = lengthAt(dsdt, next);
    assert.equal(next + body.length, dsdt.length);
    next += body.bytes;
    assert.equal(latin1(dsdt.subarray(next, next + 5)), '\\_SB_');
    next += 5;
    while (next < dsdt.length) {
      assert.deepEqual([...dsdt.subarray(next, next + 2)], [0x5b, 0x83]);
      const item = lengthAt(dsdt, next + 2);
      const name = next + 2 + item.bytes;
      ids.push(dsdt[name + 4]!);
      assert.equal(
        latin1(dsdt.subarray(name, name + 4)),
        `PR${dsdt[name + 4]!.toString(16).toUpperCase().padStart(2, '0')}`,
      );
      next += 2 + item.length;
    }
    assert.deepEqual(
      ids,
      Array.from({ length: count }, (_, i) => i),
    );
  }
});

function lengthAt(aml: Uint8Array, at: number): { length: number; bytes: number } {
  const lead = aml[at]!;
  const more = lead >> 6;
  let length = more === 0 ? lead & 63 : lead & 15;
  for (let i = 1; i <= more; i++) length |= aml[at + i]! << (8 * i - 4);
  return { length, bytes: more + 1 };
}

test('AML: PkgLength takes one, two or three bytes and counts them', () => {
  for (const size of [0, 62, 63, 64, 4093, 4094, 5000]) {
    const made = packaged(new Uint8Array(size));
    assert.equal(lengthAt(made, 0).length, made.length);
  }
});

test('ACPI: the RSDP lies behind the tables, or in the last 64 bytes below 1 MiB', () => {
  const high = buildAcpi({ maxVcpus: 1, vcpus: 1, lowRsdp: false });
  assert.equal(high.rsdp.gpa, high.tables.gpa + high.tables.bytes.length);
  assert.equal(high.tables.bytes.length % 4096, 0);
  assert.equal(buildAcpi({ maxVcpus: 1, vcpus: 1, lowRsdp: true }).rsdp.gpa, 0xfffc0);
});
